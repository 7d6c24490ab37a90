"""Dead letters as values: headers in, headers out, and what is shown of one."""

from collections.abc import Mapping
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

REASON, SUBJECT, SEQUENCE = "OpenCrust-Reason", "OpenCrust-Subject", "OpenCrust-Sequence"
PREVIEW = 200

_REASONS = {
    "io.nats.jetstream.advisory.v1.max_deliver": "delivered too often without success",
    "io.nats.jetstream.advisory.v1.terminated": "given up by its consumer",
}


class Advisory(BaseModel):
    """What the server says of a message that a consumer will not see again."""

    model_config = ConfigDict(hide_input_in_errors=True)

    type: str
    stream: str
    consumer: str
    stream_seq: Annotated[int, Field(ge=1)]
    deliveries: int = 0
    reason: str = ""

    @property
    def why(self) -> str:
        """In words."""
        words = _REASONS.get(self.type, self.type)
        return f"{words}: {self.reason}" if self.reason else f"{words} ({self.deliveries} deliveries)"


class LetterView(BaseModel):
    """One dead letter as the operator sees it. ``body`` is set in ``show`` only."""

    seq: int
    at: str
    origin: str
    subject: str
    reason: str
    size: int
    preview: str
    body: str | None = None


def burial_headers(advisory: Advisory, subject: str) -> dict[str, str]:
    """The headers of the copy in DLQ."""
    return {REASON: advisory.why, SUBJECT: subject, SEQUENCE: str(advisory.stream_seq)}


def view(seq: int, at: str, origin: str, data: bytes, headers: Mapping[str, str], *, whole: bool) -> LetterView:
    """How a letter is shown."""
    text = data.decode(errors="replace")
    return LetterView(
        seq=seq,
        at=at,
        origin=origin,
        subject=headers.get(SUBJECT, ""),
        reason=headers.get(REASON, "unknown"),
        size=len(data),
        preview=text[:PREVIEW],
        body=text if whole else None,
    )
