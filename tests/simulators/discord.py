"""A simulated Discord: REST v10 and the gateway, bad days included.

    python -m simulators discord --port 8911          (with tests/ on PYTHONPATH)

A bot connects with ``api_base = http://127.0.0.1:8911/api/v10``, ``gateway_url = ws://127.0.0.1:8911/`` and the token
``simulated-token``. Control API, besides what every simulator has (simulators/server.py):

    POST /_sim/say       {"text": "hi", "channel": "…", "user": "…", "name": "…"}: somebody writes; answers the message
    POST /_sim/command   {"name": "new", "options": {…}}: somebody uses a slash command
    POST /_sim/press     {"message": "…", "button": 0}: somebody presses a button
    POST /_sim/gateway   {"do": "reconnect" | "invalid" | "invalid-resumable" | "close" | "cut" | "silence" | "speak",
                          "code": 4000}
    POST /_sim/mode      {"refuse_resume": true, "start_limit": 0, "rate": [5, 5.0], "heartbeat": 1000, "token": "…"}
    GET  /_sim/state     channels with their messages, sessions, interactions

Two sessions with the same token both get every event, a resume replays what was missed, the same nonce with
``enforce_nonce`` gives the first message again, an interaction dies after 3 seconds.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import time
import zlib
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from aiohttp import WSMsgType, web

from simulators.server import BODY, Fault, PlatformServer, cut

TOKEN = "simulated-token"
BOT, GUILD, GENERAL, DIRECT, PERSON = "1000", "2000", "3000", "3001", "4000"
EPOCH_MS = 1_420_070_400_000


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
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)


@dataclass
class Channel:
    """A channel or thread, with its messages, oldest first."""

    id: str
    type: int
    guild: str | None
    name: str = ""
    parent: str | None = None
    owner: str | None = None
    messages: list[dict[str, Any]] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        last = self.messages[-1]["id"] if self.messages else None
        shape = {"id": self.id, "type": self.type, "name": self.name, "last_message_id": last, "flags": 0}
        if self.type == 1:
            recipient = {"id": PERSON, "username": "ann", "discriminator": "0", "avatar": None}
            return {**shape, "recipients": [recipient]}
        shape |= {"guild_id": self.guild, "parent_id": self.parent, "position": 0, "permission_overwrites": []}
        if self.type in (10, 11, 12):
            shape |= {
                "owner_id": self.owner,
                "message_count": len(self.messages),
                "member_count": 1,
                "thread_metadata": {
                    "archived": False,
                    "auto_archive_duration": 1440,
                    "archive_timestamp": _now(),
                    "locked": False,
                },
            }
        return shape


class DiscordSimulator(PlatformServer):
    """See the module's comment."""

    def __init__(self, port: int = 0, heartbeat: int = 41_250) -> None:
        super().__init__(port)
        self.token = TOKEN
        self.heartbeat = heartbeat
        self.refuse_resume = False
        self.start_limit = 1000
        self.rate: tuple[int, float] | None = (5, 5.0)
        self.sessions: dict[str, Session] = {}
        self.identifies = 0
        self.resumes = 0
        self.channels = {
            GENERAL: Channel(GENERAL, 0, GUILD, "general"),
            DIRECT: Channel(DIRECT, 1, None),
        }
        self.interactions: dict[str, dict[str, Any]] = {}
        self.commands: list[dict[str, Any]] = []
        self.files: dict[str, tuple[str, bytes]] = {}
        self._nonces: dict[tuple[str, str], dict[str, Any]] = {}
        self._sent: dict[str, list[float]] = {}
        self._ids = itertools.count(1)
        self.said: list[tuple[str, dict[str, Any]]] = []
        """Events of what people wrote, in order."""

    # -- what people do ----------------------------------------------------------------------------------------------

    async def say(
        self, text: str, channel: str = GENERAL, user: str = PERSON, name: str = "ann", **more: Any
    ) -> dict[str, Any]:
        """Somebody writes. ``more`` is laid over the message's JSON, odd values too."""
        message = {**self._message(channel, {"id": user, "username": name, "global_name": name}, text), **more}
        self.channels[channel].messages.append(message)
        self.said.append((channel, message))
        await self.dispatch("MESSAGE_CREATE", self._as_event(channel, message))
        return message

    async def again(self, last: int = 20) -> None:
        """The last events once more, as after a resume whose place was forgotten."""
        for channel, message in self.said[-last:]:
            await self.dispatch("MESSAGE_CREATE", self._as_event(channel, message))

    def shown(self) -> list[tuple[str, str]]:
        """What the bot sent: channel and text, in order over all channels."""
        ours = [m for channel in self.channels.values() for m in channel.messages if m["author"]["id"] == BOT]
        return [(m["channel_id"], m["content"]) for m in sorted(ours, key=lambda m: int(m["id"]))]

    def attach(
        self, name: str, data: bytes, media_type: str = "application/octet-stream", **more: Any
    ) -> dict[str, Any]:
        """A file for ``say(attachments=[…])``."""
        number = self._snowflake()
        self.files[number] = (media_type, data)
        url = f"{self.url}/attachments/{number}/{name}"
        return {"id": number, "filename": name, "size": len(data), "url": url, "content_type": media_type, **more}

    async def command(
        self, name: str, options: dict[str, Any] | None = None, channel: str = GENERAL, user: str = PERSON
    ) -> str:
        """Somebody uses a slash command; its interaction's id."""
        data = {"id": self._snowflake(), "name": name, "type": 1}
        if options:
            data["options"] = [{"name": key, "type": 3, "value": value} for key, value in options.items()]
        return await self._interact(2, data, channel, user)

    async def press(self, message: str, button: int = 0, user: str = PERSON) -> str:
        """Somebody presses a button below one of the bot's messages."""
        channel, found = next((c, m) for c in self.channels.values() for m in c.messages if m["id"] == message)
        buttons = [b for row in found["components"] for b in row["components"]]
        data = {"custom_id": buttons[button]["custom_id"], "component_type": 2}
        return await self._interact(3, data, channel.id, user, message=found)

    async def _interact(self, kind: int, data: dict[str, Any], channel: str, user: str, **more: Any) -> str:
        number, token = self._snowflake(), f"interaction-{next(self._ids)}"
        self.interactions[number] = {"token": token, "at": time.monotonic(), "answers": []}
        who = {"id": user, "username": "ann", "global_name": "Ann", "discriminator": "0", "avatar": None}
        event = {
            "id": number,
            "application_id": BOT,
            "type": kind,
            "token": token,
            "version": 1,
            "channel_id": channel,
            "data": data,
            "entitlements": [],
            **more,
        }
        if guild := self.channels[channel].guild:
            event |= {"guild_id": guild, "member": {"user": who, "roles": [], "permissions": "0", "joined_at": _now()}}
        else:
            event["user"] = who
        await self.dispatch("INTERACTION_CREATE", event)
        return number

    # -- the gateway -------------------------------------------------------------------------------------------------

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
        session = Session("", socket=socket, request=request, packer=packer)
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
        bot = self._bot()
        ready = {
            "v": 10,
            "user": bot,
            "guilds": [{"id": GUILD, "unavailable": True}],
            "session_id": session.id,
            "resume_gateway_url": f"ws://127.0.0.1:{self.port}/",
            "application": {"id": BOT, "flags": 0},
            "shard": [0, 1],
            "private_channels": [],
        }
        channels = [c.as_json() for c in self.channels.values() if c.guild and c.type not in (10, 11, 12)]
        threads = [c.as_json() for c in self.channels.values() if c.guild and c.type in (10, 11, 12)]
        guild = {
            "id": GUILD,
            "name": "Home",
            "member_count": 2,
            "large": False,
            "unavailable": False,
            "channels": channels,
            "threads": threads,
            "roles": [{"id": GUILD, "name": "@everyone", "permissions": "0", "position": 0, "color": 0, "hoist": False,
                       "managed": False, "mentionable": False}],
            "members": [{"user": bot, "roles": [], "joined_at": _now(), "deaf": False, "mute": False, "flags": 0}],
            "emojis": [], "stickers": [], "voice_states": [], "presences": [], "features": [], "owner_id": PERSON,
            "stage_instances": [], "guild_scheduled_events": [], "joined_at": _now(), "preferred_locale": "en-US",
            "verification_level": 0, "default_message_notifications": 0, "explicit_content_filter": 0, "mfa_level": 0,
            "nsfw_level": 0, "premium_tier": 0, "system_channel_flags": 0, "afk_timeout": 300,
        }  # fmt: skip
        for event, data in (("READY", ready), ("GUILD_CREATE", guild)):
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

    # -- REST --------------------------------------------------------------------------------------------------------

    def routes(self) -> list[web.RouteDef]:
        api = r"/api/v{version:\d+}"
        channel = api + r"/channels/{channel}"
        message = channel + r"/messages/{message}"
        rest = [
            web.get(api + "/gateway/bot", self._gateway_bot),
            web.get(api + "/users/@me", self._me),
            web.post(api + "/users/@me/channels", self._open_direct),
            web.get(api + "/oauth2/applications/@me", self._application),
            web.get(api + "/applications/@me", self._application),
            web.put(api + "/applications/{application}/commands", self._commands),
            web.get(channel, self._channel),
            web.get(channel + "/messages", self._history),
            web.post(channel + "/messages", self._post),
            web.get(message, self._read),
            web.patch(message, self._edit),
            web.delete(message, self._delete),
            web.post(channel + "/typing", self._empty),
            web.put(message + "/reactions/{emoji}/@me", self._empty),
            web.delete(message + "/reactions/{emoji}/@me", self._empty),
            web.post(channel + "/threads", self._thread),
            web.post(message + "/threads", self._thread),
        ]
        open_to_all = [
            web.get("/", self._gateway),
            web.get("/attachments/{file}/{name}", self._file),
            web.post(api + "/interactions/{interaction}/{token}/callback", self._callback),
            web.post(api + "/webhooks/{application}/{token}", self._followup),
            web.patch(api + "/webhooks/{application}/{token}/messages/@original", self._followup),
        ]
        return [web.RouteDef(r.method, r.path, self._authorised(r.handler), {}) for r in rest] + open_to_all

    def _authorised(self, handler: Any) -> Any:
        async def checked(request: web.Request) -> web.StreamResponse:
            if request.headers.get("Authorization") != f"Bot {self.token}":
                return answer({"message": "401: Unauthorized", "code": 0}, 401)
            if "channel" in request.match_info and request.match_info["channel"] not in self.channels:
                return answer({"message": "Unknown Channel", "code": 10003}, 404)
            response: web.StreamResponse = await handler(request)
            return response

        return checked

    def error(self, status: int, fault: Fault | None = None) -> web.Response:
        extra = fault.extra if fault else {}
        if status == 429:
            after = fault.after if fault else 0.5
            everywhere = bool(extra.get("global"))
            headers = {"Retry-After": str(max(1, round(after))), "X-RateLimit-Reset-After": str(after)}
            headers |= (
                {"X-RateLimit-Global": "true"} if everywhere else {"X-RateLimit-Scope": extra.get("scope", "user")}
            )
            if extra.get("via", True):  # without it: Cloudflare's, with no JSON
                body = {"message": "You are being rate limited.", "retry_after": after, "global": everywhere}
                return answer(body, 429, {**headers, "Via": "1.1 google"})
            return web.Response(status=429, text="error code: 1015", headers={"Retry-After": headers["Retry-After"]})
        code = int(extra.get("code", 0))
        return answer({"message": str(extra.get("message", f"{status}: simulated")), "code": code}, status)

    async def _gateway_bot(self, request: web.Request) -> web.Response:
        limit = {"total": 1000, "remaining": self.start_limit, "reset_after": 5000, "max_concurrency": 1}
        return answer({"url": f"ws://127.0.0.1:{self.port}/", "shards": 1, "session_start_limit": limit})

    async def _me(self, request: web.Request) -> web.Response:
        return answer(self._bot())

    async def _application(self, request: web.Request) -> web.Response:
        team = {"id": PERSON, "username": "ann", "discriminator": "0", "avatar": None}
        return answer({"id": BOT, "name": "crust", "description": "", "owner": team, "verify_key": "0" * 64, "flags": 0,
                       "bot_public": False, "bot_require_code_grant": False, "icon": None})  # fmt: skip

    async def _commands(self, request: web.Request) -> web.Response:
        self.commands = [{**c, "id": self._snowflake(), "application_id": BOT} for c in request[BODY]]
        return answer(self.commands)

    async def _open_direct(self, request: web.Request) -> web.Response:
        return answer(self.channels[DIRECT].as_json())

    async def _channel(self, request: web.Request) -> web.Response:
        return answer(self.channels[request.match_info["channel"]].as_json())

    async def _history(self, request: web.Request) -> web.Response:
        found = self.channels[request.match_info["channel"]].messages
        limit = min(int(request.query.get("limit", 50)), 100)
        if after := request.query.get("after"):
            found = [m for m in found if int(m["id"]) > int(after)][:limit]
        elif before := request.query.get("before"):
            found = [m for m in found if int(m["id"]) < int(before)][-limit:]
        else:
            found = found[-limit:]
        return answer([{k: v for k, v in m.items() if k != "nonce"} for m in reversed(found)])

    async def _post(self, request: web.Request) -> web.Response:
        channel = self.channels[request.match_info["channel"]]
        if (limited := self._limited(channel.id)) is not None:
            return limited
        body, files = _payload(request[BODY])
        text = str(body.get("content") or "")
        if len(text) > 2000:
            errors = {"content": {"_errors": [{"code": "BASE_TYPE_MAX_LENGTH", "message": "Must be 2000 or fewer"}]}}
            return answer({"message": "Invalid Form Body", "code": 50035, "errors": errors}, 400)
        if not text and not files and not body.get("embeds") and not body.get("components"):
            return answer({"message": "Cannot send an empty message", "code": 50006}, 400)
        key = (channel.id, str(body.get("nonce")))
        if body.get("enforce_nonce") and body.get("nonce") and key in self._nonces:
            return answer(self._nonces[key], headers=self._bucket(channel.id))
        message = self._message(channel.id, self._bot(), text)
        message |= {name: body[name] for name in ("embeds", "components", "nonce", "flags") if name in body}
        message["attachments"] = [self.attach(f["filename"], f["data"], f["type"]) for f in files]
        if reference := body.get("message_reference"):
            message["message_reference"] = {**reference, "channel_id": channel.id}
        message["allowed_mentions"] = body.get("allowed_mentions")
        channel.messages.append(message)
        if body.get("nonce"):
            self._nonces[key] = message
        await self.dispatch("MESSAGE_CREATE", self._as_event(channel.id, message))
        return answer(message, headers=self._bucket(channel.id))

    async def _read(self, request: web.Request) -> web.Response:
        found = self._find(request)
        return answer(found) if found else answer({"message": "Unknown Message", "code": 10008}, 404)

    async def _edit(self, request: web.Request) -> web.Response:
        channel = request.match_info["channel"]
        if (limited := self._limited(channel)) is not None:
            return limited
        message = self._find(request)
        if message is None:
            return answer({"message": "Unknown Message", "code": 10008}, 404)
        body, _ = _payload(request[BODY])
        message |= {name: body[name] for name in ("content", "embeds", "components") if name in body}
        message["edited_timestamp"] = _now()
        await self.dispatch("MESSAGE_UPDATE", self._as_event(channel, message))
        return answer(message, headers=self._bucket(channel))

    async def _delete(self, request: web.Request) -> web.Response:
        channel = self.channels[request.match_info["channel"]]
        channel.messages = [m for m in channel.messages if m["id"] != request.match_info["message"]]
        await self.dispatch("MESSAGE_DELETE", {"id": request.match_info["message"], "channel_id": channel.id})
        return web.Response(status=204)

    async def _thread(self, request: web.Request) -> web.Response:
        parent = self.channels[request.match_info["channel"]]
        number = request.match_info.get("message") or self._snowflake()
        thread = Channel(number, 11, parent.guild, str(request[BODY].get("name", "")), parent.id, BOT)
        self.channels[number] = thread
        await self.dispatch("THREAD_CREATE", {**thread.as_json(), "newly_created": True})
        return answer(thread.as_json(), 201)

    async def _empty(self, request: web.Request) -> web.Response:
        return web.Response(status=204)

    async def _file(self, request: web.Request) -> web.Response:
        media_type, data = self.files[request.match_info["file"]]
        return web.Response(body=data, content_type=media_type.partition(";")[0])

    async def _callback(self, request: web.Request) -> web.Response:
        found = self.interactions.get(request.match_info["interaction"])
        if found is None or found["token"] != request.match_info["token"] or time.monotonic() - found["at"] > 3:
            return answer({"message": "Unknown interaction", "code": 10062}, 404)
        if found["answers"]:
            return answer({"message": "Interaction has already been acknowledged.", "code": 40060}, 400)
        found["answers"].append(request[BODY])
        return web.Response(status=204)

    async def _followup(self, request: web.Request) -> web.Response:
        found = next((i for i in self.interactions.values() if i["token"] == request.match_info["token"]), None)
        if found is None:
            return answer({"message": "Unknown Webhook", "code": 10015}, 404)
        found["answers"].append(request[BODY])
        return answer(self._message(GENERAL, self._bot(), str(request[BODY].get("content", ""))))

    # -- control -----------------------------------------------------------------------------------------------------

    def state(self) -> dict[str, Any]:
        return {
            "channels": {c.id: {"name": c.name, "messages": c.messages} for c in self.channels.values()},
            "sessions": {s.id: {"seq": s.seq, "connected": s.socket is not None} for s in self.sessions.values()},
            "interactions": self.interactions,
            "identifies": self.identifies,
            "resumes": self.resumes,
        }

    async def control(self, command: str, body: dict[str, Any]) -> dict[str, Any]:
        match command:
            case "say":
                return await self.say(**body)
            case "command":
                return {"id": await self.command(**body)}
            case "press":
                return {"id": await self.press(**body)}
            case "gateway":
                await self.gateway_do(body["do"], int(body.get("code", 4000)))
            case "mode":
                for name, value in body.items():
                    if name not in ("refuse_resume", "start_limit", "rate", "heartbeat", "token"):
                        raise KeyError(name)
                    setattr(self, name, tuple(value) if isinstance(value, list) else value)
            case _:
                raise KeyError(command)
        return {}

    # -- small parts -------------------------------------------------------------------------------------------------

    def _snowflake(self) -> str:
        return str((int(time.time() * 1000) - EPOCH_MS) << 22 | next(self._ids) & 0x3FFFFF)

    def _bot(self) -> dict[str, Any]:
        return {"id": BOT, "username": "crust", "global_name": None, "discriminator": "0001", "avatar": None,
                "bot": True, "flags": 0, "verified": True, "mfa_enabled": True}  # fmt: skip

    def _message(self, channel: str, author: dict[str, Any], text: str) -> dict[str, Any]:
        whole = {"discriminator": "0", "avatar": None, "bot": False, **author}
        mentions = [self._bot()] if f"<@{BOT}>" in text or f"<@!{BOT}>" in text else []
        return {
            "id": self._snowflake(), "channel_id": channel, "author": whole, "content": text, "timestamp": _now(),
            "edited_timestamp": None, "tts": False, "mention_everyone": False, "mentions": mentions,
            "mention_roles": [], "attachments": [], "embeds": [], "components": [], "reactions": [], "pinned": False,
            "type": 0, "flags": 0,
        }  # fmt: skip

    def _as_event(self, channel: str, message: dict[str, Any]) -> dict[str, Any]:
        """As the gateway sends it: in a guild with the guild and the member, which REST leaves out."""
        guild = self.channels[channel].guild
        if guild is None:
            return message
        member = {"roles": [], "joined_at": _now(), "deaf": False, "mute": False, "flags": 0, "nick": None}
        return {**message, "guild_id": guild, "member": member}

    def _find(self, request: web.Request) -> dict[str, Any] | None:
        messages = self.channels[request.match_info["channel"]].messages
        return next((m for m in messages if m["id"] == request.match_info["message"]), None)

    def _recent(self, channel: str) -> list[float]:
        window = self.rate[1] if self.rate else 0.0
        recent = [at for at in self._sent.get(channel, []) if at > time.monotonic() - window]
        self._sent[channel] = recent
        return recent

    def _limited(self, channel: str) -> web.Response | None:
        if self.rate is None:
            return None
        recent = self._recent(channel)
        if len(recent) >= self.rate[0]:
            return self.error(429, Fault("", "429", after=round(recent[0] + self.rate[1] - time.monotonic(), 3)))
        recent.append(time.monotonic())
        return None

    def _bucket(self, channel: str) -> dict[str, str]:
        if self.rate is None:
            return {}
        recent = self._recent(channel)
        after = max(0.0, recent[0] + self.rate[1] - time.monotonic()) if recent else self.rate[1]
        return {
            "X-RateLimit-Limit": str(self.rate[0]),
            "X-RateLimit-Remaining": str(max(0, self.rate[0] - len(recent))),
            "X-RateLimit-Reset": f"{time.time() + after:.3f}",
            "X-RateLimit-Reset-After": f"{after:.3f}",
            "X-RateLimit-Bucket": "messages",
        }


def answer(value: Any, status: int = 200, headers: dict[str, str] | None = None) -> web.Response:
    """JSON with exactly the Content-Type that Discord sends: clients compare it as a whole."""
    body = json.dumps(value).encode()
    return web.Response(body=body, status=status, headers={**(headers or {}), "Content-Type": "application/json"})


def _payload(body: Any) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """A message's JSON and its files, from JSON or multipart."""
    if "payload_json" in body:
        files = [value for name, value in body.items() if name.startswith("files[") and isinstance(value, dict)]
        return json.loads(body["payload_json"]), files
    files = [value for value in body.values() if isinstance(value, dict) and "filename" in value]
    return body, files


def _now() -> str:
    return datetime.now(UTC).isoformat()


async def serve(port: int) -> None:
    """Run until cancelled."""
    async with DiscordSimulator(port) as simulator:
        print(f"api_base {simulator.url}/api/v10 · gateway_url ws://127.0.0.1:{simulator.port}/ · token {TOKEN}")
        said = f'{{"text": "<@{BOT}> hi"}}'
        print(f"speak: curl -H 'Content-Type: application/json' -d '{said}' {simulator.url}/_sim/say")
        await asyncio.Event().wait()


def main(arguments: list[str]) -> None:
    """``--port N``."""
    import argparse

    parser = argparse.ArgumentParser(prog="opencrust-sim discord", description=__doc__.split("\n")[0])
    parser.add_argument("--port", type=int, default=8911)
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(serve(parser.parse_args(arguments).port))
