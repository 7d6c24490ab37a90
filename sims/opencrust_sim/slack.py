"""A simulated Slack: the Web API, Socket Mode and signed HTTP events, bad days included.

    opencrust-sim slack --port 8912

An app connects with ``api_base = http://127.0.0.1:8912/api/``, the bot token ``xoxb-simulated``, the app token
``xapp-simulated`` and, in HTTP mode, the signing secret ``simulated-secret``. Control API, besides what every simulator
has (server.py):

    POST /_sim/say       {"text": "hi", "channel": "…", "user": "…", "thread_ts": "…"}: somebody writes; answers the
    message POST /_sim/command   {"command": "/opencrust", "text": "status"} POST /_sim/press     {"ts": "…", "button":
    0} POST /_sim/socket    {"do": "warning" | "refresh_requested" | "link_disabled" | "cut" | "silence" | "speak"} POST
    /_sim/mode      {"everywhere": true, "request_url": "http://…", "retry": [0, 1, 5], "token": "…", "rate": 1.0} GET
    /_sim/state     channels with their messages, connections, deliveries

An envelope goes to ONE of the connections (``everywhere``: to each of them); one that is not acknowledged in 3 seconds
comes again, three times. A mention in a channel is two events with two ids for one ``ts``.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import hmac
import itertools
import json
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

import aiohttp
from aiohttp import WSMsgType, web

from opencrust_sim.server import BODY, Fault, PlatformServer, cut

BOT_TOKEN, APP_TOKEN, SIGNING_SECRET = "xoxb-simulated", "xapp-simulated", "simulated-secret"
TEAM, BOT, APP, GENERAL, DIRECT, PERSON = "T1", "U0BOT", "A1", "C1", "D1", "U1"
ACK_SECONDS = 3.0


@dataclass
class Connection:
    """One socket."""

    id: int
    socket: web.WebSocketResponse
    request: web.Request
    silent: bool = False


@dataclass
class Delivery:
    """One event on its way to the app."""

    envelope: dict[str, Any]
    acked: asyncio.Event = field(default_factory=asyncio.Event)
    answer: Any = None
    attempts: int = 0
    first: float = 0.0
    took: float | None = None
    """Seconds from the attempt to its acknowledgement."""


class SlackSimulator(PlatformServer):
    """See the module's comment."""

    def __init__(self, port: int = 0) -> None:
        super().__init__(port)
        self.bot_token, self.app_token, self.secret = BOT_TOKEN, APP_TOKEN, SIGNING_SECRET
        self.everywhere = False
        self.request_url = ""
        """HTTP mode: where events go instead of to sockets."""
        self.retry: list[float] = [0.0, 60.0, 300.0]
        self.ack_seconds = ACK_SECONDS
        self.rate = 0.0
        """Seconds between two messages in a channel; 0: no limit."""
        self.channels: dict[str, list[dict[str, Any]]] = {GENERAL: [], DIRECT: []}
        self.connections: list[Connection] = []
        self.deliveries: list[Delivery] = []
        self.files: dict[str, bytes] = {}
        self.streams: set[str] = set()
        self.status: list[dict[str, Any]] = []
        self.opened = 0
        self._tickets: set[str] = set()
        self._ids = itertools.count(1)
        self._last: dict[str, float] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self.on_ack: list[tuple[str, Callable[[], None]]] = []
        """What to do at the next acknowledgement: ``before`` it is taken (it then is not), or ``after``."""

    # -- what people do ----------------------------------------------------------------------------------------------

    async def say(self, text: str, channel: str = GENERAL, user: str = PERSON, **more: Any) -> dict[str, Any]:
        """Somebody writes. ``more`` is laid over the event's JSON."""
        message = {"type": "message", "user": user, "text": text, "ts": self.ts(), "team": TEAM, **more}
        self.channels.setdefault(channel, []).append(message)
        kind = "im" if channel.startswith("D") else "channel"
        self.event({**message, "channel": channel, "channel_type": kind, "event_ts": message["ts"]})
        if kind == "channel" and f"<@{BOT}>" in text:  # the same message once more, under another event id
            self.event({**message, "type": "app_mention", "channel": channel, "event_ts": message["ts"]})
        return message

    def event(self, event: dict[str, Any], **more: Any) -> Delivery:
        """Any event of the Events API."""
        body = {
            "token": "unused",
            "team_id": TEAM,
            "api_app_id": APP,
            "event": event,
            "type": "event_callback",
            "event_id": f"Ev{next(self._ids)}",
            "event_time": int(time.time()),
            "authorizations": [{"team_id": TEAM, "user_id": BOT, "is_bot": True}],
            **more,
        }
        return self.deliver("events_api", body, False)

    def command(self, command: str, text: str = "", channel: str = GENERAL, user: str = PERSON) -> Delivery:
        """Somebody uses a slash command."""
        body = {
            "token": "unused",
            "team_id": TEAM,
            "channel_id": channel,
            "channel_name": "general",
            "user_id": user,
            "user_name": "ann",
            "command": command,
            "text": text,
            "api_app_id": APP,
            "response_url": f"{self.url}/response/1",
            "trigger_id": f"{next(self._ids)}.1.trigger",
        }
        return self.deliver("slash_commands", body, True)

    def press(self, ts: str, button: int = 0, user: str = PERSON) -> Delivery:
        """Somebody presses a button below a message."""
        channel, message = next((c, m) for c, found in self.channels.items() for m in found if m["ts"] == ts)
        elements = [e for block in message["blocks"] if block["type"] == "actions" for e in block["elements"]]
        body = {
            "type": "block_actions",
            "team": {"id": TEAM, "domain": "home"},
            "user": {"id": user, "username": "ann", "team_id": TEAM},
            "api_app_id": APP,
            "container": {"type": "message", "message_ts": ts, "channel_id": channel, "is_ephemeral": False},
            "trigger_id": f"{next(self._ids)}.2.trigger",
            "channel": {"id": channel, "name": "general"},
            "message": message,
            "response_url": f"{self.url}/response/2",
            "actions": [{**elements[button], "type": "button", "action_ts": self.ts()}],
        }
        return self.deliver("interactive", body, True)

    def deliver(self, kind: str, payload: dict[str, Any], answers: bool) -> Delivery:
        """Send it, and again until it is acknowledged."""
        envelope = {
            "envelope_id": f"envelope-{next(self._ids)}",
            "type": kind,
            "payload": payload,
            "accepts_response_payload": answers,
        }
        delivery = Delivery(envelope, first=time.time())
        self.deliveries.append(delivery)
        task = asyncio.create_task(self._until_acked(delivery))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return delivery

    async def _until_acked(self, delivery: Delivery) -> None:
        reason = ""
        for attempt, pause in enumerate([0.0, *self.retry]):
            await asyncio.sleep(pause)
            delivery.attempts += 1
            began = time.monotonic()
            if self.request_url:
                reason = await self._by_http(delivery, attempt, reason)
                if not reason:
                    delivery.took = time.monotonic() - began
                    delivery.acked.set()
                    return
                if reason == "no-retry":
                    return
                continue
            while not self._targets():  # Slack keeps it while the app has no connection at all, for a while
                await asyncio.sleep(0.05)
            envelope = dict(delivery.envelope)
            if delivery.envelope["type"] == "events_api":
                envelope |= {"retry_attempt": attempt, "retry_reason": "timeout" if attempt else ""}
            began = time.monotonic()
            for connection in self._targets():
                await self._send(connection, envelope)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(delivery.acked.wait(), self.ack_seconds)
                delivery.took = time.monotonic() - began
                return

    async def _by_http(self, delivery: Delivery, attempt: int, reason: str) -> str:
        """One POST; why it failed, or nothing."""
        kind, payload = delivery.envelope["type"], delivery.envelope["payload"]
        if kind == "events_api":
            body, media_type = json.dumps(payload), "application/json"
        elif kind == "interactive":
            body, media_type = urlencode({"payload": json.dumps(payload)}), "application/x-www-form-urlencoded"
        else:
            body, media_type = urlencode(payload), "application/x-www-form-urlencoded"
        headers = {**self.signed(body), "Content-Type": media_type}
        if attempt:
            headers |= {"X-Slack-Retry-Num": str(attempt), "X-Slack-Retry-Reason": reason or "http_timeout"}
        try:
            async with (
                aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(self.ack_seconds)) as session,
                session.post(self.request_url, data=body.encode(), headers=headers) as response,
            ):
                delivery.answer = await response.text()
                if response.status == 200:
                    return ""
                return "no-retry" if response.headers.get("X-Slack-No-Retry") == "1" else "http_error"
        except TimeoutError:
            return "http_timeout"
        except aiohttp.ClientError:
            return "connection_failed"

    def again(self, last: int = 20) -> None:
        """The last events once more, in envelopes of their own."""
        for delivery in [d for d in self.deliveries if d.envelope["type"] == "events_api"][-last:]:
            self.deliver("events_api", delivery.envelope["payload"], False)

    def shown(self) -> list[tuple[str, str]]:
        """What the app sent: channel and text, in order over all channels."""
        ours = [(c, m) for c, messages in self.channels.items() for m in messages if m["user"] == BOT]
        return [(c, m["text"]) for c, m in sorted(ours, key=lambda found: found[1]["ts"].partition(".")[2])]

    def signed(self, body: str, at: float | None = None) -> dict[str, str]:
        """The two headers that vouch for a body."""
        stamp = str(int(at if at is not None else time.time()))
        digest = hmac.new(self.secret.encode(), f"v0:{stamp}:{body}".encode(), hashlib.sha256).hexdigest()
        return {"X-Slack-Request-Timestamp": stamp, "X-Slack-Signature": f"v0={digest}"}

    # -- sockets -----------------------------------------------------------------------------------------------------

    def _targets(self) -> list[Connection]:
        alive = [connection for connection in self.connections if not connection.socket.closed]
        return alive if self.everywhere or not alive else [random.choice(alive)]

    async def _send(self, connection: Connection, value: dict[str, Any]) -> None:
        if not connection.silent:
            with contextlib.suppress(ConnectionError, RuntimeError):
                await connection.socket.send_str(json.dumps(value))

    async def socket_do(self, what: str, only: int | None = None) -> None:
        """A bad moment for every connection, or for the one of that position."""
        chosen = self.connections if only is None else self.connections[only : only + 1]
        for connection in list(chosen):
            match what:
                case "warning" | "refresh_requested" | "link_disabled":
                    await self._send(connection, {"type": "disconnect", "reason": what, "debug_info": {}})
                    if what != "warning":
                        self.connections.remove(connection)
                        await connection.socket.close()
                case "cut":
                    self.connections.remove(connection)
                    cut(connection.request)
                case "silence" | "speak":
                    connection.silent = what == "silence"
                case _:
                    raise KeyError(what)

    async def _link(self, request: web.Request) -> web.StreamResponse:
        ticket = request.query.get("ticket", "")
        if ticket not in self._tickets:
            return web.Response(status=403)
        self._tickets.remove(ticket)
        socket = web.WebSocketResponse(autoping=False)
        await socket.prepare(request)
        connection = Connection(next(self._ids), socket, request)
        if len(self.connections) >= 10:
            await self._send(connection, {"type": "disconnect", "reason": "too_many_websockets"})
            await socket.close()
            return socket
        self.connections.append(connection)
        hello = {"type": "hello", "num_connections": len(self.connections), "connection_info": {"app_id": APP}}
        await self._send(
            connection, {**hello, "debug_info": {"host": "simulated", "approximate_connection_time": 18060}}
        )
        try:
            while True:
                message = await socket.receive()
                if message.type is WSMsgType.PING:
                    if not connection.silent:
                        await socket.pong(message.data)
                elif message.type is WSMsgType.TEXT:
                    self._ack(json.loads(message.data))
                elif message.type in (WSMsgType.CLOSE, WSMsgType.CLOSING, WSMsgType.CLOSED, WSMsgType.ERROR):
                    break
        except (ConnectionError, RuntimeError):
            pass
        finally:
            if connection in self.connections:
                self.connections.remove(connection)
        return socket

    def _ack(self, frame: dict[str, Any]) -> None:
        phase, action = self.on_ack.pop() if self.on_ack else ("", None)
        if action is not None and phase == "before":
            action()
            return
        for delivery in self.deliveries:
            if delivery.envelope["envelope_id"] == frame.get("envelope_id"):
                delivery.answer = frame.get("payload")
                delivery.acked.set()
        if action is not None:
            action()

    # -- Web API -----------------------------------------------------------------------------------------------------

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get("/link/", self._link),
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
        return _yes(url=f"ws://127.0.0.1:{self.port}/link/?ticket={ticket}&app_id={APP}")

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
        oldest = float(body.get("oldest") or 0)
        found = [m for m in messages if float(m["ts"]) > oldest][-int(body.get("limit") or 100) :]
        if str(body.get("include_all_metadata", "")).lower() not in ("true", "1"):
            found = [{key: value for key, value in m.items() if key != "metadata"} for m in found]
        return _yes(messages=list(reversed(found)), has_more=False)

    async def _open_direct(self, body: dict[str, Any]) -> web.Response:
        return _yes(channel={"id": DIRECT})

    async def _upload_url(self, body: dict[str, Any]) -> web.Response:
        number = f"F{next(self._ids)}"
        return _yes(upload_url=f"{self.url}/upload/{number}", file_id=number)

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
            "url_private": f"{self.url}/files/{number}/{name}",
            "url_private_download": f"{self.url}/files/{number}/{name}",
            **more,
        }

    # -- control -----------------------------------------------------------------------------------------------------

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

    def state(self) -> dict[str, Any]:
        return {
            "channels": self.channels,
            "connections": len(self.connections),
            "deliveries": [
                {"type": d.envelope["type"], "attempts": d.attempts, "acked": d.acked.is_set(), "took": d.took}
                for d in self.deliveries
            ],
        }

    async def control(self, command: str, body: dict[str, Any]) -> dict[str, Any]:
        match command:
            case "say":
                return await self.say(**body)
            case "command":
                self.command(**body)
            case "press":
                self.press(**body)
            case "socket":
                await self.socket_do(body["do"])
            case "mode":
                for name, value in body.items():
                    if name not in ("everywhere", "request_url", "retry", "bot_token", "app_token", "rate"):
                        raise KeyError(name)
                    setattr(self, name, value)
            case _:
                raise KeyError(command)
        return {}

    async def __aexit__(self, *error: Any) -> None:
        for task in list(self._tasks):
            task.cancel()
        await super().__aexit__(*error)

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


async def serve(port: int) -> None:
    """Run until cancelled."""
    async with SlackSimulator(port) as simulator:
        print(f"Slack is simulated on {simulator.url}: open that, and play the people who write to the bot")
        print(f"bot token {BOT_TOKEN} · app token {APP_TOKEN} · api_base {simulator.url}/api/", flush=True)
        await asyncio.Event().wait()


def main(arguments: list[str]) -> None:
    """``--port N``."""
    import argparse

    parser = argparse.ArgumentParser(prog="opencrust-sim slack", description=__doc__.split("\n")[0])
    parser.add_argument("--port", type=int, default=8912)
    asyncio.run(serve(parser.parse_args(arguments).port))
