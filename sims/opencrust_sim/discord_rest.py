"""The REST API of the simulated Discord: channels, threads, messages, files, answers to interactions, rate limits."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from aiohttp import web

from opencrust_sim.discord_gateway import DiscordGateway
from opencrust_sim.server import BODY, Fault

TOKEN = "simulated-token"
BOT, GUILD, GENERAL, DIRECT, PERSON = "1000", "2000", "3000", "3001", "4000"
EPOCH_MS = 1_420_070_400_000


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
                    "archive_timestamp": now(),
                    "locked": False,
                },
            }
        return shape


class DiscordRest(DiscordGateway):
    """See the module's comment."""

    def __init__(self, port: int = 0, heartbeat: int = 41_250) -> None:
        super().__init__(port, TOKEN, heartbeat)
        self.start_limit = 1000
        self.rate: tuple[int, float] | None = (5, 5.0)
        self.channels = {
            GENERAL: Channel(GENERAL, 0, GUILD, "general"),
            DIRECT: Channel(DIRECT, 1, None),
        }
        self.interactions: dict[str, dict[str, Any]] = {}
        self.commands: list[dict[str, Any]] = []
        self.files: dict[str, tuple[str, bytes]] = {}
        self._nonces: dict[tuple[str, str], dict[str, Any]] = {}
        self._sent: dict[str, list[float]] = {}

    def guild(self) -> dict[str, Any]:
        """As GUILD_CREATE describes it."""
        channels = [c.as_json() for c in self.channels.values() if c.guild and c.type not in (10, 11, 12)]
        threads = [c.as_json() for c in self.channels.values() if c.guild and c.type in (10, 11, 12)]
        bot = self.bot()
        return {
            "id": GUILD,
            "name": "Home",
            "member_count": 2,
            "large": False,
            "unavailable": False,
            "channels": channels,
            "threads": threads,
            "roles": [{"id": GUILD, "name": "@everyone", "permissions": "0", "position": 0, "color": 0, "hoist": False,
                       "managed": False, "mentionable": False}],
            "members": [{"user": bot, "roles": [], "joined_at": now(), "deaf": False, "mute": False, "flags": 0}],
            "emojis": [], "stickers": [], "voice_states": [], "presences": [], "features": [], "owner_id": PERSON,
            "stage_instances": [], "guild_scheduled_events": [], "joined_at": now(), "preferred_locale": "en-US",
            "verification_level": 0, "default_message_notifications": 0, "explicit_content_filter": 0, "mfa_level": 0,
            "nsfw_level": 0, "premium_tier": 0, "system_channel_flags": 0, "afk_timeout": 300,
        }  # fmt: skip

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
        return answer({"url": f"ws://{request.host}/", "shards": 1, "session_start_limit": limit})

    async def _me(self, request: web.Request) -> web.Response:
        return answer(self.bot())

    async def _application(self, request: web.Request) -> web.Response:
        team = {"id": PERSON, "username": "ann", "discriminator": "0", "avatar": None}
        return answer({"id": BOT, "name": "crust", "description": "", "owner": team, "verify_key": "0" * 64,
                       "flags": self.flags, "bot_public": False, "bot_require_code_grant": False,
                       "icon": None})  # fmt: skip

    async def _commands(self, request: web.Request) -> web.Response:
        self.commands = [{**c, "id": self.snowflake(), "application_id": BOT} for c in request[BODY]]
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
        message = self.message(channel.id, self.bot(), text)
        message |= {name: body[name] for name in ("embeds", "components", "nonce", "flags") if name in body}
        message["attachments"] = [self.attach(f["filename"], f["data"], f["type"]) for f in files]
        if reference := body.get("message_reference"):
            message["message_reference"] = {**reference, "channel_id": channel.id}
        message["allowed_mentions"] = body.get("allowed_mentions")
        channel.messages.append(message)
        if body.get("nonce"):
            self._nonces[key] = message
        await self.dispatch("MESSAGE_CREATE", self.as_event(channel.id, message))
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
        message["edited_timestamp"] = now()
        await self.dispatch("MESSAGE_UPDATE", self.as_event(channel, message))
        return answer(message, headers=self._bucket(channel))

    async def _delete(self, request: web.Request) -> web.Response:
        channel = self.channels[request.match_info["channel"]]
        channel.messages = [m for m in channel.messages if m["id"] != request.match_info["message"]]
        await self.dispatch("MESSAGE_DELETE", {"id": request.match_info["message"], "channel_id": channel.id})
        return web.Response(status=204)

    async def _thread(self, request: web.Request) -> web.Response:
        parent = self.channels[request.match_info["channel"]]
        number = request.match_info.get("message") or self.snowflake()
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
        return answer(self.message(GENERAL, self.bot(), str(request[BODY].get("content", ""))))

    def attach(
        self, name: str, data: bytes, media_type: str = "application/octet-stream", **more: Any
    ) -> dict[str, Any]:
        """A file for ``say(attachments=[…])``."""
        number = self.snowflake()
        self.files[number] = (media_type, data)
        url = f"{self.url}/attachments/{number}/{name}"
        return {"id": number, "filename": name, "size": len(data), "url": url, "content_type": media_type, **more}

    # -- small parts -------------------------------------------------------------------------------------------------

    def snowflake(self) -> str:
        return str((int(time.time() * 1000) - EPOCH_MS) << 22 | next(self._ids) & 0x3FFFFF)

    def bot(self) -> dict[str, Any]:
        return {"id": BOT, "username": "crust", "global_name": None, "discriminator": "0001", "avatar": None,
                "bot": True, "flags": 0, "verified": True, "mfa_enabled": True}  # fmt: skip

    def message(self, channel: str, author: dict[str, Any], text: str) -> dict[str, Any]:
        whole = {"discriminator": "0", "avatar": None, "bot": False, **author}
        mentions = [self.bot()] if f"<@{BOT}>" in text or f"<@!{BOT}>" in text else []
        return {
            "id": self.snowflake(), "channel_id": channel, "author": whole, "content": text, "timestamp": now(),
            "edited_timestamp": None, "tts": False, "mention_everyone": False, "mentions": mentions,
            "mention_roles": [], "attachments": [], "embeds": [], "components": [], "reactions": [], "pinned": False,
            "type": 0, "flags": 0,
        }  # fmt: skip

    def as_event(self, channel: str, message: dict[str, Any]) -> dict[str, Any]:
        """As the gateway sends it: in a guild with the guild and the member, which REST leaves out."""
        guild = self.channels[channel].guild
        if guild is None:
            return message
        member = {"roles": [], "joined_at": now(), "deaf": False, "mute": False, "flags": 0, "nick": None}
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


def now() -> str:
    """As Discord writes times."""
    return datetime.now(UTC).isoformat()
