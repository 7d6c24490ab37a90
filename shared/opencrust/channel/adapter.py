"""What a channel's adapter implements: one platform, spoken to and listened to. The engine does the rest.

An adapter keeps three rules, and the engine keeps its promises only if they hold:

1. **Acknowledge after** ``emit``. ``await emit(event)`` returns once the message is stored, or is not wanted. Only then
   move the offset, send the ack, answer 200. If it raises :class:`~opencrust.bus.BusError`, do none of it.
2. **Report, never retry** a send. One call of :meth:`ChannelAdapter.send` is at most one call of the platform's sending
   method (a second one only after the platform said that it refused the first). Switch off the retries of libraries.
3. **No secret in what is said.** Exceptions of HTTP libraries carry addresses, and a platform's address may carry the
   token: raise :class:`LinkError` with words of your own, ``from None``.

The contract fits a long poll (Telegram), a library's event loop (Discord), an acknowledged socket (Slack), signed
webhooks (WhatsApp) and a poll of a cursor over a database that may replay a week (iMessage).
"""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import ClassVar

from opencrust.channel.link import Link
from opencrust.channel.text import render
from opencrust.channel.text.dialect import Dialect
from opencrust.config import ChannelSettings
from opencrust.contracts import ApprovalCard, ReplyAddress
from opencrust.credentials import Secret


class LinkError(Exception):
    """The platform cannot be reached, or does not want us. The text is for the person: no address, no token.

    Args:
        refused: it knows us and says no (a wrong token): trying again soon is of no use.
        after: seconds that the platform asks us to wait.
    """

    def __init__(self, what: str, *, refused: bool = False, after: float = 0.0) -> None:
        super().__init__(what)
        self.refused = refused
        self.after = after


class Ingest(StrEnum):
    """How many replicas may listen to one account at once."""

    ONE = "one"
    """One: a lease says which; the others stand by (Telegram's long poll, imsg)."""
    TWIN = "twin"
    """Two: each gets every event, and the stream keeps one of each (Discord)."""
    ALL = "all"
    """All: the platform spreads events over them (Slack), or a balancer does (webhooks)."""


class Showing(StrEnum):
    """How a running answer is shown."""

    NONE = "none"
    DRAFT = "draft"
    """By something that is no message and vanishes when the message comes; a late or lost one does no harm."""
    EDIT = "edit"
    """By a message that is edited; the reply's first part becomes its last edit."""


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a platform can do. Times in seconds, sizes in bytes."""

    ingest: Ingest
    pulse: float
    """A healthy link gives a sign of life at least this often (:meth:`~opencrust.channel.link.Link.alive`); after two
    without, it counts as deaf and is begun anew."""
    idempotent: bool = False
    """Sending the same :attr:`OutPart.key` again cannot show it twice."""
    seen_days: float = 1.0
    """For how long the platform may bring an event again: Telegram a day, WhatsApp and BlueBubbles a week."""
    showing: Showing = Showing.NONE
    showing_every: float = 1.0
    """Shortest time between two updates of what is shown."""
    typing_every: float = 0.0
    """How long a sign of typing lasts; 0 where there is none."""
    buttons: bool = False
    file_in: int = 20 * 1024 * 1024
    file_out: int = 20 * 1024 * 1024
    per_conversation: float = 0.0
    """Messages a second that one conversation takes; 0: not known, the platform says when it is too much."""
    per_account: float = 0.0


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """A file that came with an event and still lies at the platform."""

    reference: str
    """For :meth:`ChannelAdapter.fetch`; never a token."""
    name: str
    media_type: str
    size: int | None = None
    """As the platform says; what is fetched is counted."""


@dataclass(frozen=True, slots=True)
class InEvent:
    """One thing that somebody wrote, normalised. Names of people are what they call themselves."""

    id: str
    """The same whenever the platform brings this event again, and of no other event of this account."""
    account: str
    """Which bot of ours saw it, by the platform's own id (a token may be replaced; a name may be renamed)."""
    conversation: str
    user: str
    text: str
    at: datetime
    """When it was written, as the platform says; with its time zone."""
    thread: str | None = None
    message: str | None = None
    """The platform's id of the message: what a reply quotes, and reactions go to."""
    user_name: str = ""
    is_group: bool = False
    mentioned: bool = False
    """In a group: it names the bot, answers it, or is a command to it."""
    mentions: tuple[str, ...] = ()
    quoted: str | None = None
    edited: bool = False
    files: tuple[RemoteFile, ...] = ()
    backfill: bool = False
    """Fetched after a gap: it may have come before."""


class Fate(StrEnum):
    """What became of an event. In every case the platform may be told that we have it."""

    STORED = "stored"
    DUPLICATE = "duplicate"
    COMMAND = "command"
    """``/stop`` or ``/pair``: done, and not passed on."""
    STRANGER = "stranger"
    """From somebody who may not speak; he was offered a code, or nothing."""
    DROPPED = "dropped"
    """Blocked, not mentioned in a group, or nothing that we understand."""


Emit = Callable[[InEvent], Awaitable[Fate]]
"""Hands an event over; returns when it is stored. Events of one conversation one after another, in the platform's
order. Raises BusError where it is not stored: acknowledge nothing."""


@dataclass(frozen=True, slots=True)
class OutFile:
    """A file to send."""

    name: str
    media_type: str
    data: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class OutPart:
    """One message on the platform: a piece of text, or a file with a caption, or a question with two buttons."""

    key: str
    """24 letters and digits; the same whenever this part is sent again. For platforms that know idempotency keys."""
    address: ReplyAddress
    number: int
    """0 for the first of its reply."""
    text: str = ""
    """In the platform's dialect, as :meth:`ChannelAdapter.compose` made it; a file's caption."""
    file: OutFile | None = None
    card: ApprovalCard | None = None
    """Put ``/approve <id>`` and ``/deny <id>`` on two buttons below the text."""


@dataclass(frozen=True, slots=True)
class Sent:
    """The platform has it, under this id."""

    id: str


@dataclass(frozen=True, slots=True)
class Retry:
    """The platform surely does not have it: a refusal that passes (429, 5xx), or no connection was made.

    ``after`` in seconds; ``everywhere``: the limit is the account's, not this conversation's.
    """

    after: float
    reason: str
    everywhere: bool = False


@dataclass(frozen=True, slots=True)
class Refused:
    """The platform will never take it: blocked, no such conversation, too long. ``reason`` is kept and shown."""

    reason: str


@dataclass(frozen=True, slots=True)
class Unknown:
    """The platform may have it: the connection ended, or nothing was answered in time."""

    reason: str


@dataclass(frozen=True, slots=True)
class NotSent:
    """Of :meth:`ChannelAdapter.reconcile`: the platform surely does not have it."""


SendResult = Sent | Retry | Refused | Unknown
Outcome = Sent | NotSent | Unknown


@dataclass(frozen=True, slots=True)
class WebhookRequest:
    """A platform's call. ``headers`` by lower-case name; ``body`` as it came, at most 1 MiB: verify, then parse."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class WebhookReply:
    """Our answer. A handler that raises BusError is answered with 503: the platform comes again."""

    status: int
    body: bytes = b""
    content_type: str = "text/plain"


WebhookHandler = Callable[[WebhookRequest, Emit], Awaitable[WebhookReply]]


@dataclass(frozen=True, slots=True)
class Route:
    """One webhook. ``path`` begins with ``/``."""

    method: str
    path: str
    handler: WebhookHandler


SecretOf = Callable[[str], Awaitable[Secret]]
"""From a credential's key in the settings (``token``) to its value now. Cheap: ask at every use, keep no copy.

Raises CredentialError (not granted, or the vault does not answer) and LinkError (not configured)."""


@dataclass(frozen=True, slots=True)
class Runtime:
    """What the engine gives an adapter."""

    settings: ChannelSettings
    secret: SecretOf
    link: Link
    """Where the adapter says how its link is: :meth:`~opencrust.channel.link.Link.alive` at every sign of life."""
    cursor: Callable[[str], Awaitable[str | None]]
    """Reads what :attr:`keep` kept under a name, across restarts and replicas. Raises BusError."""
    keep: Callable[[str, str], Awaitable[None]]
    """Keeps a short text under a name of ``[a-z0-9-]`` (a cursor of a backfill). Raises BusError."""
    bury: Callable[[str, str, object], Awaitable[None]]
    """Keeps an event that cannot be read as a dead letter: its id (or nothing), the reason, the event as plain values.
    Acknowledge it to the platform after that. Raises BusError: acknowledge nothing."""


class ChannelAdapter(ABC):
    """One platform. Made anew when the settings change; connected anew when a credential was rotated."""

    name: ClassVar[str]
    """The channel's name in the registry of the bus."""
    dialect: ClassVar[Dialect]
    """How its platform writes what is bold."""
    capabilities: Capabilities

    @abstractmethod
    def __init__(self, runtime: Runtime) -> None:
        """Opens nothing yet."""

    @abstractmethod
    async def connect(self) -> str:
        """Make what sending needs, and ask the platform who we are. Returns our account's id there.

        Raises:
            LinkError: it cannot be reached, or does not want us; the engine tries again.
        """

    @abstractmethod
    async def close(self) -> None:
        """Release everything."""

    @abstractmethod
    async def ingest(self, emit: Emit, stop: asyncio.Event) -> None:
        """Listen until ``stop`` is set, or until cancelled: the lease was lost, or the link counts as deaf.

        Begins with a backfill where the platform does not bring missed events by itself. A webhook channel registers
        itself and waits. It may return or raise at any time; the engine begins it anew after a pause.

        Raises:
            LinkError: the link broke. ``after`` is respected.
            BusError: an event was not stored; it was not acknowledged either.
        """

    @abstractmethod
    async def send(self, part: OutPart) -> SendResult:
        """Send one part, with one call, within a minute. What it raises counts as :class:`Unknown`."""

    def compose(self, text: str) -> Sequence[str]:
        """``text`` (the common Markdown dialect) in the platform's own, cut at its limits. Pure."""
        return render(text, self.dialect)

    @abstractmethod
    async def private(self, user: str) -> ReplyAddress:
        """The private conversation with a user, to tell him something that answers no message. Raises LinkError."""

    def routes(self) -> Sequence[Route]:
        """Webhooks to serve; on all replicas, leader or not."""
        return ()

    async def reconcile(self, part: OutPart) -> Outcome:
        """Whether the platform has a part that was being sent when its sender died or its connection was cut."""
        return Unknown("this platform cannot be asked")

    async def typing(self, address: ReplyAddress) -> None:
        """Show that an answer is under way. Raises LinkError; it does not matter."""
        return

    def shows(self, address: ReplyAddress) -> Showing:
        """How a running answer is shown in this conversation, where it depends on the conversation."""
        return self.capabilities.showing

    def shows_every(self, address: ReplyAddress) -> float:
        """Shortest time between two updates of what is shown in this conversation, in seconds."""
        return self.capabilities.showing_every

    async def draft(self, address: ReplyAddress, key: str, text: str) -> None:
        """Show ``text`` (Markdown, unfinished) as the draft ``key``. Raises LinkError; it does not matter."""
        return

    async def edit(self, address: ReplyAddress, message: str, part: OutPart) -> SendResult:
        """Make an earlier message of ours read as ``part`` does. Idempotent, so Unknown may be repeated."""
        return Refused("this platform edits nothing")

    async def decided(self, address: ReplyAddress, message: str, part: OutPart) -> SendResult:
        """Make an earlier question of ours read as ``part`` does, without its buttons. Idempotent."""
        return await self.edit(address, message, part)

    async def fetch(self, file: RemoteFile, limit: int) -> bytes:
        """The bytes of a file. At most ``limit`` are read.

        Raises:
            LinkError: not now (``refused``: never).
            FileTooLarge: it has more than ``limit``.
        """
        raise LinkError("this channel takes no files", refused=True)

    def facts(self) -> Mapping[str, object]:
        """Plain facts for health. Nothing secret."""
        return {}


class FileTooLarge(Exception):
    """A file has more bytes than are taken."""


async def read_limited(chunks: AsyncIterator[bytes], limit: int) -> bytes:
    """All of ``chunks``.

    Raises:
        FileTooLarge: more than ``limit`` bytes; the rest is not read.
    """
    data = bytearray()
    async for chunk in chunks:
        data += chunk
        if len(data) > limit:
            raise FileTooLarge(f"over {limit} bytes")
    return bytes(data)
