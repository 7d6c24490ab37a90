"""From an envelope of Slack's, by socket or by HTTP, to an event that is stored; and only then acknowledged."""

import asyncio
import contextlib
import hashlib
import logging
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Final, TypeVar

from opencrust.bus import BusError
from opencrust.channel.adapter import Emit, Fate, Runtime
from opencrust_channel_slack.api import Api
from opencrust_channel_slack.catchup import CatchUp, place_in_time, place_of
from opencrust_channel_slack.events import Me, event_of
from opencrust_channel_slack.neighbours import Neighbours
from opencrust_channel_slack.order import FIRST, Ordered, Stamp

log = logging.getLogger(__name__)
_Given = TypeVar("_Given")
_Result = TypeVar("_Result")

STORE_PAUSES: Final = (0.1, 0.3, 1.0, 2.0)
MOST_WAITING: Final = 5_000
DRAIN_SECONDS: Final = 0.5
"""How long a replica that stops works on what it has in hand."""

Done = Callable[[Fate], Awaitable[None]]
"""Acknowledges."""


class Intake:
    """One replica's way in.

    Args:
        settled: see :class:`~opencrust_channel_slack.order.Ordered`.
        failed: called with what ends it all.
    """

    def __init__(
        self,
        runtime: Runtime,
        api: Api,
        me: Me,
        emit: Emit,
        settled: Callable[[object], Awaitable[bool]],
        failed: Callable[[BaseException], None],
    ) -> None:
        self._runtime = runtime
        self._me = me
        self._emit = emit
        self._neighbours = Neighbours(runtime.cursor, runtime.keep)
        self.missed = CatchUp(runtime, api, me, partial(patiently, emit), lambda: self._neighbours.any)
        self._work = Ordered(settled, self.missed.doubt, failed)
        self._reading: asyncio.Task[None] | None = None
        self._beside: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Begin to keep cursors, and to see who else listens. Raises BusError."""
        await self._neighbours.beat()
        self._beside = [
            asyncio.create_task(self.missed.cursors.flushing()),
            asyncio.create_task(self._neighbours.beating()),
        ]

    async def drain(self) -> None:
        """Finish what is in hand, for a moment."""
        await self._work.drain(DRAIN_SECONDS)

    async def close(self) -> None:
        """Give up what is not done."""
        tasks = [*self._beside, *([self._reading] if self._reading is not None else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._work.close()
        with contextlib.suppress(BusError):
            await self.missed.cursors.flush()

    def begun(self) -> None:
        """Slack is heard; what was missed is read."""
        if self.missed.begin():
            if self._reading is not None:
                self._reading.cancel()
            self._reading = asyncio.create_task(self.missed.read_again(self._in_turn))

    def take(self, kind: str, payload: object, number: str, done: Done, source: object = None) -> bool:
        """Take an envelope over; its turn comes. False where too much waits already: Slack brings it again.

        Args:
            kind: ``events_api``, ``slash_commands`` or ``interactive``.
            number: the same whenever Slack brings this very envelope.
            source: the connection that it came by.
        """
        if len(self._work) >= MOST_WAITING:
            self.missed.lost()
            return False
        key, stamp = turn(payload)
        self._work.put(key, stamp, partial(self._handle, kind, payload, number, done), source)
        return True

    def bury(self, raw: str) -> None:
        """Keep what is not even an envelope."""
        number = hashlib.sha256(raw.encode(errors="replace")).hexdigest()[:32]

        async def bury() -> None:
            await patiently(partial(self._runtime.bury, number, "it is no JSON"), raw)

        self._work.put("", None, bury)

    def _in_turn(self, place: str, work: Callable[[], Awaitable[None]]) -> None:
        self._work.put(place.partition(":")[0], FIRST, partial(patiently, lambda work: work(), work))

    async def _handle(self, kind: str, payload: object, number: str, done: Done) -> None:
        if not isinstance(payload, Mapping):
            await patiently(partial(self._runtime.bury, number, "it has no payload"), payload)
            await done(Fate.DROPPED)
            return
        try:
            event = event_of(kind, payload, self._me, number)
        except Exception as error:  # noqa: BLE001 - one odd event must not hold up the others
            reason = f"it was not understood: {type(error).__name__}"
            await patiently(partial(self._runtime.bury, number, reason), payload)
            await done(Fate.DROPPED)
            return
        fate = Fate.DROPPED
        if event is not None:
            if kind == "events_api" and event.message:
                place = place_of(payload["event"])
                await patiently(partial(self.missed.before, place), event.message)
                fate = await patiently(self._emit, event)
                self.missed.handed(place, event.message, event.id)
            else:
                fate = await patiently(self._emit, event)
        await done(fate)


def turn(payload: object) -> tuple[str, Stamp | None]:
    """What must stay in order, and where in it a payload stands; None: after all that is at hand."""
    if not isinstance(payload, Mapping):
        return "", None
    inner = payload.get("event")
    if isinstance(inner, Mapping):
        channel = inner.get("channel")
        return (channel, place_in_time(inner.get("ts"))) if isinstance(channel, str) else ("", None)
    return f"said by {payload.get('user_id') or payload.get('user')}"[:200], None  # /stop waits behind no message


async def patiently(work: Callable[[_Given], Awaitable[_Result]], given: _Given) -> _Result:
    """Do what needs the bus, however long that is away; Slack meanwhile brings the event again, which does no harm."""
    attempt = 0
    while True:
        try:
            return await work(given)
        except BusError as error:
            if attempt == 0:
                log.warning("an event waits for the bus: %s", error)
            await asyncio.sleep(STORE_PAUSES[min(attempt, len(STORE_PAUSES) - 1)])
            attempt += 1
