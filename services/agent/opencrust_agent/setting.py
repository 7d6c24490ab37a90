"""What holds for one turn while it runs: its message, its person, its tools, its law, and how far it came."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field

from opencrust.bus.drain import Checkpoint
from opencrust.contracts import Approval, ApprovalCard, CallState, InboundMessage, Journal, JournalCall, SessionView
from opencrust.contracts.messages import now
from opencrust_agent.live import Watched
from opencrust_agent.models import Image
from opencrust_agent.policy import Circumstances, Policy
from opencrust_agent.provenance import Words
from opencrust_agent.tools import Tool

MAX_VOUCHED = 64
MAX_VOUCHED_CHARACTERS = 300


@dataclass(slots=True)
class Setting:
    """One turn. ``journal``, ``tainted``, ``vouched`` and ``session`` move on with it; the rest is given."""

    message: InboundMessage
    """The message that the turn answers, and so whose person, trust and address hold for it."""
    channel: str
    tools: Mapping[str, Tool]
    policy: Policy
    journal: Journal
    tainted: bool
    vouched: list[str]
    session: SessionView
    """As it will be after the turn, but for what stands here beside it."""
    live: Watched
    checkpoint: Checkpoint
    words: Words = field(default_factory=lambda: Words(""))
    """What the person said himself."""
    trusted: bool = False
    """Whether the message is its author's own: what he names in it counts as his wish."""
    pictures: Mapping[str, Image] = field(default_factory=dict)
    """What of the message's attachments the model sees, by SHA-256."""
    may_ask: bool = True
    """Whether the session has room for another turn that waits."""
    stop: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def here(self) -> Circumstances:
        """What policy needs to know."""
        return Circumstances(self.channel, self.message.trust, self.message.is_group, self.tainted)

    @property
    def key(self) -> str:
        """Names the turn for ever."""
        return f"{self.channel}.{self.message.key}:{self.journal.seq}"

    async def save(self) -> None:
        """Commit how far the turn came.

        Raises:
            Fenced: another worker went on with this conversation: nothing more may be done.
        """
        await self.checkpoint(
            self.session.model_copy(
                update={
                    "progress": self.journal.model_copy(deep=True),
                    "tainted": self.tainted,
                    "vouched": self.vouched,
                }
            )
        )

    def vouch(self, values: list[str]) -> None:
        """A person approved a call that goes there."""
        fit = [value for value in values if len(value) <= MAX_VOUCHED_CHARACTERS and value not in self.vouched]
        self.vouched = [*self.vouched, *fit][-MAX_VOUCHED:]

    def questions(self) -> list[Approval]:
        """The records of the questions that are to be put."""
        return [
            Approval(
                card=call.card,
                address=self.message.reply_to,
                requester=self.message.sender.user,
                digest=call.digest,
                created=now(),
            )
            for call in self._unasked()
            if call.card is not None
        ]

    def cards(self) -> list[ApprovalCard]:
        """The cards that are to be shown."""
        return [call.card for call in self._unasked() if call.card is not None]

    def asked(self) -> Journal:
        """The journal of the suspended turn, all its questions put."""
        journal = self.journal.model_copy(deep=True)
        for step in journal.steps:
            for at, call in enumerate(step.calls):
                if call.state is CallState.WAITING:
                    step.calls[at] = call.model_copy(update={"asked": True})
        ends = [call.card.expires for call in journal.waiting() if call.card is not None]
        return journal.model_copy(update={"expires": max(ends, default=None)})

    def _unasked(self) -> list[JournalCall]:
        return [call for call in self.journal.waiting() if not call.asked]
