"""Gaps: what was written in a channel while we were away is read before what is live, once in each session."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, Final

from opencrust.channel.adapter import Runtime
from opencrust.channel.cursors import Cursors, later
from opencrust.channel.in_order import InOrder
from opencrust_channel_discord.catchup import Place, Places
from opencrust_channel_discord.events import EPOCH_MS, moment
from opencrust_channel_discord.rest import NoAnswer, Refusal, Rest, link_error

log = logging.getLogger(__name__)

PAGE: Final = 100
MOST_PAGES: Final = 1_000
"""Pages of one channel that are read after a gap."""
AT_ONCE: Final = 4
"""Channels that are looked at side by side at the beginning of a session; Discord takes 50 calls a second."""
PATIENCE: Final = 30.0
"""Seconds that what is live waits for a channel that cannot be read just now."""
WALL_PATIENCE: Final = 2.0
"""The same, where something that is not Discord refuses it: a wall for a moment, or a server that has no history."""
LOOK_AGAIN: Final = 30.0
BEFORE_FIRST: Final = timedelta(minutes=15)
"""What was written so long before we first ran is still answered."""

HandOn = Callable[[Place, Mapping[str, Any]], Awaitable[None]]


class Backfill:
    """The gaps of one account.

    Args:
        hand_on: takes one missed message over; the oldest comes first.
    """

    def __init__(self, runtime: Runtime, rest: Rest, places: Places, work: InOrder, hand_on: HandOn) -> None:
        self.cursors = Cursors(runtime.cursor, runtime.keep)
        self._runtime = runtime
        self._rest = rest
        self._places = places
        self._work = work
        self._hand_on = hand_on
        self._since = datetime.now(UTC)
        self._session = 0
        self._room = asyncio.Semaphore(AT_ONCE)

    async def start(self) -> None:
        """Learn when this account was first listened to. Raises BusError."""
        known = await self._runtime.cursor("since")
        if known is None:
            known = (datetime.now(UTC) - BEFORE_FIRST).isoformat()
            await self._runtime.keep("since", known)
        self._since = datetime.fromisoformat(known)

    def begin_session(self) -> None:
        """Events were missed, and nobody knows where."""
        self._session += 1
        self._places.forget_last()

    async def look_at_met(self) -> None:
        """Catch up wherever we were written to: not every server announces every channel. Raises BusError."""
        met = [entry.partition("@") for entry in await self.cursors.met()]
        await self.look_at(self._places.seen(channel, guild or None) for channel, _, guild in met)

    async def look_at(self, places: Iterable[Place]) -> None:
        """Catch up in many channels, a few at a time, so that what is live meanwhile finds no queue before it."""
        for place in places:
            await self._room.acquire()
            self._work.put(place.id, partial(self._look, place))

    async def _look(self, place: Place) -> None:
        try:
            await self.catch_up(place)
        finally:
            self._room.release()

    async def meet(self, place: Place) -> None:
        """Remember a channel that somebody wrote in. Raises BusError."""
        await self.cursors.meet(f"{place.id}@{place.guild}" if place.guild else place.id)

    async def know_guild(self, guild: str, places: list[Place]) -> None:
        """Give every channel of a server a cursor, and read what is later than that. Raises BusError."""
        if await self._runtime.cursor(f"guild-{guild}") is None:
            for place in places:
                await self.cursors.get(place.id, self._first_cursor(place.last))
            await self._runtime.keep(f"guild-{guild}", "1")
        await self.look_at(places)

    async def catch_up(self, place: Place, live: str | None = None) -> None:
        """Read what was missed in a channel, once in each session. Raises BusError.

        Where it cannot be read for long, what is live goes on; the cursor stays, and it is tried again.

        Args:
            live: the id of the message that just came in.
        """
        session = self._session
        if place.session == session:
            return
        timeless = live is not None and moment(live) is None  # ids of this server do not tell when
        begin = "0" if place.guild or timeless else self._first_id()
        cursor = await self.cursors.get(place.id, begin)
        if (place.last is None or later(place.last, cursor)) and not await self._read(place, cursor):
            log.warning("a channel cannot be read; what was missed in it is looked for again")
            asyncio.get_running_loop().call_later(
                LOOK_AGAIN, self._work.put, place.id, partial(self.catch_up, place, live)
            )
            return
        place.session = session

    def handed_on(self, place: Place, message: str) -> None:
        """A live message was handed on. What was missed before it may not be read yet: then reading begins there."""
        if place.session == self._session:
            self.cursors.advance(place.id, message)

    def _first_id(self) -> str:
        """The least id of what was written since this account was first listened to."""
        return str(max(0, int(self._since.timestamp() * 1000) - EPOCH_MS) << 22)

    def _first_cursor(self, last: str | None) -> str:
        """Where reading begins in a channel of a server that we never knew: at its last message, but not after the
        moment when this account was first listened to (we may have been killed just after it)."""
        if last is None:
            return "0"
        at = moment(last)
        return self._first_id() if at is not None and at > self._since else last

    async def _read(self, place: Place, cursor: str) -> bool:
        """Whether all was read that there is."""
        for _ in range(MOST_PAGES):
            page = await self._page(place, cursor)
            if page is None:
                return False
            for message in page:
                if _written(message) >= self._since:
                    await self._hand_on(place, message)
                self.cursors.advance(place.id, str(message["id"]))
            if len(page) < PAGE:
                break
            cursor = str(page[-1]["id"])
        return True

    async def _page(self, place: Place, cursor: str) -> list[Mapping[str, Any]] | None:
        """Messages after ``cursor``, oldest first; none where we may not read; None: not now."""
        begin, pause = time.monotonic(), 0.5
        while True:
            patience = PATIENCE
            try:
                found = await self._rest.get(f"/channels/{place.id}/messages", after=cursor, limit=PAGE)
                listed = found if isinstance(found, list) else []
                messages = [m for m in listed if isinstance(m, Mapping) and isinstance(m.get("id"), (str, int))]
                return sorted(
                    (m for m in messages if later(str(m["id"]), cursor)),
                    key=lambda m: (len(str(m["id"])), str(m["id"])),
                )
            except Refusal as error:
                if error.status == 401:
                    raise link_error(error) from None
                if 400 <= error.status < 500 and error.status not in (408, 429):
                    if not error.foreign:
                        return []
                    patience = WALL_PATIENCE
                pause = max(pause, error.after)
            except NoAnswer:
                pass
            if time.monotonic() + pause - begin > patience:
                return None
            await asyncio.sleep(pause)
            pause = min(pause * 2, 10.0)


def _written(message: Mapping[str, Any]) -> datetime:
    try:
        read = datetime.fromisoformat(str(message.get("timestamp")))
        return read if read.tzinfo else read.replace(tzinfo=UTC)
    except ValueError:
        return datetime.now(UTC)
