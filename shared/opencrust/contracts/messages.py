"""The two envelopes: a message that came in, and a reply that goes out."""

from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated

from pydantic import AwareDatetime, Field, StringConstraints, model_validator

from opencrust.contracts.base import Contract, Versioned
from opencrust.contracts.conversation import conversation_key

MAX_TEXT = 65_536
"""Most characters in one message's text."""
MAX_ATTACHMENTS = 32
MAX_CONTEXT_TURNS = 64
MAX_CONTEXT_TEXT = 200_000
"""Most characters in all turns of :attr:`InboundMessage.context` together."""

Channel = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9]{0,30}$")]
"""A channel's name: one subject token."""
PlatformId = Annotated[str, StringConstraints(min_length=1, max_length=255)]
"""An id as its platform writes it. Never compared without channel and account beside it."""
Text = Annotated[str, StringConstraints(max_length=MAX_TEXT)]


class Source(StrEnum):
    """Where a text came from."""

    USER = "user"
    API = "api"
    SCHEDULE = "schedule"
    APPROVAL = "approval"
    """The agent's own: an approval of this conversation was decided; the suspended turn goes on."""


class Trust(StrEnum):
    """How far the ingress vouches for the author."""

    OWNER = "owner"
    USER = "user"
    GUEST = "guest"
    UNKNOWN = "unknown"


class Finish(StrEnum):
    """How a reply ended."""

    COMPLETE = "complete"
    STOPPED = "stopped"
    FAILED = "failed"


class Sender(Contract):
    """Who wrote: a person on one channel, as seen by one account there. A bare user id is no identity."""

    channel: Channel
    account: PlatformId
    user: PlatformId
    display_name: Annotated[str, StringConstraints(max_length=255)] = ""


class ReplyAddress(Contract):
    """Where the reply goes. Set by the ingress, carried unchanged; nothing that a model says can change it."""

    channel: Channel
    account: PlatformId
    conversation: PlatformId
    thread: PlatformId | None = None
    message: PlatformId | None = None

    @property
    def key(self) -> str:
        """The conversation key."""
        return conversation_key(self.channel, self.account, self.conversation, self.thread)


class Attachment(Contract):
    """A file by reference; its bytes lie in the object store under their SHA-256."""

    name: Annotated[str, StringConstraints(min_length=1, max_length=255)]
    media_type: Annotated[str, StringConstraints(min_length=3, max_length=127)]
    size: Annotated[int, Field(ge=0, le=64 * 1024 * 1024)]
    sha256: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]


class ContextTurn(Contract):
    """An earlier turn that an API client brings along, since it keeps the conversation itself."""

    role: Annotated[str, StringConstraints(pattern=r"^(user|assistant|system)$")]
    text: Text


class InboundMessage(Versioned):
    """One message from a platform, normalised. Travels on ``msg.in.<channel>.<conv>``."""

    id: PlatformId
    channel: Channel
    account: PlatformId
    conversation: PlatformId
    thread: PlatformId | None = None
    sender: Sender
    reply_to: ReplyAddress
    text: Text
    context: Annotated[list[ContextTurn], Field(max_length=MAX_CONTEXT_TURNS)] = []
    attachments: Annotated[list[Attachment], Field(max_length=MAX_ATTACHMENTS)] = []
    mentions: Annotated[list[PlatformId], Field(max_length=64)] = []
    quoted: PlatformId | None = None
    edited: bool = False
    again: bool = False
    """The channel does not know whether it was stored before: the agent looks for it before it answers."""
    is_group: bool = False
    ephemeral: bool = False
    """Nobody comes back to this conversation: its session need not be kept longer than its messages."""
    platform_time: AwareDatetime
    received_time: AwareDatetime
    source: Source = Source.USER
    trust: Trust = Trust.UNKNOWN
    may_approve: bool = False
    """Of channel ``web``: the client's token holds the scope ``approve``, so that a decision may be written as text. On
    other channels it is the person's record that says so."""
    approval: PlatformId | None = None
    """Of a message of source ``approval``: which one. What was decided stands in the bucket ``approvals``, not here."""

    @model_validator(mode="after")
    def _consistent(self) -> "InboundMessage":
        if (self.sender.channel, self.sender.account) != (self.channel, self.account):
            raise ValueError("sender is of another channel or account than the message")
        if (self.reply_to.channel, self.reply_to.account) != (self.channel, self.account):
            raise ValueError("reply_to is of another channel or account than the message")
        if self.reply_to.key != self.key:
            raise ValueError("reply_to is another conversation than the message's")
        if not self.text.strip() and not self.attachments:
            raise ValueError("a message needs a text or an attachment")
        if sum(len(turn.text) for turn in self.context) > MAX_CONTEXT_TEXT:
            raise ValueError(f"context is over {MAX_CONTEXT_TEXT} characters")
        return self

    @property
    def key(self) -> str:
        """The conversation key: last token of the subject, key of lease and session."""
        return conversation_key(self.channel, self.account, self.conversation, self.thread)

    @property
    def dedupe_id(self) -> str:
        """The ``Nats-Msg-Id``: the same platform event is stored once however often it is delivered."""
        return f"{self.channel}:{self.account}:{self.id}"


class ApprovalCard(Contract):
    """A question to a person: may this be done? Shown with two buttons where the platform has them.

    Pressing one means the text ``/approve <id>`` or ``/deny <id>`` from whoever pressed it.
    """

    id: Annotated[str, StringConstraints(pattern=r"^[a-z2-7]{16}$")]
    tool: Annotated[str, StringConstraints(max_length=128)]
    lines: Annotated[list[Annotated[str, StringConstraints(max_length=500)]], Field(max_length=40)]
    """What exactly would be done: plain text, control characters escaped."""
    expires: AwareDatetime


class CardOutcome(StrEnum):
    """What became of a question."""

    APPROVED = "approved"
    DENIED = "denied"
    EXPIRED = "expired"
    """Nobody answered in time, or it is asked no longer."""


class CardDecided(Contract):
    """A question was decided, here or elsewhere: its message loses its buttons, and says so."""

    card: ApprovalCard
    outcome: CardOutcome
    where: Annotated[str, StringConstraints(max_length=64)] = ""
    """On which other surface, for the person: ``on the web page``."""


class Usage(Contract):
    """Tokens that a turn cost."""

    input_tokens: int = 0
    output_tokens: int = 0


class OutboundMessage(Versioned):
    """One reply. Travels on ``msg.out.<channel>.<lane>.<conv>`` and is kept in CONVLOG.

    ``id`` is ``re:<stream sequence of the message answered>:<part>``: the same however often the turn is run, so a
    reply is stored once.
    """

    id: PlatformId
    in_reply_to: PlatformId
    address: ReplyAddress
    text: Annotated[str, StringConstraints(max_length=4 * MAX_TEXT)]
    finish: Finish = Finish.COMPLETE
    model: str = ""
    usage: Usage = Usage()
    attachments: Annotated[list[Attachment], Field(max_length=MAX_ATTACHMENTS)] = []
    approval: ApprovalCard | None = None
    decided: CardDecided | None = None
    """With no text of its own: an earlier message of this conversation, which asked, is changed. Sent to platforms
    alone, and not kept in CONVLOG."""
    created_time: AwareDatetime
    expires_time: AwareDatetime | None = None
    """After this the reply is stale: its channel drops it, with a receipt that says so."""

    @property
    def answered_seq(self) -> int:
        """The stream sequence of the message that this answers; 0 for a reply that answers none."""
        kind, _, rest = self.id.partition(":")
        seq = rest.partition(":")[0]
        return int(seq) if kind == "re" and seq.isascii() and seq.isdigit() else 0


class Delivery(StrEnum):
    """What became of one part of a reply on its platform."""

    SENT = "sent"
    FAILED = "failed"
    """For good: the platform refused it, or it expired before it could be sent."""
    UNKNOWN = "unknown"
    """The platform may have it: the connection ended before it said so, and it has no key to ask by."""


class Receipt(Versioned):
    """What a channel did with one part of a reply. Travels on ``receipt.<channel>.<conv>``."""

    reply_id: PlatformId
    part: Annotated[int, Field(ge=0)] = 0
    parts: Annotated[int, Field(ge=1)] = 1
    state: Delivery
    platform_id: PlatformId | None = None
    attempts: Annotated[int, Field(ge=1)] = 1
    reason: Annotated[str, StringConstraints(max_length=500)] = ""
    at: AwareDatetime


def now() -> datetime:
    """The present moment, with its time zone."""
    return datetime.now(UTC)
