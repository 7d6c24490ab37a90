"""What an identity may do on the bus, as small values; each says which NATS rights it comes to.

A grant speaks of meaning (*consume this durable*, *read these keys*); a :class:`Right` is one line of a permission
list.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, Protocol

API = "$JS.API"
"""Prefix of the JetStream API where JetStream lives."""
IMPORTED_API = "BUS.API"
"""Prefix under which an isolated account sees those API subjects that it imports."""
BUS_ACCOUNT = "BUS"


@dataclass(frozen=True, slots=True)
class Right:
    """One permission. ``owner`` is the account where the subject lives; another account imports it from there."""

    action: Literal["publish", "subscribe"]
    subject: str
    owner: str = BUS_ACCOUNT
    queue: str = ""
    """Subscribe in this queue group only."""
    streamed: bool = False
    """More than one reply may come (a pull)."""
    share: bool = False
    """The server tells the responder who asks (``Nats-Request-Info``)."""

    @property
    def local_subject(self) -> str:
        """The subject as an isolated account names it."""
        return IMPORTED_API + self.subject.removeprefix(API) if self.subject.startswith(API + ".") else self.subject


class Grant(Protocol):
    """Something that an identity may do."""

    def rights(self) -> Iterator[Right]:
        """The rights that it comes to."""
        ...


@dataclass(frozen=True, slots=True)
class Publish:
    """Publish on a subject; where a stream keeps it, its ack comes back to the publisher's inbox."""

    subject: str
    owner: str = BUS_ACCOUNT

    def rights(self) -> Iterator[Right]:
        yield Right("publish", self.subject, self.owner)


@dataclass(frozen=True, slots=True)
class Subscribe:
    """Receive what is published on a subject."""

    subject: str
    owner: str = BUS_ACCOUNT

    def rights(self) -> Iterator[Right]:
        yield Right("subscribe", self.subject, self.owner)


@dataclass(frozen=True, slots=True)
class Ask:
    """Send requests; ``share`` attests the asker to the responder."""

    subject: str
    owner: str
    share: bool = True

    def rights(self) -> Iterator[Right]:
        yield Right("publish", self.subject, self.owner, share=self.share)


@dataclass(frozen=True, slots=True)
class Serve:
    """Answer requests, in a queue group: one replica answers each. ``_R_`` is where replies to other accounts go."""

    subject: str
    owner: str
    queue: str

    def rights(self) -> Iterator[Right]:
        yield Right("subscribe", self.subject, self.owner, queue=self.queue)
        yield Right("publish", "_R_.>", self.owner)


@dataclass(frozen=True, slots=True)
class Consume:
    """Pull from one durable and settle what it delivers. No right to see, make or change a consumer."""

    stream: str
    durable: str

    def rights(self) -> Iterator[Right]:
        yield Right("publish", f"{API}.CONSUMER.MSG.NEXT.{self.stream}.{self.durable}", streamed=True)
        yield Right("publish", f"$JS.ACK.{self.stream}.{self.durable}.>")


@dataclass(frozen=True, slots=True)
class ReadStream:
    """Read any message of a stream by sequence."""

    stream: str

    def rights(self) -> Iterator[Right]:
        yield Right("publish", f"{API}.DIRECT.GET.{self.stream}")


@dataclass(frozen=True, slots=True)
class ReadLast:
    """Read the last message of the given subjects of a stream, and of no others."""

    stream: str
    subject: str

    def rights(self) -> Iterator[Right]:
        yield Right("publish", f"{API}.DIRECT.GET.{self.stream}.{self.subject}")


@dataclass(frozen=True, slots=True)
class ReadKeys:
    """Get the given keys of a bucket."""

    bucket: str
    keys: str

    def rights(self) -> Iterator[Right]:
        yield Right("publish", f"{API}.DIRECT.GET.KV_{self.bucket}.$KV.{self.bucket}.{self.keys}")


@dataclass(frozen=True, slots=True)
class WriteKeys:
    """Create, update and delete the given keys of a bucket."""

    bucket: str
    keys: str

    def rights(self) -> Iterator[Right]:
        yield Right("publish", f"$KV.{self.bucket}.{self.keys}")


@dataclass(frozen=True, slots=True)
class Inspect:
    """See the state of a stream, its subjects included: how a bucket's keys are listed."""

    stream: str

    def rights(self) -> Iterator[Right]:
        yield Right("publish", f"{API}.STREAM.INFO.{self.stream}")


@dataclass(frozen=True, slots=True)
class Remove:
    """Delete single messages of a stream, after reading them by sequence."""

    stream: str

    def rights(self) -> Iterator[Right]:
        yield Right("publish", f"{API}.STREAM.MSG.GET.{self.stream}")
        yield Right("publish", f"{API}.STREAM.MSG.DELETE.{self.stream}")


@dataclass(frozen=True, slots=True)
class Purge:
    """Remove all messages of a subject from a stream. The server does not bound it to some of them: grant it to the one
    that answers for all."""

    stream: str

    def rights(self) -> Iterator[Right]:
        yield Right("publish", f"{API}.STREAM.PURGE.{self.stream}")


@dataclass(frozen=True, slots=True)
class Manage:
    """Create and change streams and consumers: the provisioner alone."""

    def rights(self) -> Iterator[Right]:
        yield Right("publish", f"{API}.>")
