"""The gateway of the simulated Discord: sessions, what is dispatched to them, and bad moments of their connections."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import zlib
from dataclasses import dataclass, field
from typing import Any

from aiohttp import WSMsgType, web

from opencrust_sim.server import PlatformServer, cut


@dataclass
class Session:
    """One session of the gateway; it outlives its connection, to be resumed."""

    id: str
    seq: int = 0
    buffer: list[dict[str, Any]] = field(default_factory=list)
    socket: web.WebSocketResponse | None = None
    request: web.Request | None = None
    packer: Any = None
    silent: bool = False
    address: str = ""
    """How its client names us; it is told to resume there."""
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)


class DiscordGateway(PlatformServer):
    """See the module's comment."""

    def __init__(self, port: int, token: str, heartbeat: int) -> None:
        super().__init__(port)
        self.token = token
        self.heartbeat = heartbeat
        self.refuse_resume = False
        self.sessions: dict[str, Session] = {}
        self.identifies = 0
        self.resumes = 0
        self.flags = 1 << 19
        """The application's: it may read texts."""
        self._ids = itertools.count(1)

    def bot(self) -> dict[str, Any]:
        """The bot as a user."""
        raise NotImplementedError

    def guild(self) -> dict[str, Any]:
        """The one server that the bot is on."""
        raise NotImplementedError

    async def dispatch(self, event: str, data: Any) -> None:
        """To every session, connected or to be resumed."""
        for session in list(self.sessions.values()):
            session.seq += 1
            frame = {"op": 0, "t": event, "s": session.seq, "d": data}
            session.buffer = [*session.buffer[-999:], frame]
            await self._send(session, frame)

    async def gateway_do(self, what: str, code: int = 4000) -> None:
        """A bad moment for every connection."""
        for session in list(self.sessions.values()):
            match what:
                case "reconnect":
                    await self._send(session, {"op": 7, "d": None})
                case "invalid" | "invalid-resumable":
                    await self._send(session, {"op": 9, "d": what == "invalid-resumable"})
                    if what == "invalid":
                        self.sessions.pop(session.id, None)
                case "close":
                    if session.socket is not None:
                        await session.socket.close(code=code)
                case "cut":
                    if session.request is not None:
                        cut(session.request)
                case "silence" | "speak":
                    session.silent = what == "silence"
                case _:
                    raise KeyError(what)

    async def restart(self) -> None:
        """All sessions are forgotten, all connections end."""
        await self.gateway_do("cut")
        self.sessions.clear()

    @property
    def connected(self) -> int:
        return sum(session.socket is not None and not session.socket.closed for session in self.sessions.values())

    async def _send(self, session: Session, frame: dict[str, Any]) -> None:
        if session.socket is None or session.socket.closed or session.silent:
            return
        text = json.dumps(frame)
        async with session.lock:
            with contextlib.suppress(ConnectionError, RuntimeError):
                if session.packer is not None:
                    data = session.packer.compress(text.encode()) + session.packer.flush(zlib.Z_SYNC_FLUSH)
                    await session.socket.send_bytes(data)
                else:
                    await session.socket.send_str(text)

    async def _gateway(self, request: web.Request) -> web.StreamResponse:
        socket = web.WebSocketResponse(max_msg_size=1 << 20)
        await socket.prepare(request)
        packer = zlib.compressobj() if "zlib" in request.query.get("compress", "") else None
        session = Session("", socket=socket, request=request, packer=packer, address=f"ws://{request.host}/")
        await self._send(session, {"op": 10, "d": {"heartbeat_interval": self.heartbeat}})
        try:
            async for message in socket:
                if message.type not in (WSMsgType.TEXT, WSMsgType.BINARY):
                    continue
                frame = json.loads(message.data)
                match frame.get("op"):
                    case 1:
                        await self._send(session, {"op": 11})
                    case 2:
                        if frame["d"]["token"] != self.token:
                            await socket.close(code=4004)
                            break
                        session = await self._identify(session)
                    case 6:
                        session = await self._resume(session, frame["d"])
        except (ConnectionError, RuntimeError):
            pass
        finally:
            if session.socket is socket:
                session.socket = session.request = None
        return socket

    async def _identify(self, session: Session) -> Session:
        self.identifies += 1
        session.id = f"session-{next(self._ids)}"
        self.sessions[session.id] = session
        ready = {
            "v": 10,
            "user": self.bot(),
            "guilds": [{"id": self.guild()["id"], "unavailable": True}],
            "session_id": session.id,
            "resume_gateway_url": session.address,
            "application": {"id": self.bot()["id"], "flags": self.flags},
            "shard": [0, 1],
            "private_channels": [],
        }
        for event, data in (("READY", ready), ("GUILD_CREATE", self.guild())):
            session.seq += 1
            await self._send(session, {"op": 0, "t": event, "s": session.seq, "d": data})
        return session

    async def _resume(self, connection: Session, data: dict[str, Any]) -> Session:
        self.resumes += 1
        session = self.sessions.get(str(data.get("session_id")))
        if session is None or self.refuse_resume or data.get("token") != self.token:
            if session is not None:
                self.sessions.pop(session.id)
            await self._send(connection, {"op": 9, "d": False})
            return connection
        session.socket, session.request, session.packer = connection.socket, connection.request, connection.packer
        session.silent = False
        for frame in [frame for frame in session.buffer if frame["s"] > int(data.get("seq") or 0)]:
            await self._send(session, frame)
        session.seq += 1
        await self._send(session, {"op": 0, "t": "RESUMED", "s": session.seq, "d": {"_trace": []}})
        return session
