"""Channels, their cursors, and what was missed in them.

A cursor is the id of the last message of a channel that was handed on; ids grow with time. It is kept on the bus at
most once a second for a channel: what is read twice after a crash, the engine knows. A channel that is new to us begins
at its last message when we first see it; one that appears while we know the server begins at its first.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from opencrust.bus import BusError

TEXT_TYPES: Final = frozenset({0, 1, 2, 3, 5, 10, 11, 12, 13})
"""Kinds of channels that messages can be written in."""
THREADS: Final = frozenset({10, 11, 12})
FLUSH_SECONDS: Final = 1.0
MOST_DIRECT: Final = 12
"""Private conversations that are read after a gap, the latest first (a text of 255 characters holds their ids)."""

Cursor = Callable[[str], Awaitable[str | None]]
Keep = Callable[[str, str], Awaitable[None]]


@dataclass(slots=True)
class Place:
    """A channel as we know it."""

    id: str
    guild: str | None
    last: str | None = None
    """Its last message, as the gateway said when it was announced; None: not said."""
    ours: bool = False
    """A thread that we opened."""
    session: int = -1
    """The session in which it was last caught up."""


class Places:
    """The channels of one account and their cursors.

    Args:
        cursor, keep: read and write short texts that outlive us (the engine's).
    """

    def __init__(self, cursor: Cursor, keep: Keep) -> None:
        self._read = cursor
        self._keep = keep
        self._places: dict[str, Place] = {}
        self._cursors: dict[str, str] = {}
        self._dirty: set[str] = set()
        self._direct: list[str] = []
        self._known_guilds: set[str] = set()

    def get(self, channel: str) -> Place | None:
        """What is known of a channel."""
        return self._places.get(channel)

    def learn(self, data: Mapping[str, Any], guild: str | None, me: str) -> Place | None:
        """Note a channel or thread as the gateway or REST describes it."""
        number, kind = data.get("id"), data.get("type", 0)
        if not isinstance(number, (str, int)) or kind not in TEXT_TYPES:
            return None
        key = str(number)
        place = self._places.setdefault(key, Place(key, guild))
        place.guild = guild or place.guild
        last = data.get("last_message_id")
        place.last = str(last) if isinstance(last, (str, int)) and last else place.last
        place.ours = kind in THREADS and str(data.get("owner_id")) == me
        return place

    def seen(self, channel: str, guild: str | None) -> Place:
        """A message came from this channel."""
        place = self._places.setdefault(channel, Place(channel, guild))
        place.guild = guild or place.guild
        return place

    async def meet(self, place: Place) -> None:
        """A private conversation cannot be found again but by its id: note it before its first message is handed on.

        Raises:
            BusError: it is not noted.
        """
        if place.guild is None and place.id not in await self.direct():
            self._direct = [place.id, *self._direct][:MOST_DIRECT]
            await self._keep("direct", " ".join(self._direct))

    async def direct(self) -> list[str]:
        """Private conversations that we had, the latest first. Raises BusError."""
        if not self._direct:
            self._direct = [number for number in (await self._read("direct") or "").split() if number]
        return list(self._direct)

    async def cursor(self, place: Place, *, begin: str) -> str:
        """Where reading goes on. A channel that has no cursor gets ``begin``.

        Raises:
            BusError: it cannot be known now.
        """
        if (known := self._cursors.get(place.id)) is None:
            known = await self._read(_name(place.id))
            if known is None:
                known = begin
                await self._keep(_name(place.id), known)
            known = self._cursors.setdefault(place.id, known)
        return known

    async def is_new(self, guild: str) -> bool:
        """Whether we never knew this server before; from now on we do. Raises BusError."""
        if guild in self._known_guilds:
            return False
        known = await self._read(f"guild-{guild}")
        return known is None

    async def know(self, guild: str) -> None:
        """Its channels have cursors now. Raises BusError."""
        await self._keep(f"guild-{guild}", "1")
        self._known_guilds.add(guild)

    def advance(self, channel: str, message: str, guild: str | None) -> None:
        """A message was handed on."""
        if newer(message, self._cursors.get(channel)):
            self._cursors[channel] = message
            self._dirty.add(channel)
        if guild is None and (not self._direct or self._direct[0] != channel):
            self._direct = [channel, *(other for other in self._direct if other != channel)][:MOST_DIRECT]
            self._dirty.add("")

    async def flush(self) -> None:
        """Keep what changed. Raises BusError."""
        while self._dirty:
            channel = self._dirty.pop()
            try:
                if channel:
                    await self._keep(_name(channel), self._cursors[channel])
                else:
                    await self._keep("direct", " ".join(self._direct))
            except BusError:
                self._dirty.add(channel)
                raise

    async def flushing(self) -> None:
        """Keep cursors for ever; what cannot be kept now is kept later."""
        while True:
            await asyncio.sleep(FLUSH_SECONDS)
            with contextlib.suppress(BusError):
                await self.flush()


def newer(one: str, other: str | None) -> bool:
    """Whether an id is later than another. Ids are numbers; of a server whose ids are none, any is."""
    if other is None:
        return True
    try:
        return int(one) > int(other)
    except ValueError:
        return one != other


def _name(channel: str) -> str:
    return "channel-" + "".join(char for char in channel.lower() if char.isascii() and (char.isalnum() or char == "-"))
