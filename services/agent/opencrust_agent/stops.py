"""The stop signal: ends the running turn of a conversation. Out of band, never queued behind the turn itself."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from opencrust.bus import Bus, Message, subjects


class Stops:
    """Which conversations this replica works on, and who asked to stop them."""

    def __init__(self) -> None:
        self._running: dict[tuple[str, str], asyncio.Event] = {}

    async def listen(self, bus: Bus) -> None:
        """Begin to hear ``ctl.stop.<channel>.<conv>``."""
        await bus.subscribe(subjects.wildcard(subjects.CTL_STOP), self._stop)

    @contextmanager
    def watch(self, channel: str, conv: str) -> Iterator[asyncio.Event]:
        """The event is set when somebody stops this conversation while the block runs."""
        event = self._running[channel, conv] = asyncio.Event()
        try:
            yield event
        finally:
            del self._running[channel, conv]

    async def _stop(self, message: Message) -> None:
        channel, conv = message.subject.split(".")[-2:]
        event = self._running.get((channel, conv))
        if event is not None:
            event.set()
