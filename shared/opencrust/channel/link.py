"""How a link to a platform is: connected, connecting, refused, or connected and deaf."""

import time
from collections.abc import Callable
from enum import StrEnum


class LinkState(StrEnum):
    """What the adapter knows of its link."""

    IDLE = "idle"
    """This replica does not listen; it sends, and stands by."""
    CONNECTING = "connecting"
    CONNECTED = "connected"
    DEAF = "deaf"
    """Connected, but without a sign of life for two pulses: it is being begun anew."""
    REFUSED = "refused"
    """The platform does not want us, mostly because of the token; somebody must look."""


class Link:
    """One link, told by the adapter, watched by the engine.

    Args:
        pulse: seconds within which a healthy link gives a sign of life, also when nobody writes.
        clock: seconds, monotonic.
    """

    def __init__(self, pulse: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.pulse = pulse
        self.state = LinkState.IDLE
        self.reason = ""
        """Why it is not connected, in words for the person."""
        self.rate_limited = 0
        """How often the platform said that we are too fast."""
        self.deaf_times = 0
        self._clock = clock
        self.answered = False
        """Whether the present attempt gave a sign of life."""
        self._alive = clock()
        self._event: float | None = None

    def begin(self) -> None:
        """A new attempt; it has two pulses to give a sign of life."""
        self.state = LinkState.CONNECTING
        self.answered = False
        self._alive = self._clock()

    def alive(self) -> None:
        """The platform answered, or sent something: an empty poll counts, a heartbeat's ack too."""
        self._alive = self._clock()
        self.answered = True
        if self.state is not LinkState.CONNECTED:
            self.state, self.reason = LinkState.CONNECTED, ""

    def event(self) -> None:
        """An event came."""
        self.alive()
        self._event = self._alive

    def limited(self) -> None:
        """The platform said that we are too fast."""
        self.rate_limited += 1

    def down(self, reason: str, *, refused: bool = False) -> None:
        """The link broke, or was not made."""
        self.state = LinkState.REFUSED if refused else LinkState.CONNECTING
        self.reason = reason

    def idle(self) -> None:
        """This replica listens no longer."""
        self.state, self.reason = LinkState.IDLE, ""

    def silent_for(self) -> float:
        """Seconds since the last sign of life."""
        return self._clock() - self._alive

    def check(self) -> bool:
        """Whether it is deaf now; it is then called so until the next sign of life."""
        if self.state in (LinkState.CONNECTED, LinkState.CONNECTING) and self.silent_for() > 2 * self.pulse:
            self.deaf_times += 1
            self.state, self.reason = LinkState.DEAF, f"no sign of life for {self.silent_for():.0f} s"
            return True
        return False

    def facts(self) -> dict[str, object]:
        """For health."""
        return {
            "link": self.state.value,
            "link_reason": self.reason,
            "silent_seconds": round(self.silent_for(), 1) if self.state is not LinkState.IDLE else None,
            "last_event_seconds": None if self._event is None else round(self._clock() - self._event, 1),
            "rate_limited": self.rate_limited,
            "deaf_times": self.deaf_times,
        }
