"""The stop signal: ends the running turn of a conversation, or of all. Out of band, never queued behind the turn.

Every replica hears every stop. One that arrives while the message it is meant for still waits to be picked up is kept
for a while: a turn whose message was stored before the stop begins stopped.
"""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime

from opencrust.bus import Bus, Message, subjects

ALL = ("all", "all")
"""The channel and conversation of a stop that is meant for everything (`opencrust stop`)."""
REMEMBERED_SECONDS = 600.0
REMEMBERED = 10_000


class Stops:
    """Which conversations this replica works on, and who asked to stop them."""

    def __init__(self) -> None:
        self._running: dict[tuple[str, str], asyncio.Event] = {}
        self._heard: OrderedDict[tuple[str, str], float] = OrderedDict()

    async def listen(self, bus: Bus) -> None:
        """Begin to hear ``ctl.stop.<channel>.<conv>``."""
        await bus.subscribe(subjects.wildcard(subjects.CTL_STOP), self._stop)

    @contextmanager
    def watch(self, channel: str, conv: str, stored: datetime | None = None) -> Iterator[asyncio.Event]:
        """The event is set when somebody stops this conversation while the block runs, or did so since ``stored``."""
        event = self._running[channel, conv] = asyncio.Event()
        if stored is not None and self._stopped_since(channel, conv, stored):
            event.set()
        try:
            yield event
        finally:
            if self._running.get((channel, conv)) is event:  # else it runs again here: its lease was lost meanwhile
                del self._running[channel, conv]

    def _stopped_since(self, channel: str, conv: str, stored: datetime) -> bool:
        return any(self._heard.get(key, 0.0) >= stored.timestamp() for key in ((channel, conv), ALL))

    async def _stop(self, message: Message) -> None:
        channel, conv = message.subject.split(".")[-2:]
        self._remember((channel, conv))
        if (channel, conv) == ALL:
            for event in self._running.values():
                event.set()
        elif (running := self._running.get((channel, conv))) is not None:
            running.set()

    def _remember(self, key: tuple[str, str]) -> None:
        self._heard.pop(key, None)
        self._heard[key] = time.time()
        while len(self._heard) > REMEMBERED or next(iter(self._heard.values())) < time.time() - REMEMBERED_SECONDS:
            self._heard.popitem(last=False)


def stored_at(headers: Mapping[str, str], received: datetime) -> datetime:
    """When the bus stored a message, by its own clock (to the microsecond); ``received`` where it does not say."""
    stamp = headers.get("Nats-Time-Stamp", "")
    try:
        return datetime.fromisoformat(stamp[:26].rstrip("Z")).replace(tzinfo=UTC)
    except ValueError:
        return received
