"""The replay cache: each signed request is answered once.

A request is fresh within `WINDOW` seconds around the vault's clock; its nonce is remembered for twice that. The cache
is in memory only, so a request from before the vault's start is refused, or a restart would open the window again. A
full cache refuses: evicting would let somebody push a nonce out and replay it.
"""

from collections import OrderedDict
from enum import Enum, auto

WINDOW = 30.0
CAPACITY = 100_000


class Freshness(Enum):
    """What the cache says to a request."""

    FRESH = auto()
    CLOCK = auto()
    REPLAYED = auto()
    FULL = auto()


class ReplayCache:
    """Nonces seen, by certificate."""

    def __init__(self, started: float, *, window: float = WINDOW, capacity: int = CAPACITY) -> None:
        """Args:
        started: when the vault began to answer, seconds since the epoch.
        """
        self._started = started
        self._window = window
        self._capacity = capacity
        self._seen: OrderedDict[bytes, float] = OrderedDict()

    def check(self, fingerprint: bytes, nonce: bytes, signed_at: float, now: float) -> Freshness:
        """Whether a request is fresh; if so it is remembered.

        Args:
            signed_at: the request's own time; call only after its signature was checked.
        """
        if abs(signed_at - now) > self._window or signed_at < self._started:
            return Freshness.CLOCK
        while self._seen and next(iter(self._seen.values())) < now - 2 * self._window:
            self._seen.popitem(last=False)
        key = fingerprint + nonce
        if key in self._seen:
            return Freshness.REPLAYED
        if len(self._seen) >= self._capacity:
            return Freshness.FULL
        self._seen[key] = now
        return Freshness.FRESH
