"""/v1/ws: one connection, its reader, its writer, and its operations.
 The reader takes one frame after the other and starts an operation for each; at most `in_flight` run at a
time, then it stops reading, so a client that floods is held up by its own socket. The writer sends from a
bounded queue; a client that does not read fills it and is closed with a code, to come back and open its
conversations anew.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from aiohttp import WSCloseCode, WSMsgType, web

from opencrust.access import Scope, TokenKind
from opencrust.access.tokenstore import TokenStore
from opencrust.bus import BusError
from opencrust.contracts.messages import MAX_TEXT
from opencrust.telemetry import spans
from opencrust_gateway import frames
from opencrust_gateway.authentication import LiveConnections, Principal, authenticate
from opencrust_gateway.conversations import Conversation, new_message_id
from opencrust_gateway.errors import ApiError, unauthenticated
from opencrust_gateway.http import dump, optional_principal
from opencrust_gateway.hub import Hub, Notice, Watcher, notice_of_turn
from opencrust_gateway.limits import Ceiling, Limiter, address_key
from opencrust_gateway.permissions import OPERATIONS, demand
from opencrust_gateway.settings import Limits

log = logging.getLogger(__name__)

UNAUTHENTICATED = 4401
"""No credential came in time, or a wrong one."""
REVOKED = 4403
"""The token was revoked or has expired."""
SLOW = 4008
"""The client did not read what was sent to it."""
TOO_MANY = 4029
"""Too many connections of this address wait for their credential."""
HEARTBEAT = 25.0
CLOSE_TIME = 2.0


class Sockets:
    """The handler, and all open connections."""

    def __init__(self, hub: Hub, tokens: TokenStore, live: LiveConnections, limits: Limits) -> None:
        self._hub = hub
        self._tokens = tokens
        self._live = live
        self._limits = limits
        self._unauthenticated = Ceiling(limits.unauthenticated_sockets, limits.unauthenticated_sockets * 4)
        self._open: set[Connection] = set()

    async def connect(self, request: web.Request) -> web.StreamResponse:
        """GET /v1/ws."""
        socket = web.WebSocketResponse(
            heartbeat=HEARTBEAT, timeout=CLOSE_TIME, max_msg_size=self._limits.frame, compress=False, autoclose=True
        )
        await socket.prepare(request)
        connection = Connection(socket, request, self._hub, self._limits)
        self._open.add(connection)
        try:
            caller = optional_principal(request)
            if caller is not None:
                connection.say_hello(caller)
            else:
                caller = await self._first_frame(connection, request)
            if caller is not None:
                with self._live.enter(caller, lambda: connection.end(REVOKED, "this token was revoked or expired")):
                    await self._live.recheck(caller.token_id)  # it may have been revoked before we began to watch it
                    await connection.run(caller)
        except BusError:
            connection.end(WSCloseCode.TRY_AGAIN_LATER, "the bus is away; connect again")
        finally:
            self._open.discard(connection)
            await connection.finish()
        return socket

    @property
    def count(self) -> int:
        """Open connections."""
        return len(self._open)

    async def close(self) -> None:
        """Tell every client that this gateway stops; they reconnect."""
        for connection in list(self._open):
            connection.end(WSCloseCode.SERVICE_RESTART, "the gateway stops; connect again")
        await asyncio.gather(*(connection.finish() for connection in list(self._open)))

    async def _first_frame(self, connection: "Connection", request: web.Request) -> Principal | None:
        """Wait for the credential. None if the connection was closed instead."""
        address = address_key(request.get_extra_info("peername"))
        if not self._unauthenticated.enter(address):
            connection.end(TOO_MANY, "too many connections of this address wait for their credential")
            return None
        try:
            connection.say_hello(None)
            async with asyncio.timeout(self._limits.auth_time):
                return await self._authenticate(connection)
        except TimeoutError:
            connection.end(UNAUTHENTICATED, f"no credential within {self._limits.auth_time:g} s")
        except ApiError as error:
            connection.send({"type": "auth", "ok": False, "error": error.frame()})
            connection.end(UNAUTHENTICATED, error.message)
        finally:
            self._unauthenticated.leave(address)
        return None

    async def _authenticate(self, connection: "Connection") -> Principal | None:
        text = await connection.receive()
        if text is None:
            return None
        if len(text) > self._limits.frame_before_auth:
            raise ApiError(413, "too_large", "a frame before authentication has at most 64 KiB")
        frame = frames.parse(text)
        if not isinstance(frame, frames.Auth):
            raise unauthenticated("the first frame must be an auth frame with a token")
        caller = await authenticate(self._tokens, frame.token, TokenKind.BEARER)
        connection.send({"type": "auth", "ok": True, "owner": caller.owner, "scopes": sorted(caller.scopes)})
        return caller


class Connection:
    """One client."""

    def __init__(self, socket: web.WebSocketResponse, request: web.Request, hub: Hub, limits: Limits) -> None:
        self._socket = socket
        self._transport = request.transport
        self._hub = hub
        self._limits = limits
        self._frames = Limiter(limits.frames)
        self._room = asyncio.Semaphore(limits.in_flight)
        self._operations: set[asyncio.Task[None]] = set()
        self._opened: dict[str, _Opened] = {}
        self._seq = 0
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
                "outgoing_frames": limits.outgoing_frames,
                "outgoing_bytes": limits.outgoing_bytes,
                "ping_seconds": HEARTBEAT,
            },
        }
        if caller is not None:
            hello |= {"owner": caller.owner, "scopes": sorted(caller.scopes)}
        self.send(hello)

    def send(self, frame: dict[str, Any]) -> None:
        """Queue a frame. Over the bounds the connection ends: the client does not read."""
        if self._end is not None:
            return
        text = dump(frame)
        self._queue.append(text)
        self._queued += len(text)
        if len(self._queue) > self._limits.outgoing_frames or self._queued > self._limits.outgoing_bytes:
            self._queue.clear()
            self.end(SLOW, "too slow: connect again and open the conversations anew")
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
        for opened in self._opened.values():
            self._hub.remove(opened.watcher)
        self._opened.clear()
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

    async def run(self, caller: Principal) -> None:
        """Serve an authenticated client until it leaves or `end` is called."""
        reading = asyncio.create_task(self._read(caller))
        try:
            await asyncio.wait({reading, self._writer}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)

    async def _read(self, caller: Principal) -> None:
        loop = asyncio.get_running_loop()
        while (text := await self.receive()) is not None:
            if wait := self._frames.take("", loop.time()):
                error = ApiError(429, "rate_limited", "too many frames", retry_after=round(wait, 3))
                self.send({"type": "res", "id": frames.request_id(text), "ok": False, "error": error.frame()})
                continue
            await self._room.acquire()
            task = asyncio.create_task(self._serve(caller, text))
            self._operations.add(task)
            task.add_done_callback(self._done)

    def _done(self, task: "asyncio.Task[None]") -> None:
        self._operations.discard(task)
        self._room.release()

    async def _serve(self, caller: Principal, text: str) -> None:
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
            result, after = await self._operate(caller, frame)
            answer |= {"ok": True, "result": result}
        except ApiError as error:
            answer |= {"id": answer["id"] or frames.request_id(text), "error": error.frame()}
        except Exception:
            log.exception("a WebSocket operation failed")
            answer["error"] = {"code": "internal", "message": "the gateway failed at this; its log says more"}
        self.send(answer)
        if after is not None:
            after()

    async def _operate(
        self, caller: Principal, frame: frames.Request
    ) -> tuple[dict[str, Any], Callable[[], None] | None]:
        """The result of an operation, and what is to happen once it is sent."""
        match frame.op:
            case "open":
                return await self._open(caller, frames.parse_params(frames.ConversationParams, frame.params))
            case "close":
                self._forget(caller, frames.parse_params(frames.ConversationParams, frame.params))
                return {}, None
            case "send":
                return await self._send(caller, frames.parse_params(frames.SendParams, frame.params)), None
            case "stop":
                params = frames.parse_params(frames.ConversationParams, frame.params)
                await self._hub.stop_turn(Conversation(caller.owner, params.conversation))
                return {}, None
            case _:  # "ping"
                frames.parse_params(frames.NoParams, frame.params)
                return {}, None

    async def _open(
        self, caller: Principal, params: frames.ConversationParams
    ) -> tuple[dict[str, Any], Callable[[], None]]:
        opened = self._attach(caller, params.conversation)
        watcher = opened.watcher
        async with opened.lock:
            watcher.hold()
            try:
                view = await self._hub.history(watcher.conversation)
            except BaseException:
                watcher.resume(None)
                raise
        result = {"conversation": params.conversation, "history": frames.history(watcher.conversation, view)}
        return result, lambda: watcher.resume(view)

    async def _send(self, caller: Principal, params: frames.SendParams) -> dict[str, Any]:
        opened = self._attach(caller, params.conversation)
        message_id = params.message_id or new_message_id()
        async with opened.lock:  # messages of a conversation are stored in the order in which they came
            with spans.server("websocket send"):
                accepted = await self._hub.send(
                    opened.watcher, message_id, params.text, repeated=params.message_id is not None
                )
        result = {"conversation": params.conversation, "message_id": message_id, "duplicate": accepted.duplicate}
        if accepted.answer is not None:
            result["reply"] = notice_of_turn(opened.watcher.conversation, accepted.answer).data
        return result

    def _attach(self, caller: Principal, name: str) -> "_Opened":
        """The conversation as this connection watches it; watched from now on if it was not."""
        conversation = Conversation(caller.owner, name)
        found = self._opened.get(conversation.key)
        if found is None:
            if len(self._opened) >= self._limits.conversations:
                raise ApiError(
                    400, "too_many_conversations", f"{self._limits.conversations} are open here; close one first"
                )
            watcher = self._hub.add(conversation, self._notice, everything=Scope.READ in caller.scopes)
            found = self._opened[conversation.key] = _Opened(watcher, asyncio.Lock())
        return found

    def _forget(self, caller: Principal, params: frames.ConversationParams) -> None:
        opened = self._opened.pop(Conversation(caller.owner, params.conversation).key, None)
        if opened is not None:
            self._hub.remove(opened.watcher)

    def _notice(self, notice: Notice) -> None:
        self._seq += 1
        self.send(frames.event(notice, self._seq))


@dataclass(frozen=True, slots=True)
class _Opened:
    watcher: Watcher
    lock: asyncio.Lock
