"""Wrong codes: counted for the sender before a code is looked at, and for the channel after it proved wrong.

The count is a compare-and-set on the bus, so of a thousand codes that one sender tries at the same time on all
replicas five are looked at.
"""

import asyncio
from datetime import datetime

from opencrust.access.pairing import ALARM_AT, LOCK, MAX_TRIES, Tries
from opencrust.access.people import PersonId
from opencrust.bus import Bus, KeyExists, WrongRevision
from opencrust.bus.kv import Entry
from opencrust.contracts.base import ContractError, decode, encode
from opencrust_gateway.limits import Limiter, Rate

RATE = Rate(burst=60, per_second=1)
"""Codes of one channel that one replica looks at: each costs 20 ms of a processor."""
_ATTEMPTS = 20


class TriesStore:
    """Counts of senders and channels. Every method raises BusError when the bus is away."""

    def __init__(self, bus: Bus, rate: Rate = RATE) -> None:
        self._bucket = bus.kv("pairing")
        self._limiter = Limiter(rate)

    async def take(self, person: PersonId, now: datetime) -> int | None:
        """Use up one try of a sender, before his code is looked at. Which one it is, from 1; None: he is locked."""
        if self._limiter.take(person.channel, asyncio.get_running_loop().time()):
            return None
        return await self._count(_sender(person), now, most=MAX_TRIES)

    async def forgive(self, person: PersonId) -> None:
        """Forget his tries: his code was right."""
        await self._bucket.delete(_sender(person))

    async def wrong(self, channel: str, now: datetime) -> int:
        """Count a wrong code of a channel; returns how many there were within the hour."""
        return await self._count(f"wrong.{channel}", now) or 0

    async def wrongs(self, channel: str, now: datetime) -> int:
        """How many wrong codes a channel saw within the hour."""
        return _read(await self._bucket.get(f"wrong.{channel}"), now).counted(now)

    async def _count(self, key: str, now: datetime, *, most: int | None = None) -> int | None:
        """One more under ``key``, and how many that makes; None where there are ``most`` already, or no end of
        others who write the same count: then it is the safe side to count this one as too many."""
        for _ in range(_ATTEMPTS):
            entry = await self._bucket.get(key)
            before = _read(entry, now)
            if most is not None and before.counted(now) >= most:
                return None
            after = before.one_more(now)
            try:
                if entry is None:
                    await self._bucket.create(key, encode(after), ttl=int(LOCK.total_seconds()))
                else:
                    value, ttl = encode(after), int(LOCK.total_seconds())
                    await self._bucket.update(key, value, revision=entry.revision, ttl=ttl)
            except (KeyExists, WrongRevision):
                continue
            return after.count
        return None


def alarmed(wrongs: int) -> bool:
    """Whether so many wrong codes within an hour are an alarm."""
    return wrongs >= ALARM_AT


def _sender(person: PersonId) -> str:
    return f"tries.{person.key}"


def _read(entry: Entry | None, now: datetime) -> Tries:
    """The count; of a damaged one, the most: it may have been a lock."""
    if entry is None:
        return Tries(count=0, since=now)
    try:
        return decode(Tries, entry.value)
    except ContractError:
        return Tries(count=ALARM_AT, since=now)
