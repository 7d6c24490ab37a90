"""A conversation as its channel may read it: KV ``sess.<channel>.<conv>``, written by the agent alone."""

from typing import Annotated

from pydantic import AwareDatetime, Field

from opencrust.contracts.base import Contract, Versioned
from opencrust.contracts.journal import Journal
from opencrust.contracts.messages import Finish, OutboundMessage, PlatformId

MAX_TURNS = 40
MAX_SESSION_BYTES = 48 * 1024
"""Most bytes (UTF-8) that the turns of one session record hold together; the full log is in the streams."""
DAY_SECONDS = 24 * 3600
MIN_KEEP_SECONDS = 8 * DAY_SECONDS
"""Longer than MSG_IN keeps messages: without its cursor a conversation would be answered from its beginning again."""
MAX_TURN_BYTES = 64 * 1024
"""Most bytes of one turn's text, and of its reply: with the outbox, a record stays well below what the bus takes."""


def cut(text: str, limit: int = MAX_TURN_BYTES) -> str:
    """``text`` in at most ``limit`` bytes of UTF-8, cut between characters."""
    return text.encode(errors="replace")[:limit].decode(errors="ignore")


class Turn(Contract):
    """One message and its answer."""

    seq: Annotated[int, Field(ge=1)]
    message_id: PlatformId
    user: PlatformId
    name: str = ""
    """What its author calls himself, in a group; never to be trusted as text."""
    text: str
    reply_id: PlatformId
    reply: str
    finish: Finish = Finish.COMPLETE
    model: str = ""
    at: AwareDatetime
    acted: bool = False
    """Tools of it changed or sent something: it is history also where the answer failed."""
    trusted: bool = True
    """The text is its user's own: what he names in it counts as his wish. False for what looked like an attack, and for
    what somebody without rights wrote."""


class Summary(Contract):
    """What earlier turns said, told by the model: derived from them, so as tainted as they were."""

    text: str
    upto: Annotated[int, Field(ge=0)]
    """Sequence of the last turn that it covers."""


class SessionView(Versioned):
    """The last turns of a conversation and how far it is answered.

    A turn, its replies and the new cursor are committed in one compare-and-set write, and only then are the replies
    published (a transactional outbox): a worker that was paused and overtaken cannot commit, so it never answers.
    """

    cursor: Annotated[int, Field(ge=0)] = 0
    """Stream sequence in MSG_IN of the last message answered."""
    turns: list[Turn] = []
    outbox: list[OutboundMessage] = []
    """Replies that are committed and perhaps not yet published."""
    keep_seconds: Annotated[int, Field(ge=MIN_KEEP_SECONDS)] = 365 * DAY_SECONDS
    """The record ends so long after its last turn."""
    attempts: Annotated[int, Field(ge=0)] = 0
    """How often the message after the cursor was tried: more than once where a worker died, failed or was overtaken."""
    tainted: bool = False
    """Strangers' text (a page, a file, a plugin's answer …) came into the conversation. Only /new clears it."""
    vouched: list[str] = []
    """Recipients, paths and the like that a person approved here: as good as his own words."""
    summary: Summary | None = None
    progress: Journal | None = None
    """The turn at work, once it has done something that must not be done twice."""
    suspended: list[Journal] = []
    """Turns that wait for a person's approval; the conversation goes on meanwhile."""

    def answer_to(self, message_id: str) -> Turn | None:
        """The turn that answered ``message_id``, newest first, or None while it is not answered (or long past)."""
        return next((turn for turn in reversed(self.turns) if turn.message_id == message_id), None)

    def with_turn(self, turn: Turn, outbox: list[OutboundMessage]) -> "SessionView":
        """A copy that has answered ``turn.seq``: old turns dropped by count and by size, never the new one."""
        turns = [*self.turns, turn][-MAX_TURNS:]
        sizes = [len(t.text.encode()) + len(t.reply.encode()) for t in turns]
        while len(turns) > 1 and sum(sizes) > MAX_SESSION_BYTES:
            del turns[0], sizes[0]
        return self.model_copy(
            update={"turns": turns, "cursor": turn.seq, "outbox": outbox, "attempts": 0, "progress": None}
        )
