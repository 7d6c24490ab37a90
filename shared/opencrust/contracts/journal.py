"""The journal of a turn: how far it came, so that another worker can go on without doing anything twice.

It lies in the session's record and moves by the same compare-and-set as everything there. An effect is written down
before it is begun (``intended``) and after it is done (``done``); what is found ``intended`` after a crash may have
happened or not: it is never repeated, and the person is told.
"""

from datetime import datetime, timedelta
from enum import StrEnum
from typing import Annotated, Any

from pydantic import AwareDatetime, Field, StringConstraints

from opencrust.contracts.base import Contract
from opencrust.contracts.messages import ApprovalCard

MAX_RESULTS_BYTES = 64 * 1024
"""Most bytes that the results in one turn's journal hold together."""
MAX_JOURNAL_BYTES = 128 * 1024
"""Largest journal: with :data:`MAX_SUSPENDED_BYTES` and the history it stays below what a session's record may have."""
MAX_SUSPENDED_BYTES = 160 * 1024
"""No turn is suspended where those that wait already are larger than this."""
MAX_SUSPENDED = 3
"""Turns of one conversation that may wait for approvals at the same time."""


class CallState(StrEnum):
    """Where a tool call stands."""

    PLANNED = "planned"
    """The model wants it; nothing was begun."""
    WAITING = "waiting"
    """A person is asked: ``approval`` names the question."""
    INTENDED = "intended"
    """An effect is being made, or was cut off in the middle: never begun again."""
    DONE = "done"
    """``result`` is its answer, whatever it was."""


class Outcome(StrEnum):
    """What became of a call that is done."""

    OK = "ok"
    FAILED = "failed"
    DENIED = "denied"
    """By policy or by a person: nothing was done."""
    UNKNOWN = "unknown"
    """Begun, and cut off: perhaps done."""


class JournalCall(Contract):
    """One call of one step."""

    id: str
    """The model's name for it, unique in its step."""
    tool: str
    arguments: dict[str, Any] = {}
    state: CallState = CallState.PLANNED
    outcome: Outcome | None = None
    result: str = ""
    """For the model: already sanitised, assessed, labelled and cut."""
    approval: str = ""
    """The question that was asked about it, also when it is decided."""
    card: ApprovalCard | None = None
    """The question itself, while it waits."""
    asked: bool = False
    """Its card is on its way to the person."""
    digest: str = ""
    """SHA-256 of tool and canonical arguments."""
    sink: str = ""
    """Where its effect goes, canonical: a wish covers one call to one place."""
    tainted: bool = False
    """Its answer brought strangers' text into the conversation."""


class Step(Contract):
    """One answer of the model that asked for tools, and what came of them."""

    message: dict[str, Any]
    """The model's message as :func:`opencrust_agent.models.message_to_json` writes it."""
    calls: list[JournalCall]


class Journal(Contract):
    """One turn so far."""

    seq: Annotated[int, Field(ge=1)]
    """Stream sequence in MSG_IN of the message it answers: its text is read from there."""
    boundary: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{16}$")]
    """Marks untrusted text in this turn's context; random, so that no text can close it."""
    steps: list[Step] = []
    input_tokens: int = 0
    output_tokens: int = 0
    expires: AwareDatetime | None = None
    """Of a suspended turn: its questions are answered by then, or count as denied."""

    def lapsed(self, at: datetime) -> bool:
        """Suspended, and nobody will wake it any more: its questions ended over an hour ago."""
        return self.expires is not None and at - self.expires > timedelta(hours=1)

    def waiting(self) -> list[JournalCall]:
        """Calls about which a person is asked."""
        return [call for step in self.steps for call in step.calls if call.state is CallState.WAITING]

    def unknown(self) -> list[JournalCall]:
        """Calls that were cut off: perhaps done."""
        return [call for step in self.steps for call in step.calls if call.outcome is Outcome.UNKNOWN]

    def results_size(self) -> int:
        """Bytes of all results."""
        return sum(len(call.result.encode()) for step in self.steps for call in step.calls)

    def size(self) -> int:
        """Bytes of the whole, encoded."""
        return len(self.model_dump_json(exclude_none=True).encode())
