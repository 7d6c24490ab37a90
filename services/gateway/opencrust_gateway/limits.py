"""Rate limits: token buckets per address, counted before anything of a request is believed.

There are no exemptions, loopback included: a page in the operator's own browser can reach loopback too.
"""

import ipaddress
from dataclasses import dataclass

MAX_KEYS = 20_000
"""Most addresses remembered; beyond it the longest untouched are forgotten (their buckets are full again
anyway).
"""


@dataclass(frozen=True, slots=True)
class Rate:
    """`burst` at once, refilled by `per_second`."""

    burst: float
    per_second: float


class Limiter:
    """One bucket per key."""

    def __init__(self, rate: Rate) -> None:
        self._rate = rate
        self._buckets: dict[str, tuple[float, float]] = {}

    def take(self, key: str, now: float) -> float:
        """Take one: 0.0 if there was one, else the seconds until there is. `now` is monotonic, in seconds."""
        level, since = self._buckets.pop(key, (self._rate.burst, now))
        level = min(self._rate.burst, level + (now - since) * self._rate.per_second)
        wait = 0.0 if level >= 1 else (1 - level) / self._rate.per_second
        # popped and set again, so the dict is in order of use
        self._buckets[key] = (level - 1 if wait == 0.0 else level, now)
        if len(self._buckets) > MAX_KEYS:
            del self._buckets[next(iter(self._buckets))]
        return wait


class Ceiling:
    """At most `most` at the same time per key, and `total` over all."""

    def __init__(self, most: int, total: int) -> None:
        self._most = most
        self._total = total
        self._held: dict[str, int] = {}
        self._sum = 0

    def enter(self, key: str) -> bool:
        """Whether there was room; give it back with `leave`."""
        if self._sum >= self._total or self._held.get(key, 0) >= self._most:
            return False
        self._held[key] = self._held.get(key, 0) + 1
        self._sum += 1
        return True

    def leave(self, key: str) -> None:
        """Give back what `enter` took."""
        self._sum -= 1
        self._held[key] -= 1
        if not self._held[key]:
            del self._held[key]


def address_key(peername: object) -> str:
    """The bucket of a socket address, as `transport.get_extra_info("peername")` gives it.

    IPv4-mapped IPv6 is folded to IPv4, or the same host would have two budgets (GHSA-5847-rm3g-23mw); of IPv6
    the first 64 bits count, which is what one customer gets. What is no internet address shares one bucket.
    """
    host = peername[0] if isinstance(peername, tuple) and peername else peername
    try:
        address = ipaddress.ip_address(str(host).split("%", 1)[0])
    except ValueError:
        return "local"
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is None:
            return f"{ipaddress.IPv6Address(int(address) >> 64 << 64)}/64"
        return str(address.ipv4_mapped)
    return str(address)
