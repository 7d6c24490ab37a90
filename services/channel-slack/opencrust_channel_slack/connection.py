"""One WebSocket of Socket Mode: read, watched, and known to be dead when nothing is heard."""

import asyncio
import contextlib
import json
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

import aiohttp

PING_SECONDS: Final = 0.5
DEAD_SECONDS: Final = 1.5
"""Without any frame, a pong among them, for so long, a connection is dead."""
FLUSH_SECONDS: Final = 0.4
CLOSE_SECONDS: Final = 0.3
"""How long the answer to our close frame is waited for; a dead peer sends none."""


class Connection:
    """One WebSocket, from its handshake to its end.

    Args:
        text: takes a text frame over; must not wait.
        alive: called at every sign of life.
    """

    def __init__(
        self,
        socket: aiohttp.ClientWebSocketResponse,
        text: "Callable[[str, Connection], None]",
        alive: Callable[[], None],
    ) -> None:
        self._socket = socket
        self._text = text
        self._alive = alive
        self._heard = time.monotonic()
        self._pings = 0
        self._flushes: dict[int, asyncio.Future[bool]] = {}
        self.leaving = asyncio.Event()
        """Slack said that it will end it, or it has ended: it is time for another one."""
        self.ended = asyncio.Event()
        self.answered = False
        """Something was heard by it."""
        self.dead = False
        """It was silent and had to be left."""
        self.clean = False
        """Slack ended it with a close frame: all that it had sent by it came."""

    async def run(self) -> None:
        """Read until it ends, for whatever reason."""
        tasks = [asyncio.create_task(self._read()), asyncio.create_task(self._watch())]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self.ended.set()
            self.leaving.set()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            for waiting in self._flushes.values():
                if not waiting.done():
                    waiting.set_result(self.clean)
            await self.close()

    async def close(self) -> None:
        """End it from our side; :meth:`run` then returns."""
        with contextlib.suppress(Exception):
            await self._socket.close()

    async def acknowledge(self, envelope: str, payload: Mapping[str, Any] | None = None) -> None:
        """Tell Slack that we have an envelope, over the connection that it came by or not at all: then it comes again,
        and is known."""
        if self.ended.is_set():
            return
        answer = {"envelope_id": envelope, **({} if payload is None else {"payload": payload})}
        with contextlib.suppress(Exception):  # whatever a broken socket raises: Slack brings the envelope again
            await self._socket.send_str(json.dumps(answer))

    async def flushed(self) -> bool:
        """Whether all that Slack sent by this connection before this call is read: its pong comes behind that. False
        if it is not known within :data:`FLUSH_SECONDS`."""
        if self.ended.is_set():
            return self.clean
        waiting: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._flushes[self._pings + 1] = waiting
        try:
            async with asyncio.timeout(FLUSH_SECONDS):
                await self._ping()
                return await waiting
        except TimeoutError:
            return False

    async def _read(self) -> None:
        while True:
            message = await self._socket.receive()
            if message.type is aiohttp.WSMsgType.CLOSE:
                self.clean = True
            if message.type in _ENDS:
                return
            self._heard = time.monotonic()
            self.answered = True
            self._alive()
            if message.type is aiohttp.WSMsgType.TEXT:
                self._text(message.data, self)
            elif message.type is aiohttp.WSMsgType.PING:
                with contextlib.suppress(Exception):
                    await self._socket.pong(message.data)
            elif message.type is aiohttp.WSMsgType.PONG:
                self._pong(bytes(message.data))

    async def _watch(self) -> None:
        """Returns when nothing is heard any more. Time in which this process itself stood still does not count."""
        last = pinged = time.monotonic()
        while True:
            await asyncio.sleep(0.1)
            now = time.monotonic()
            self._heard += max(0.0, now - last - 0.3)
            last = now
            if now - self._heard > DEAD_SECONDS:
                self.dead = True
                return
            if now - pinged >= PING_SECONDS:
                pinged = now
                await self._ping()

    async def _ping(self) -> None:
        self._pings += 1
        with contextlib.suppress(Exception):  # the reader learns of a broken socket by itself
            async with asyncio.timeout(PING_SECONDS):  # a dead one may take no more bytes
                await self._socket.ping(str(self._pings).encode())

    def _pong(self, data: bytes) -> None:
        if not data.isdigit() or len(data) > 15:
            return
        for number in [number for number in self._flushes if number <= int(data)]:
            waiting = self._flushes.pop(number)
            if not waiting.done():
                waiting.set_result(True)


_ENDS: Final = (
    aiohttp.WSMsgType.CLOSE,
    aiohttp.WSMsgType.CLOSING,
    aiohttp.WSMsgType.CLOSED,
    aiohttp.WSMsgType.ERROR,
)
