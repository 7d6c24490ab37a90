"""One WebSocket connection: its reader, its writer, and the queue between them and the bus.

The reader takes one frame after the other and starts an operation for each; at most `in_flight` run at a time, then it
stops reading, so a client that floods is held up by its own socket. The writer sends from a bounded queue; a client
that does not read fills it and is closed with a code, to come back and resume.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import WSCloseCode, WSMsgType, web

from opencrust.bus import BusError
from opencrust.contracts.messages import MAX_TEXT
from opencrust_gateway import frames
from opencrust_gateway.authentication import Principal
from opencrust_gateway.errors import ApiError, bus_away
from opencrust_gateway.http import dump
from opencrust_gateway.limits import Limiter
from opencrust_gateway.permissions import OPERATIONS, demand
from opencrust_gateway.settings import Limits

log = logging.getLogger(__name__)

SLOW = 4008
"""The client did not read what was sent to it."""
HEARTBEAT = 25.0
CLOSE_TIME = 2.0

Result = tuple[dict[str, Any], Callable[[], None] | None]
"""The result of an operation, and what is to happen once it is sent."""
Operate = Callable[[frames.Request], Awaitable[Result]]


class Connection:
    """One client."""

    def __init__(self, socket: web.WebSocketResponse, request: web.Request, limits: Limits) -> None:
        self._socket = socket
        self._transport = request.transport
        self._limits = limits
        self._frames = Limiter(limits.frames)
        self._room = asyncio.Semaphore(limits.in_flight)
        self._operations: set[asyncio.Task[None]] = set()
        self._queue: deque[str] = deque()
        self._queued = 0
        self._filled = asyncio.Event()
        self._end: tuple[int, str] | None = None
        self._abort: asyncio.TimerHandle | None = None
        self._writer = asyncio.create_task(self._write())

    # -- what is sent

    def say_hello(self, caller: Principal | None) -> None:
        """The first frame of every connection."""
        limits = self._limits
        hello: dict[str, Any] = {
            "type": "hello",
            "v": frames.VERSION,
            "server": "opencrust",
            "authenticated": caller is not None,
            "limits": {
                "frame_bytes": limits.frame,
                "frame_bytes_before_auth": limits.frame_before_auth,
                "auth_seconds": limits.auth_time,
                "text_characters": MAX_TEXT,
                "conversations": limits.conversations,
                "in_flight": limits.in_flight,
                "frames_per_second": limits.frames.per_second,
                "attachment_bytes": limits.attachment,
                "outgoing_frames": limits.outgoing_frames,
                "outgoing_bytes": limits.outgoing_bytes,
                "ping_seconds": HEARTBEAT,
            },
        }
        if caller is not None:
            hello |= {"owner": caller.owner, "scopes": sorted(caller.scopes)}
        self.send(hello)

    def send(self, frame: dict[str, Any]) -> None:
        """Queue a frame, as `send_text`."""
        self.send_text(dump(frame))

    def send_text(self, text: str) -> None:
        """Queue a frame that is JSON already. Over the bounds the connection ends: the client does not read."""
        if self._end is not None:
            return
        self._queue.append(text)
        self._queued += len(text)
        over = len(self._queue) > self._limits.outgoing_frames or self._queued > self._limits.outgoing_bytes
        if over and len(self._queue) > 1:  # one large answer alone is no sign of a slow client
            self._queue.clear()
            self.end(SLOW, "too slow: connect again, and resume")
        self._filled.set()

    def end(self, code: int, reason: str) -> None:
        """Close with `code`, after what is queued. The first call counts."""
        if self._end is None:
            self._end = code, reason
            self._filled.set()
            if self._transport is not None:  # a client that reads nothing cannot keep us here
                self._abort = asyncio.get_running_loop().call_later(2 * CLOSE_TIME, self._transport.abort)

    async def finish(self) -> None:
        """Close, and wait until everything of this connection has ended."""
        self.end(WSCloseCode.OK, "")
        for task in self._operations:
            task.cancel()
        await asyncio.gather(*self._operations, return_exceptions=True)
        await asyncio.wait({self._writer})
        if self._abort is not None:
            self._abort.cancel()

    async def _write(self) -> None:
        try:
            while self._end is None or self._queue:
                self._filled.clear()
                while self._queue:
                    text = self._queue.popleft()
                    self._queued -= len(text)
                    await self._socket.send_str(text)
                if self._end is None:
                    await self._filled.wait()
            code, reason = self._end
            await self._socket.close(code=code, message=reason.encode()[:120])
        except (ConnectionError, RuntimeError):  # RuntimeError: what aiohttp raises once the socket is closing
            self.end(WSCloseCode.ABNORMAL_CLOSURE, "")

    # -- what is received

    async def receive(self) -> str | None:
        """The next text frame; None when the connection is over."""
        message = await self._socket.receive()
        if message.type is WSMsgType.TEXT:
            text: str = message.data
            return text
        if message.type is WSMsgType.BINARY:
            self.end(WSCloseCode.UNSUPPORTED_DATA, "frames are text")
        return None

    async def run(self, caller: Principal, operate: Operate) -> None:
        """Serve an authenticated client until it leaves or `end` is called."""
        reading = asyncio.create_task(self._read(caller, operate))
        try:
            await asyncio.wait({reading, self._writer}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)

    async def _read(self, caller: Principal, operate: Operate) -> None:
        loop = asyncio.get_running_loop()
        while (text := await self.receive()) is not None:
            if wait := self._frames.take("", loop.time()):
                error = ApiError(429, "rate_limited", "too many frames", retry_after=round(wait, 3))
                self.send({"type": "res", "id": frames.request_id(text), "ok": False, "error": error.frame()})
                continue
            await self._room.acquire()
            task = asyncio.create_task(self._serve(caller, operate, text))
            self._operations.add(task)
            task.add_done_callback(self._done)

    def _done(self, task: "asyncio.Task[None]") -> None:
        self._operations.discard(task)
        self._room.release()

    async def _serve(self, caller: Principal, operate: Operate, text: str) -> None:
        answer: dict[str, Any] = {"type": "res", "id": None, "ok": False}
        after: Callable[[], None] | None = None
        try:
            frame = frames.parse(text)
            if not isinstance(frame, frames.Request):
                raise ApiError(400, "already_authenticated", "this connection is authenticated")
            answer["id"] = frame.id
            if frame.op not in OPERATIONS:
                raise ApiError(404, "unknown_op", f"no such operation; there are {', '.join(OPERATIONS)}")
            demand(OPERATIONS[frame.op], caller.scopes)
            result, after = await operate(frame)
            answer |= {"ok": True, "result": result}
        except ApiError as error:
            answer |= {"id": answer["id"] or frames.request_id(text), "error": error.frame()}
        except BusError:
            answer["error"] = bus_away().frame()
        except Exception:
            log.exception("a WebSocket operation failed")
            answer["error"] = {"code": "internal", "message": "the gateway failed at this; its log says more"}
        self.send(answer)
        if after is not None:
            after()
