"""What the simulators of platforms share: an HTTP server with a journal, faults on demand, and a control API.

    GET  /                 a page on which a person plays those who write to the bot
    GET  /_sim/chat        what that page shows
    GET  /_sim/journal    every request: method, path, body (credentials left out)
    GET  /_sim/state      what the simulator holds
    POST /_sim/fault      {"match": "POST *chat.postMessage", "kind": "429", "times": 1, "after": 0.5}
    POST /_sim/reset      no faults any more

Kinds of faults: an HTTP status (``429``, ``500``, ``503`` …, as the platform writes errors), ``html`` (a proxy's 502
page), ``cut`` (the connection ends before anything is done), ``cut-after`` (it is done, then the connection ends),
``stall`` (it is done, and nothing is answered), ``slow`` (answered after ``after`` seconds).

The control API is for this machine: a call that a web page of somebody else's makes in a browser is refused.
"""

from __future__ import annotations

import asyncio
import fnmatch
import json
import time
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

from aiohttp import web

BODY: web.RequestKey[Any] = web.RequestKey("body", object)
"""Where a handler finds what came: JSON, a form's fields, or bytes."""
PAGE = Path(__file__).with_name("people.html")
CONTROL = "/_sim/"
_HERE = frozenset({"127.0.0.1", "localhost"})
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass
class Fault:
    """What the next ``times`` requests meet whose ``METHOD path`` is like ``match`` (shell patterns)."""

    match: str
    kind: str
    times: int = 1
    after: float = 0.5
    """Seconds: Retry-After of a 429, delay of ``slow``."""
    extra: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Request:
    """One line of the journal."""

    method: str
    path: str
    body: Any
    at: float


class PlatformServer:
    """An aiohttp server on 127.0.0.1. ``port`` 0 picks a free one."""

    def __init__(self, port: int = 0) -> None:
        self.port = port
        self.journal: deque[Request] = deque(maxlen=100_000)
        self.faults: list[Fault] = []
        self.refusing = False
        """Nothing is answered, new connections are cut: the platform is away."""
        self._runner: web.AppRunner | None = None
        self._moments: list[tuple[str, str, Callable[[], None]]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def fault(self, match: str, kind: str, times: int = 1, after: float = 0.5, **extra: Any) -> None:
        self.faults.append(Fault(match, kind, times, after, extra))

    def when(self, match: str, phase: str, action: Callable[[], None]) -> None:
        """Do ``action`` at the next request that is like ``match``, ``before`` it is done (it then is not) or
        ``after``; it is not answered."""
        self._moments.append((match, phase, action))

    def calls(self, pattern: str) -> list[Request]:
        """The journal's requests whose ``METHOD path`` is like ``pattern``."""
        return [entry for entry in self.journal if fnmatch.fnmatchcase(f"{entry.method} {entry.path}", pattern)]

    def routes(self) -> list[web.RouteDef]:
        """The platform's own routes."""
        raise NotImplementedError

    def state(self) -> dict[str, Any]:
        """For the control API."""
        return {}

    def chat(self) -> dict[str, Any]:
        """For the page: ``title``, ``user`` (who one is at first), ``press`` (how a press names its message),
        ``places`` ``[{id, name, call?}]`` (``call`` names the bot), ``lines`` ``[{place, id, who, text, buttons}]``."""
        raise NotImplementedError

    def error(self, status: int, fault: Fault | None = None) -> web.Response:
        """An error as the platform writes it."""
        raise NotImplementedError

    async def control(self, command: str, body: dict[str, Any]) -> dict[str, Any]:
        """A command of the control API; raises KeyError for one that it does not know."""
        raise KeyError(command)

    async def __aenter__(self) -> Self:
        app = web.Application(client_max_size=64 << 20, middlewares=[self._middleware])
        app.add_routes(
            [
                web.get("/_sim/journal", self._journal),
                web.get("/_sim/state", self._state),
                web.get("/_sim/chat", self._chat),
                web.post("/_sim/{command}", self._control),
                *self.routes(),
            ]
        )
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1, handler_cancellation=True)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self.port).start()
        self.port = self._runner.addresses[0][1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._runner is not None
        await self._runner.cleanup()

    @web.middleware
    async def _middleware(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.path.startswith(CONTROL):
            return await handler(request) if is_own(request) else web.Response(status=403)
        if request.path == "/" and request.method == "GET" and not _wants_socket(request):
            return web.FileResponse(PAGE)
        if self.refusing:
            return cut(request)
        body = await _body(request)
        request[BODY] = body
        self.journal.append(Request(request.method, request.path, body, time.time()))
        for moment in self._moments:
            match, phase, action = moment
            if fnmatch.fnmatchcase(f"{request.method} {request.path}", match):
                self._moments.remove(moment)
                if phase == "after":
                    await handler(request)
                action()
                return cut(request)
        fault = self._take(request)
        if fault is None:
            return await handler(request)
        return await self._with(fault, request, handler)

    async def _with(self, fault: Fault, request: web.Request, handler: Handler) -> web.StreamResponse:
        match fault.kind:
            case "html":
                return web.Response(
                    status=502, text="<html><body>502 Bad Gateway</body></html>", content_type="text/html"
                )
            case "cut":
                return cut(request)
            case "cut-after":
                await handler(request)
                return cut(request)
            case "stall":
                await handler(request)
                await asyncio.sleep(3600)
            case "slow":
                await asyncio.sleep(fault.after)
                return await handler(request)
        return self.error(int(fault.kind), fault)

    def _take(self, request: web.Request) -> Fault | None:
        line = f"{request.method} {request.path}"
        for fault in self.faults:
            if fault.times > 0 and fnmatch.fnmatchcase(line, fault.match):
                fault.times -= 1
                return fault
        return None

    async def _journal(self, request: web.Request) -> web.Response:
        del request
        return web.json_response([vars(entry) for entry in self.journal], dumps=lambda v: json.dumps(v, default=str))

    async def _state(self, request: web.Request) -> web.Response:
        del request
        return web.json_response(self.state(), dumps=lambda v: json.dumps(v, default=str))

    async def _chat(self, request: web.Request) -> web.Response:
        del request
        return web.json_response(self.chat())

    async def _control(self, request: web.Request) -> web.Response:
        try:
            body = await request.json() if request.can_read_body else {}
        except ValueError:
            return web.json_response({"error": "the body is no JSON"}, status=400)
        command = request.match_info["command"]
        if command == "fault":
            self.fault(**body)
            return web.json_response({})
        if command == "reset":
            self.faults.clear()
            return web.json_response({})
        try:
            return web.json_response(await self.control(command, body))
        except (KeyError, TypeError, StopIteration) as missing:
            return web.json_response({"error": f"unknown command, or missing or unknown field: {missing}"}, status=400)


def cut(request: web.Request) -> web.StreamResponse:
    """End the connection without an answer."""
    if request.transport is not None:
        request.transport.abort()
    return web.Response()


def is_own(request: web.Request) -> bool:
    """Whether a call of the control API comes from this machine by its own name, and not from another site's page."""
    origin = request.headers.get("Origin")
    if origin is not None and urlsplit(origin).netloc != request.host:
        return False
    return urlsplit(f"//{request.host}").hostname in _HERE


def _wants_socket(request: web.Request) -> bool:
    return request.headers.get("Upgrade", "").lower() == "websocket"


async def _body(request: web.Request) -> Any:
    kind = request.content_type
    if _wants_socket(request):
        return {}
    if kind == "application/json":
        try:
            return json.loads(await request.read() or b"{}")
        except ValueError:
            return {"malformed": True}
    if kind in ("multipart/form-data", "application/x-www-form-urlencoded"):
        form = await request.post()
        return {
            name: {"filename": value.filename, "data": value.file.read(), "type": value.content_type}
            if isinstance(value, web.FileField)
            else value
            for name, value in form.items()
        }
    return await request.read() if request.can_read_body else {}
