"""A message as the bus delivers it, and what a stored one tells about itself."""

from collections.abc import Mapping
from dataclasses import dataclass, field

MESSAGE_ID = "Nats-Msg-Id"
EXPECTED_LAST_SUBJECT_SEQUENCE = "Nats-Expected-Last-Subject-Sequence"
TTL = "Nats-TTL"
KV_OPERATION = "KV-Operation"
STATUS = "Status"
SUBJECT = "Nats-Subject"
SEQUENCE = "Nats-Sequence"
TIME = "Nats-Time-Stamp"
"""When a stored message was stored (RFC 3339)."""
REQUEST_INFO = "Nats-Request-Info"


@dataclass(frozen=True, slots=True)
class Message:
    """One message. ``reply`` is empty where none is expected."""

    subject: str
    data: bytes
    headers: Mapping[str, str] = field(default_factory=dict)
    reply: str = ""

    @property
    def status(self) -> str:
        """The server's status code, such as ``404``; empty for a message that somebody published."""
        return self.headers.get(STATUS, "")


@dataclass(frozen=True, slots=True)
class Stored:
    """A stream's acknowledgement: the message lies under this sequence.

    ``duplicate`` says that it lay there before: its message id was seen within the stream's window.
    """

    stream: str
    seq: int
    duplicate: bool = False


@dataclass(frozen=True, slots=True)
class StoredMessage:
    """A message read back from a stream."""

    subject: str
    seq: int
    data: bytes
    headers: Mapping[str, str]
