"""How far we have read in each place of a platform, for backfills; kept on the bus, a little late.

A place is a channel, a private conversation or a thread, by any short key. Its cursor is the platform's id of the last
message that was handed on, and only grows. It is kept at most once a second: what is read twice after a crash, the
engine knows.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Final

from opencrust.bus import BusError

FLUSH_SECONDS: Final = 1.0
MOST_MET: Final = 2_000
"""Places that are remembered by name, the latest first: those that nothing else would tell us of after a gap."""
RANK_SECONDS: Final = 30.0
"""A new place is kept before its first message is handed on; a new order of known ones after so long."""

Read = Callable[[str], Awaitable[str | None]]
Keep = Callable[[str, str], Awaitable[None]]


class Cursors:
    """The cursors of one account.

    Args:
        read, keep: short texts that outlive us (:class:`~opencrust.channel.adapter.Runtime`'s ``cursor`` and ``keep``).
    """

    def __init__(self, read: Read, keep: Keep) -> None:
        self._read = read
        self._keep = keep
        self._at: dict[str, str] = {}
        self._met: list[str] | None = None
        self._dirty: set[str] = set()
        self._ranked: float | None = None
        """Since when the order of places is not kept, by the loop's clock."""

    async def get(self, place: str, begin: str) -> str:
        """Where reading goes on. A place that has no cursor gets ``begin``. Raises BusError."""
        if (known := self._at.get(place)) is None:
            known = await self._read(_name(place))
            if known is None:
                known = begin
                await self._keep(_name(place), known)
            known = self._at.setdefault(place, known)
        return known

    def advance(self, place: str, to: str) -> None:
        """A message was handed on."""
        if later(to, self._at.get(place)):
            self._at[place] = to
            self._dirty.add(place)

    async def met(self) -> list[str]:
        """Places that were met, by any replica, the latest first. Raises BusError."""
        kept = (await self._read("met") or "").split()
        ours = self._met or []
        self._met = [*ours, *(place for place in kept if place not in set(ours))][:MOST_MET]
        return list(self._met)

    async def meet(self, place: str) -> None:
        """Remember a place by name; one that is new before its first message is handed on. Raises BusError."""
        met = await self.met() if self._met is None else self._met
        if met[:1] == [place]:
            return
        self._met = [place, *(other for other in met if other != place)][:MOST_MET]
        if place not in met:
            await self._flush_met()
        elif self._ranked is None:
            self._ranked = asyncio.get_running_loop().time()

    async def flush(self) -> None:
        """Keep what changed. Raises BusError."""
        if self._ranked is not None and asyncio.get_running_loop().time() - self._ranked > RANK_SECONDS:
            await self._flush_met()
        while self._dirty:
            place = self._dirty.pop()
            try:
                await self._keep(_name(place), self._at[place])
            except BusError:
                self._dirty.add(place)
                raise

    async def flushing(self) -> None:
        """Keep them for ever; what cannot be kept now is kept later."""
        while True:
            await asyncio.sleep(FLUSH_SECONDS)
            with contextlib.suppress(BusError):
                await self.flush()

    async def _flush_met(self) -> None:
        await self._keep("met", " ".join(await self.met()))  # other replicas meet others
        self._ranked = None


def later(one: str, other: str | None) -> bool:
    """Whether an id comes after another. Ids are numbers, whole (Discord) or with a point (Slack); of a platform whose
    ids are none, any other one does."""
    if other is None:
        return True
    try:
        return _number(one) > _number(other)
    except ValueError:
        return one != other


def _number(text: str) -> tuple[int, int]:
    whole, _, part = text.partition(".")
    return int(whole), int(part.ljust(9, "0")) if part else 0


def _name(place: str) -> str:
    return "at-" + "".join(char if char.isascii() and char.isalnum() else "-" for char in place.lower())
