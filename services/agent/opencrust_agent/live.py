"""Live events of a running turn, for whoever watches. Lossy by design: a missed one costs a glimpse, no answer."""

import asyncio
from contextlib import suppress
from typing import Any, Protocol

from opencrust.bus import Bus, BusError, subjects
from opencrust.contracts import EventType, TurnEvent, encode

FLUSH_SECONDS = 0.03
"""Deltas are gathered this long: a fast model sends hundreds in a second, and no eye follows them singly."""
FLUSH_CHARACTERS = 1000


class Watched(Protocol):
    """Who shows the events of a turn: :class:`Live`, or a guard before it."""

    async def send(self, type: EventType, text: str = "", data: dict[str, Any] | None = None) -> None: ...
    async def delta(self, text: str) -> None: ...
    async def reset(self) -> None: ...
    def close(self) -> None: ...


class Live:
    """Events of one attempt at one turn."""

    def __init__(self, bus: Bus, channel: str, conv: str, message_id: str, attempt: int) -> None:
        self._bus = bus
        self._subject = subjects.evt_conv(channel, conv)
        self._message_id = message_id
        self._attempt = attempt
        self._index = 0
        self._pending = ""
        self._flushing: asyncio.Task[None] | None = None

    async def send(self, type: EventType, text: str = "", data: dict[str, Any] | None = None) -> None:
        """Send one event, after all text before it."""
        await self._flush()
        event = TurnEvent(
            type=type,
            message_id=self._message_id,
            attempt=self._attempt,
            index=self._index,
            text=text,
            data=data or {},
        )
        self._index += 1
        with suppress(BusError):
            await self._bus.publish(self._subject, encode(event))

    async def delta(self, text: str) -> None:
        """More of the answer."""
        self._pending += text
        if len(self._pending) >= FLUSH_CHARACTERS:
            await self._flush()
        elif self._flushing is None:
            self._flushing = asyncio.create_task(self._flush_soon())

    async def reset(self) -> None:
        """What was shown is void."""
        self._pending = ""
        await self.send(EventType.RESET)

    def close(self) -> None:
        """Send nothing more."""
        self._pending = ""
        if self._flushing is not None:
            self._flushing.cancel()

    async def _flush_soon(self) -> None:
        await asyncio.sleep(FLUSH_SECONDS)
        self._flushing = None
        await self._flush()

    async def _flush(self) -> None:
        if self._flushing is not None:
            self._flushing.cancel()
            self._flushing = None
        text, self._pending = self._pending, ""
        if text:
            await self.send(EventType.DELTA, text)
