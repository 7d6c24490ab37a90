"""Dead letters as values: headers in, headers out, and what is shown of one."""

from collections.abc import Mapping
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from opencrust.bus.deadletter import REASON, SUBJECT

PREVIEW = 200


class Advisory(BaseModel):
    """What the server says of a message that a consumer will not see again."""

    model_config = ConfigDict(hide_input_in_errors=True)

    stream: str
    consumer: str
    stream_seq: Annotated[int, Field(ge=1)]
    deliveries: int

    @property
    def why(self) -> str:
        """In words."""
        return f"delivered {self.deliveries} times without success"


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
