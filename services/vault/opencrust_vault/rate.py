"""Token buckets: how often something may happen, by key."""

from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass

_KEYS = 4096


@dataclass(frozen=True, slots=True)
class Limit:
    """`burst` at once, refilled at `per_second`."""

    per_second: float
    burst: float


class Buckets:
    """One bucket for each key. The least recently used ones are forgotten, which refills them: keys must come from
    names that cannot be made up at will, such as those of authenticated services."""

    def __init__(self) -> None:
        self._levels: OrderedDict[Hashable, tuple[float, float]] = OrderedDict()

    def take(self, key: Hashable, limit: Limit, now: float, cost: float = 1.0) -> bool:
        """Whether `cost` tokens were there; if so they are gone now.

        Args:
            now: by any clock that does not go back, seconds.
        """
        level = self._level(key, limit, now)
        allowed = level >= cost
        self._store(key, level - cost if allowed else level, now)
        return allowed

    def charge(self, key: Hashable, limit: Limit, now: float, cost: float) -> None:
        """Take `cost` tokens whether they are there or not; the debt is bounded by one burst."""
        self._store(key, max(-limit.burst, self._level(key, limit, now) - cost), now)

    def _level(self, key: Hashable, limit: Limit, now: float) -> float:
        level, since = self._levels.get(key, (limit.burst, now))
        return min(limit.burst, level + (now - since) * limit.per_second)

    def _store(self, key: Hashable, level: float, now: float) -> None:
        self._levels[key] = (level, now)
        self._levels.move_to_end(key)
        while len(self._levels) > _KEYS:
            self._levels.popitem(last=False)
