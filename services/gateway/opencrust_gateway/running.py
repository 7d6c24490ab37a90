"""Turns at work: what a client that comes now must be told, so that it does not look at an empty page. Pure.

Put together from the messages and live events that pass by, so it is lossy as they are: a gateway that has just started
knows of a turn from its next event on, and not how its text began (`complete` is then false).
"""

from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Any

from opencrust.contracts import EventType, TurnEvent
from opencrust.contracts.messages import MAX_TEXT

MOST = 1_000
"""Turns remembered; beyond it the one that was silent for longest is forgotten."""
QUIET = 900.0
"""Seconds of silence after which a turn is not thought to run any more."""
TOOLS = 100


@dataclass(slots=True)
class RunningTurn:
    """One message that is not answered yet, and what is known of its answer. ``attempt`` 0: it waits."""

    key: str
    message_id: str
    heard: float
    user_text: str | None = None
    at: str | None = None
    attempt: int = 0
    index: int = -1
    text: str = ""
    complete: bool = True
    tools: "OrderedDict[str, dict[str, Any]]" = field(default_factory=OrderedDict)

    def told(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "message_id": self.message_id,
            "user_text": self.user_text,
            "at": self.at,
            "attempt": self.attempt,
            "index": self.index,
            "text": self.text,
            "complete": self.complete,
            "tools": list(self.tools.values()),
        }


class RunningTurns:
    """All of them, by message id as it is on the bus. Times are monotonic, in seconds."""

    def __init__(self) -> None:
        self._turns: OrderedDict[str, RunningTurn] = OrderedDict()

    @property
    def count(self) -> int:
        """How many are known."""
        return len(self._turns)

    def accepted(self, key: str, message_id: str, text: str, at: str, now: float) -> None:
        """A message was stored in the conversation `key`."""
        turn = self._touch(key, message_id, now)
        turn.user_text, turn.at = text, at

    def happened(self, key: str, event: TurnEvent, now: float) -> None:
        """A live event passed by."""
        if event.type is EventType.FINISHED:
            self.answered(event.message_id)
            return
        turn = self._touch(key, event.message_id, now)
        if event.attempt < turn.attempt:
            return
        if event.attempt > turn.attempt:
            turn.attempt, turn.index, turn.text, turn.complete = event.attempt, -1, "", True
            turn.tools.clear()
        if event.type in (EventType.STARTED, EventType.RESET):
            turn.text, turn.complete = "", True
        elif event.index != turn.index + 1:
            turn.complete = False
        turn.index = event.index
        if event.type is EventType.DELTA:
            turn.text = (turn.text + event.text)[:MAX_TEXT]
        elif event.type is EventType.TOOL and len(turn.tools) < TOOLS:
            call = str(event.data.get("call", ""))
            turn.tools[call] = {**turn.tools.get(call, {}), **event.data}

    def answered(self, message_id: str) -> None:
        """Its reply is there, or its turn has ended."""
        self._turns.pop(message_id, None)

    def of(self, key: str, now: float) -> list[RunningTurn]:
        """The turns of one conversation, the longest known first."""
        return [turn for turn in self._turns.values() if turn.key == key and now - turn.heard < QUIET]

    def _touch(self, key: str, message_id: str, now: float) -> RunningTurn:
        turn = self._turns.get(message_id)
        if turn is None:
            turn = self._turns[message_id] = RunningTurn(key, message_id, now)
            if len(self._turns) > MOST:
                del self._turns[min(self._turns, key=lambda one: self._turns[one].heard)]
        turn.heard = now
        return turn
