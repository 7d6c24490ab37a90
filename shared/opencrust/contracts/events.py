"""Live events of a running turn. Lossy by design: the reply itself is in MSG_OUT and in the session."""

from enum import StrEnum
from typing import Annotated, Any

from pydantic import Field

from opencrust.contracts.base import Versioned
from opencrust.contracts.messages import PlatformId, Text


class EventType(StrEnum):
    """What happened in the turn."""

    STARTED = "started"
    """The turn began; what an earlier attempt showed is void."""
    DELTA = "delta"
    """``text`` is the next piece of the answer."""
    RESET = "reset"
    """Discard what was shown in this attempt; the answer starts over (another model took over)."""
    TOOL = "tool"
    """A tool step; ``data`` holds ``call`` (id), ``tool``, ``state`` (started, done, failed, denied, waiting), and,
    where it may be shown, ``arguments`` (an object of texts, secrets redacted, some 2,000 characters) and ``summary``
    (a line of the result).
    """
    FINISHED = "finished"
    """The turn ended; the reply comes, or came, on its own subject."""


class TurnEvent(Versioned):
    """One event on ``evt.conv.<channel>.<conv>``. ``index`` counts from 0 within an attempt, so a gap shows."""

    type: EventType
    message_id: PlatformId
    attempt: Annotated[int, Field(ge=1)] = 1
    index: Annotated[int, Field(ge=0)] = 0
    text: Text = ""
    data: dict[str, Any] = {}
