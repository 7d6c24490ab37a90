"""A second, small Slack, written from https://docs.slack.dev alone ("Using Socket Mode", "Events API", the Web API's
methods) and not from our simulator. It says no more than it must, and a test may lay any answer over a method."""

import hashlib
import hmac
import json
from collections import defaultdict, deque
from typing import Any

from aiohttp import WSMsgType, web

from foreign.server import ForeignServer

TEAM, BOT, ROOM, PRIVATE, ANN = "T061EG9R6", "U0LAN0Z89", "C0123456789", "D024BE91L", "W012A3CDE"
FOR_BOT, FOR_APP = "xoxb-17653672481-19874698323", "xapp-1-A0123-456"


class ForeignSlack(ForeignServer):
    """Started with ``async with``.

    Args:
        hello: greet each connection.
        first: frames that each connection is sent after that; ``close`` ends it.
    """

    def __init__(self, *, hello: bool = True, first: list[str] | None = None) -> None:
        self.hello = hello
        self.first = first or []
        self.sockets: list[web.WebSocketResponse] = []
        """All that ever were, in their order."""
        self.acked: list[tuple[int, dict[str, Any]]] = []
        """By which of them what was acknowledged."""
        self.pongs: list[bytes] = []
        self.calls: list[tuple[str, Any]] = []
        self.posted: list[dict[str, Any]] = []
        self.answers: dict[str, deque[web.Response]] = defaultdict(deque)
        """What a method answers next, instead."""
        self.strangers: list[str] = []
        """What was asked for that no Slack has."""

    def routes(self) -> list[web.RouteDef]:
        return [
            web.post("/api/{method}", self._called),
            web.get("/socket", self._socket),
            web.route("*", "/{anything:.*}", self._stranger),
        ]

    async def __aexit__(self, *error: Any) -> None:
        for socket in self.sockets:
            await socket.close()
        await super().__aexit__(*error)

    @property
    def open(self) -> list[int]:
        """Which connections stand."""
        return [number for number, socket in enumerate(self.sockets) if not socket.closed]

    async def send(self, frame: Any, to: int | None = None) -> None:
        """A frame by one connection, or by each that stands."""
        for number in self.open if to is None else [to]:
            await self.sockets[number].send_str(frame if isinstance(frame, str) else json.dumps(frame))

    def message(self, words: str, stamp: str, **more: Any) -> dict[str, Any]:
        """An event as ``message.im`` documents it, with only what it must have; None leaves a field out."""
        fields = {"type": "message", "channel": PRIVATE, "user": ANN, "text": words, "ts": stamp, **more}
        return {name: value for name, value in fields.items() if value is not None}

    async def _called(self, request: web.Request) -> web.Response:
        method = request.match_info["method"]
        body = await request.json() if request.content_type == "application/json" else dict(await request.post())
        self.calls.append((method, body))
        if self.answers[method]:
            return self.answers[method].popleft()
        match method:
            case "auth.test":
                return good(team_id=TEAM, user_id=BOT)
            case "apps.connections.open":
                return good(url=f"{self.url.replace('http', 'ws', 1)}/socket")
            case "chat.postMessage":
                self.posted.append(body)
                return good(ts=f"1700000000.{len(self.posted):06d}", channel=body["channel"])
        return web.json_response({"ok": False, "error": "unknown_method"})

    async def _socket(self, request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse(autoping=False)
        await socket.prepare(request)
        number = len(self.sockets)
        self.sockets.append(socket)
        if self.hello:
            await socket.send_json({"type": "hello"})
        for frame in self.first:
            if frame == "close":
                await socket.close()
                return socket
            await socket.send_str(frame)
        async for frame in socket:
            if frame.type is WSMsgType.PING:
                await socket.pong(frame.data)
            elif frame.type is WSMsgType.PONG:
                self.pongs.append(bytes(frame.data))
            elif frame.type is WSMsgType.TEXT:
                self.acked.append((number, json.loads(frame.data)))
        return socket

    async def _stranger(self, request: web.Request) -> web.Response:
        self.strangers.append(f"{request.method} {request.path} {request.headers.get('Authorization', '')}")
        return web.Response(status=404)


def good(**fields: Any) -> web.Response:
    """An answer of the Web API."""
    return web.json_response({"ok": True, **fields})


def envelope(number: str, event: Any, **more: Any) -> dict[str, Any]:
    """What an event comes in."""
    payload = {"type": "event_callback", "team_id": TEAM, "event": event}
    return {"type": "events_api", "envelope_id": number, "payload": payload, **more}


def signed(secret: str, stamp: int, body: str) -> dict[str, str]:
    """The two headers of "Verifying requests from Slack"."""
    digest = hmac.new(secret.encode(), f"v0:{stamp}:{body}".encode(), hashlib.sha256).hexdigest()
    return {"X-Slack-Request-Timestamp": str(stamp), "X-Slack-Signature": f"v0={digest}"}
