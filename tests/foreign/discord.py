"""A second, small Discord, written from the public documentation of API v10 alone and not from our simulator: its
frames are bare JSON text, its ids are what it likes, and it says no more than it must."""

import itertools
import json
import time
from typing import Any

from aiohttp import WSMsgType, web

from foreign.server import ForeignServer

BOT, GUILD, ROOM, PRIVATE = "80351110224678912", "197038439483310086", "41771983423143937", "319674150115610528"
EPOCH_MS = 1_420_070_400_000
GATEWAY = {"shards": 1, "session_start_limit": {"total": 9, "remaining": 9, "reset_after": 0, "max_concurrency": 50}}


class ForeignDiscord(ForeignServer):
    """Started with ``async with``.

    Args:
        interval: of heartbeats, in milliseconds.
        acks: answer heartbeats.
        refusal: what a RESUME meets: ``op9``, ``op9-resumable``, or a close code; None: it is taken up.
        ready: laid over READY's fields; None leaves one out.
    """

    def __init__(
        self, *, interval: Any = 41250, acks: bool = True, refusal: str | int | None = None, ready: dict[str, Any]
    ) -> None:
        self.interval = interval
        self.acks = acks
        self.refusal = refusal
        self.ready = ready
        self.history = 200
        """What the call for a channel's messages is answered with."""
        self.sockets: list[web.WebSocketResponse] = []
        self.identified = 0
        self.resumed = 0
        self.messages: dict[str, list[dict[str, Any]]] = {ROOM: [], PRIVATE: []}
        self.posted: list[dict[str, Any]] = []
        self._sequence = itertools.count(1)
        self._ids = itertools.count(1)

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get("/ws/", self._socket),
            web.get("/api/users/@me", self._me),
            web.get("/api/gateway/bot", self._where),
            web.get("/api/channels/{channel}/messages", self._history),
            web.post("/api/channels/{channel}/messages", self._post),
            web.route("*", "/{anything:.*}", self._nothing),
        ]

    async def __aexit__(self, *error: Any) -> None:
        for socket in self.sockets:
            await socket.close()
        await super().__aexit__(*error)

    @property
    def gateway(self) -> str:
        """Where its events come from."""
        return self.url.replace("http", "ws") + "/ws/"

    # -- what happens there

    def snowflake(self) -> str:
        """Milliseconds since 2015 in the upper 42 bits."""
        return str((int(time.time() * 1000) - EPOCH_MS) << 22 | next(self._ids))

    async def say(self, text: str, channel: str = ROOM, **more: Any) -> None:
        """Somebody writes. ``more`` is laid over the event; None leaves a field out."""
        author = {"id": "53908232506183680", "username": "mason"}
        message = {"id": self.snowflake(), "channel_id": channel, "content": f"<@{BOT}> {text}", "author": author}
        message["mentions"] = [{"id": BOT, "username": "crust", "bot": True}]
        message = without_none({**message, **more})
        if "id" in message:
            self.messages.setdefault(channel, []).append(message)
        await self.event("MESSAGE_CREATE", message if channel == PRIVATE else {"guild_id": GUILD, **message})

    async def event(self, name: str, data: Any) -> None:
        """To every connection."""
        for socket in self.sockets:
            await self.frame({"op": 0, "t": name, "s": next(self._sequence), "d": data}, socket)

    async def frame(self, frame: Any, socket: web.WebSocketResponse | None = None) -> None:
        """Anything: a text goes as it is."""
        for one in self.sockets if socket is None else [socket]:
            if not one.closed:
                await one.send_str(frame if isinstance(frame, str) else json.dumps(frame))

    async def drop(self) -> None:
        """All connections end, as a deploy of theirs ends them."""
        for socket in list(self.sockets):
            await socket.close(code=1001)

    # -- the interface

    async def _socket(self, request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        await socket.send_json({"op": 10, "d": {"heartbeat_interval": self.interval}})
        try:
            async for received in socket:
                if received.type is WSMsgType.TEXT:
                    await self._received(json.loads(received.data), socket)
        finally:
            if socket in self.sockets:
                self.sockets.remove(socket)
        return socket

    async def _received(self, frame: dict[str, Any], socket: web.WebSocketResponse) -> None:
        match frame["op"]:
            case 1 if self.acks:
                await socket.send_json({"op": 11})
            case 2:
                self.identified += 1
                ready = {"v": 10, "user": {"id": BOT}, "guilds": [{"id": GUILD, "unavailable": True}]}
                ready |= {"session_id": f"s{self.identified}", "application": {"id": BOT, "flags": 0}}
                ready |= {"resume_gateway_url": self.gateway, **self.ready}
                await self.frame({"op": 0, "t": "READY", "s": next(self._sequence), "d": without_none(ready)}, socket)
                self.sockets.append(socket)
            case 6:
                self.resumed += 1
                await self._resume(socket)

    async def _resume(self, socket: web.WebSocketResponse) -> None:
        if isinstance(self.refusal, int):
            await socket.close(code=self.refusal)
        elif self.refusal is not None:
            await socket.send_json({"op": 9, "d": self.refusal == "op9-resumable"})
        else:
            await self.frame({"op": 0, "t": "RESUMED", "s": next(self._sequence), "d": None}, socket)
            self.sockets.append(socket)

    async def _me(self, request: web.Request) -> web.Response:
        return web.json_response({"id": BOT, "username": "crust", "bot": True})

    async def _where(self, request: web.Request) -> web.Response:
        return web.json_response({"url": self.gateway, **GATEWAY})

    async def _history(self, request: web.Request) -> web.Response:
        if self.history != 200:
            return web.Response(status=self.history, text="not here")
        found = self.messages.get(request.match_info["channel"], [])
        after = int(request.query.get("after", 0))
        return web.json_response([m for m in found if int(m["id"]) > after][: int(request.query["limit"])][::-1])

    async def _post(self, request: web.Request) -> web.Response:
        body = await request.json()
        self.posted.append(body)
        return web.json_response({"id": self.snowflake(), "channel_id": request.match_info["channel"]})

    async def _nothing(self, request: web.Request) -> web.Response:
        return web.json_response({"message": "404: Not Found", "code": 0}, status=404)


def without_none(fields: dict[str, Any]) -> dict[str, Any]:
    """What is None is not there at all."""
    return {name: value for name, value in fields.items() if value is not None}
