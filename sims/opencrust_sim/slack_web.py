"""The Web API of the simulated Slack (slack.py): messages, streams, files, and what was said before."""

from __future__ import annotations

import contextlib
import itertools
import json
import time
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web

from opencrust_sim.server import BODY, Fault, PlatformServer

BOT_TOKEN, APP_TOKEN, SIGNING_SECRET = "xoxb-simulated", "xapp-simulated", "simulated-secret"
TEAM, BOT, APP, GENERAL, DIRECT, PERSON = "T1", "U0BOT", "A1", "C1", "D1", "U1"


class SlackWebApi(PlatformServer):
    """What an app calls. Sockets and events are in the class that inherits from this one."""

    def __init__(self, port: int = 0) -> None:
        super().__init__(port)
        self.bot_token, self.app_token = BOT_TOKEN, APP_TOKEN
        self.rate = 0.0
        """Seconds between two messages in a channel; 0: no limit."""
        self.history_rate = 0
        """Calls of conversations.history and .replies in a minute; 0: no limit."""
        self.channels: dict[str, list[dict[str, Any]]] = {GENERAL: [], DIRECT: []}
        self.files: dict[str, bytes] = {}
        self.streams: set[str] = set()
        self.status: list[dict[str, Any]] = []
        self.opened = 0
        self.base = ""
        """Where the app last found us: addresses that it is given begin so."""
        self._tickets: set[str] = set()
        self._ids = itertools.count(1)
        self._last: dict[str, float] = {}
        self._looks: list[float] = []

    def event(self, event: dict[str, Any], **more: Any) -> Any:
        """Tells the app of an event."""
        raise NotImplementedError

    def routes(self) -> list[web.RouteDef]:
        return [
            web.post("/api/{method}", self._call),
            web.get("/api/{method}", self._call),
            web.post("/upload/{file}", self._upload),
            web.get("/files/{file}/{name}", self._file),
            web.post("/response/{number}", self._response_url),
        ]

    def error(self, status: int, fault: Fault | None = None) -> web.Response:
        if status == 429:
            after = str(max(1, round(fault.after if fault else 1)))
            return web.json_response({"ok": False, "error": "ratelimited"}, status=429, headers={"Retry-After": after})
        if status == 200:
            return web.json_response({"ok": False, "error": fault.extra["error"] if fault else "fatal_error"})
        return web.json_response({"ok": False, "error": "internal_error"}, status=status)

    async def _call(self, request: web.Request) -> web.Response:
        method = request.match_info["method"]
        body = {**dict(request.query), **(request[BODY] if isinstance(request[BODY], dict) else {})}
        given = request.headers.get("Authorization", "").removeprefix("Bearer ") or str(body.get("token", ""))
        if given != (self.app_token if method == "apps.connections.open" else self.bot_token):
            return _no("invalid_auth")
        self.base = f"{request.scheme}://{request.host}"
        handler = self._methods().get(method)
        if handler is None:
            return _no("unknown_method")
        try:
            return await handler({key: _decoded(value) for key, value in body.items()})
        except KeyError:
            return _no("invalid_arguments")

    def _methods(self) -> dict[str, Callable[[dict[str, Any]], Awaitable[web.Response]]]:
        return {
            "apps.connections.open": self._open,
            "auth.test": self._auth_test,
            "chat.postMessage": self._post,
            "chat.update": self._update,
            "chat.delete": self._delete,
            "chat.startStream": self._start_stream,
            "chat.appendStream": self._append_stream,
            "chat.stopStream": self._stop_stream,
            "conversations.history": self._history,
            "conversations.replies": self._replies,
            "conversations.open": self._open_direct,
            "files.getUploadURLExternal": self._upload_url,
            "files.completeUploadExternal": self._complete_upload,
            "assistant.threads.setStatus": self._set_status,
            "reactions.add": self._nothing,
            "views.open": self._nothing,
        }

    async def _open(self, body: dict[str, Any]) -> web.Response:
        self.opened += 1
        ticket = f"ticket-{next(self._ids)}"
        self._tickets.add(ticket)
        base = self.base.replace("http", "ws", 1)
        return _yes(url=f"{base}/link/?ticket={ticket}&app_id={APP}")

    async def _auth_test(self, body: dict[str, Any]) -> web.Response:
        return _yes(url="https://home.slack.com/", team="Home", user="crust", team_id=TEAM, user_id=BOT, bot_id="B1")

    async def _post(self, body: dict[str, Any]) -> web.Response:
        channel = str(body["channel"])
        if channel not in self.channels:
            return _no("channel_not_found")
        if len(str(body.get("text", ""))) > 40_000:
            return _no("msg_too_long")
        if not body.get("text") and not body.get("blocks") and not body.get("markdown_text"):
            return _no("no_text")
        if self.rate and time.monotonic() - self._last.get(channel, -1e9) < self.rate:
            return self.error(429, Fault("", "429", after=self.rate))
        self._last[channel] = time.monotonic()
        kept = ("text", "blocks", "thread_ts", "metadata")
        message = self._own({key: body[key] for key in kept if body.get(key)})
        self.channels[channel].append(message)
        kind = "im" if channel.startswith("D") else "channel"
        self.event(
            {**message, "channel": channel, "channel_type": kind, "event_ts": message["ts"]}
        )  # the app's own echo
        return _yes(channel=channel, ts=message["ts"], message=message)

    async def _update(self, body: dict[str, Any]) -> web.Response:
        message = self._find(body)
        if message is None:
            return _no("message_not_found")
        message |= {key: body[key] for key in ("text", "blocks", "metadata") if key in body}
        message["edited"] = {"user": BOT, "ts": self.ts()}
        event = {"type": "message", "subtype": "message_changed", "message": message, "channel": body["channel"]}
        self.event({**event, "ts": self.ts(), "event_ts": self.ts(), "channel_type": "channel"})
        return _yes(channel=body["channel"], ts=message["ts"], text=message.get("text", ""))

    async def _delete(self, body: dict[str, Any]) -> web.Response:
        message = self._find(body)
        if message is None:
            return _no("message_not_found")
        self.channels[body["channel"]].remove(message)
        return _yes(channel=body["channel"], ts=body["ts"])

    async def _start_stream(self, body: dict[str, Any]) -> web.Response:
        if body["channel"] not in self.channels:
            return _no("channel_not_found")
        message = self._own({"text": str(body.get("markdown_text", "")), "thread_ts": body["thread_ts"]})
        self.channels[body["channel"]].append(message)
        self.streams.add(message["ts"])
        return _yes(channel=body["channel"], ts=message["ts"])

    async def _append_stream(self, body: dict[str, Any]) -> web.Response:
        message = self._find(body)
        if message is None or message["ts"] not in self.streams:
            return _no("message_not_in_streaming_state")
        message["text"] += str(body["markdown_text"])
        return _yes(channel=body["channel"], ts=message["ts"])

    async def _stop_stream(self, body: dict[str, Any]) -> web.Response:
        message = self._find(body)
        if message is None or message["ts"] not in self.streams:
            return _no("message_not_in_streaming_state")
        self.streams.remove(message["ts"])
        message["text"] += str(body.get("markdown_text", ""))
        message |= {key: body[key] for key in ("blocks", "metadata") if body.get(key)}
        return _yes(channel=body["channel"], ts=message["ts"], message=message)

    async def _history(self, body: dict[str, Any]) -> web.Response:
        if body["channel"] not in self.channels:
            return _no("channel_not_found")
        tops = [m for m in self.channels[body["channel"]] if m.get("thread_ts") in (None, m["ts"])]
        return self._page(tops, body)

    async def _replies(self, body: dict[str, Any]) -> web.Response:
        thread = [m for m in self.channels.get(body["channel"], []) if body["ts"] in (m["ts"], m.get("thread_ts"))]
        return self._page(thread, body) if thread else _no("thread_not_found")

    def _page(self, messages: list[dict[str, Any]], body: dict[str, Any]) -> web.Response:
        now = time.monotonic()
        self._looks = [at for at in self._looks if now - at < 60]
        if self.history_rate and len(self._looks) >= self.history_rate:
            return self.error(429, Fault("", "429", after=60 - (now - self._looks[0])))
        self._looks.append(now)
        oldest = float(body.get("oldest") or 0)
        found = [m for m in messages if float(m["ts"]) > oldest][-int(body.get("limit") or 100) :]
        if str(body.get("include_all_metadata", "")).lower() not in ("true", "1"):
            found = [{key: value for key, value in m.items() if key != "metadata"} for m in found]
        return _yes(messages=list(reversed(found)), has_more=False)

    async def _open_direct(self, body: dict[str, Any]) -> web.Response:
        return _yes(channel={"id": DIRECT})

    async def _upload_url(self, body: dict[str, Any]) -> web.Response:
        number = f"F{next(self._ids)}"
        return _yes(upload_url=f"{self.base}/upload/{number}", file_id=number)

    async def _upload(self, request: web.Request) -> web.Response:
        body = request[BODY]
        data = next((v["data"] for v in body.values() if isinstance(v, dict)), b"") if isinstance(body, dict) else body
        self.files[request.match_info["file"]] = data
        return web.Response(text=f"OK - {len(data)}")

    async def _complete_upload(self, body: dict[str, Any]) -> web.Response:
        files = [{**f, "size": len(self.files[f["id"]])} for f in body["files"]]
        message = self._own({"text": body.get("initial_comment") or "", "files": files})
        if body.get("thread_ts"):
            message["thread_ts"] = body["thread_ts"]
        self.channels[body["channel_id"]].append(message)
        return _yes(files=files)

    async def _set_status(self, body: dict[str, Any]) -> web.Response:
        self.status.append(body)
        return _yes()

    async def _nothing(self, body: dict[str, Any]) -> web.Response:
        return _yes()

    async def _file(self, request: web.Request) -> web.Response:
        if request.headers.get("Authorization") != f"Bearer {self.bot_token}":
            return web.Response(text="<html>sign in</html>", content_type="text/html")  # as Slack does: 200 and a page
        return web.Response(body=self.files[request.match_info["file"]])

    async def _response_url(self, request: web.Request) -> web.Response:
        return web.Response(text="ok")

    def attach(self, name: str, data: bytes, media_type: str, **more: Any) -> dict[str, Any]:
        """A file for ``say(files=[…], subtype="file_share")``."""
        number = f"F{next(self._ids)}"
        self.files[number] = data
        return {
            "id": number,
            "name": name,
            "mimetype": media_type,
            "size": len(data),
            "url_private": f"{self.base or self.url}/files/{number}/{name}",
            "url_private_download": f"{self.base or self.url}/files/{number}/{name}",
            **more,
        }

    def chat(self) -> dict[str, Any]:
        places: list[dict[str, Any]] = [{"id": DIRECT, "name": "in private"}]
        others = [channel for channel in self.channels if channel != DIRECT]
        places += [{"id": channel, "name": f"channel {channel}", "call": f"<@{BOT}> "} for channel in others]
        lines = [
            {
                "place": channel,
                "id": message["ts"],
                "who": "crust" if message.get("user") == BOT else str(message.get("user")),
                "text": str(message.get("text") or message.get("markdown_text") or ""),
                "buttons": [
                    str(element["text"]["text"])
                    for block in message.get("blocks") or []
                    for element in block.get("elements", [])
                    if element.get("type") == "button"
                ],
            }
            for channel, messages in self.channels.items()
            for message in messages
        ]
        return {"title": "Slack", "user": PERSON, "press": "ts", "places": places, "lines": lines}

    def ts(self) -> str:
        """Strictly increasing, as Slack's are within a channel."""
        return f"{int(time.time())}.{next(self._ids):06d}"

    def _own(self, fields: dict[str, Any]) -> dict[str, Any]:
        return {"type": "message", "user": BOT, "bot_id": "B1", "app_id": APP, "ts": self.ts(), "team": TEAM, **fields}

    def _find(self, body: dict[str, Any]) -> dict[str, Any] | None:
        return next((m for m in self.channels.get(body["channel"], []) if m["ts"] == body["ts"]), None)


def _yes(**fields: Any) -> web.Response:
    return web.json_response({"ok": True, **fields})


def _no(error: str) -> web.Response:
    return web.json_response({"ok": False, "error": error})


def _decoded(value: Any) -> Any:
    """Lists and objects come as JSON in forms."""
    if isinstance(value, str) and value[:1] in ("[", "{"):
        with contextlib.suppress(ValueError):
            return json.loads(value)
    return value
