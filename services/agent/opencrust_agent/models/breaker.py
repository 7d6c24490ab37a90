"""A circuit breaker: after repeated failures a model rests, then one probe decides whether it is back.

closed → (threshold failures, or one that says "stay away") → open → (rest is over) → half-open: one call may try →
closed, or open again for twice as long. Pure state over an injected clock; used from one event loop, so no locks.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from opencrust_agent.models.errors import RETRYABLE, ErrorKind, ModelError

State = Literal["closed", "open", "half_open"]


@dataclass(frozen=True, slots=True)
class BreakerPolicy:
    """`threshold` failures in a row open it, for `rest` seconds at first, doubled after each failed probe up to
    `max_rest`."""

    threshold: int = 5
    rest: float = 30.0
    max_rest: float = 300.0


class Breaker:
    """`clock` gives monotonic seconds."""

    def __init__(self, policy: BreakerPolicy, clock: Callable[[], float]) -> None:
        self._policy = policy
        self._clock = clock
        self._failures = 0
        self._rest = policy.rest
        self._until: float | None = None  # None: closed
        self._since = 0.0
        self._probing = False
        self._last: ErrorKind | None = None
        self._calls = 0
        self._answers = 0

    @property
    def state(self) -> State:
        if self._until is None:
            return "closed"
        return "half_open" if self._clock() >= self._until else "open"

    @property
    def rests_for(self) -> float:
        """Seconds until a probe may go; 0 when a call may go now."""
        return 0.0 if self._until is None else max(0.0, self._until - self._clock())

    @property
    def open_for(self) -> float:
        """Seconds since it opened, failed probes included; 0 when it is closed."""
        return 0.0 if self._until is None else self._clock() - self._since

    @property
    def last_kind(self) -> ErrorKind | None:
        return self._last

    def admit(self) -> bool:
        """May a call go now? Each True is concluded by exactly one of `succeeded`, `failed`, `abandoned`."""
        if self._until is not None:
            if self._clock() < self._until or self._probing:
                return False
            self._probing = True
        self._calls += 1
        return True

    def succeeded(self) -> None:
        self._answers += 1
        self._close()

    def failed(self, error: ModelError) -> None:
        self._last = error.kind
        if error.kind is not ErrorKind.AUTH and error.kind not in RETRYABLE:
            self._close()  # it refused this request, so it is alive
            return
        self._failures += 1
        probe_failed, self._probing = self._probing, False
        if probe_failed:
            self._rest = min(self._rest * 2, self._policy.max_rest)
        if probe_failed or error.kind is ErrorKind.AUTH or self._failures >= self._policy.threshold:
            self._open(self._rest)

    def rest(self, seconds: float) -> None:
        """The provider asked for a pause that nobody will wait for."""
        self._open(seconds)

    def abandoned(self) -> None:
        """The call was cancelled: it says nothing about the provider."""
        self._probing = False

    def snapshot(self) -> dict[str, Any]:
        """Plain data for status output."""
        return {
            "state": self.state,
            "failures": self._failures,
            "open_for": round(self.open_for, 1),
            "retry_in": round(self.rests_for, 1),
            "last_error": str(self._last) if self._last else None,
            "calls": self._calls,
            "answers": self._answers,
        }

    def _close(self) -> None:
        self._failures, self._until, self._probing, self._rest = 0, None, False, self._policy.rest

    def _open(self, seconds: float) -> None:
        if self._until is None:
            self._since = self._clock()
        self._until = max(self._until or 0.0, self._clock() + seconds)
