"""A simulated Slack: the Web API, Socket Mode and signed HTTP events, bad days included.

    opencrust-sim slack --port 8912

An app connects with ``api_base = http://127.0.0.1:8912/api/``, the bot token ``xoxb-simulated``, the app token
``xapp-simulated`` and, in HTTP mode, the signing secret ``simulated-secret``. Control API, besides what every simulator
has (server.py):

    POST /_sim/say      {"text": "hi", "channel": "…", "user": "…", "thread_ts": "…"}   answers the message
    POST /_sim/command  {"command": "/opencrust", "text": "status"}
    POST /_sim/press    {"ts": "…", "button": 0}
    POST /_sim/socket   {"do": "warning" | "refresh_requested" | "link_disabled" | "cut" | "silence" | "ghost"}
    POST /_sim/mode     {"everywhere": true, "request_url": "http://…", "retry": [0, 1, 5], "rate": 1.0}
    GET  /_sim/state    channels with their messages, connections, deliveries

An envelope goes to ONE of the connections (``everywhere``: to each of them); one that is not acknowledged in 3 seconds
comes again, three times. A mention in a channel is two events with two ids for one ``ts``. A connection that is
``silence``d takes everything and answers nothing; a ``ghost`` is that, and goes on being sent events to for
``ghost_seconds`` after the app has left it.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import hmac
import json
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

import aiohttp
from aiohttp import WSMsgType, web

from opencrust_sim.server import cut
from opencrust_sim.slack_web import (
    APP,
    APP_TOKEN,
    BOT,
    BOT_TOKEN,
    DIRECT,
    GENERAL,
    PERSON,
    SIGNING_SECRET,
    TEAM,
    SlackWebApi,
)

__all__ = [
    "APP_TOKEN",
    "BOT",
    "BOT_TOKEN",
    "DIRECT",
    "GENERAL",
    "PERSON",
    "SIGNING_SECRET",
    "TEAM",
    "SlackSimulator",
]

ACK_SECONDS = 3.0


@dataclass
class Connection:
    """One socket."""

    id: int
    socket: web.WebSocketResponse
    request: web.Request
    silent: bool = False
    delay: float = 0.0
    """At most so many seconds pass before each frame, a pong too; their order stays."""
    ghost: float = 0.0
    """Until when (monotonic) events are sent to it, whether it stands or not."""
    frames: asyncio.Queue[str | bytes] = field(default_factory=asyncio.Queue)


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


class SlackSimulator(SlackWebApi):
    """See the module's comment."""

    def __init__(self, port: int = 0) -> None:
        super().__init__(port)
        self.secret = SIGNING_SECRET
        self.everywhere = False
        self.request_url = ""
        """HTTP mode: where events go instead of to sockets."""
        self.retry: list[float] = [0.0, 60.0, 300.0]
        self.ack_seconds = ACK_SECONDS
        self.connections: list[Connection] = []
        self.ghosts: list[Connection] = []
        self.ghost_seconds = 5.0
        self.slow_links: list[float] = []
        """Seconds until the next connections' handshakes are answered; events are put on them already."""
        self.deliveries: list[Delivery] = []
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
            "response_url": f"{self.base or self.url}/response/1",
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
            "response_url": f"{self.base or self.url}/response/2",
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
                self._send(connection, envelope)
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
        self.ghosts = [ghost for ghost in self.ghosts if ghost.ghost > time.monotonic()]
        alive = [connection for connection in self.connections if not connection.socket.closed]
        alive += [ghost for ghost in self.ghosts if ghost not in alive]
        return alive if self.everywhere or not alive else [random.choice(alive)]

    def _send(self, connection: Connection, value: dict[str, Any]) -> None:
        if not connection.silent:
            connection.frames.put_nowait(json.dumps(value))

    async def _write(self, connection: Connection) -> None:
        with contextlib.suppress(ConnectionError, RuntimeError):
            while True:
                frame = await connection.frames.get()
                if connection.delay:
                    await asyncio.sleep(connection.delay * random.random())
                if isinstance(frame, str):
                    await connection.socket.send_str(frame)
                else:
                    await connection.socket.pong(frame)

    async def socket_do(self, what: str, only: int | None = None) -> None:
        """A bad moment for every connection, or for the one of that position."""
        chosen = self.connections if only is None else self.connections[only : only + 1]
        for connection in list(chosen):
            match what:
                case "warning" | "refresh_requested" | "link_disabled":
                    self._send(connection, {"type": "disconnect", "reason": what, "debug_info": {}})
                    if what != "warning":
                        self.connections.remove(connection)
                        await asyncio.sleep(0)
                        while not connection.frames.empty():
                            await asyncio.sleep(0.01)
                        await connection.socket.close()
                case "cut":
                    self.connections.remove(connection)
                    cut(connection.request)
                case "silence" | "ghost" | "speak":
                    connection.silent = what != "speak"
                    if what == "ghost":
                        connection.ghost = time.monotonic() + self.ghost_seconds
                        self.ghosts.append(connection)
                case _:
                    raise KeyError(what)

    def routes(self) -> list[web.RouteDef]:
        return [*super().routes(), web.get("/link/", self._link)]

    async def _link(self, request: web.Request) -> web.StreamResponse:
        ticket = request.query.get("ticket", "")
        if ticket not in self._tickets:
            return web.Response(status=403)
        self._tickets.remove(ticket)
        socket = web.WebSocketResponse(autoping=False)
        connection = Connection(next(self._ids), socket, request)
        if self.slow_links and (pause := self.slow_links.pop(0)):
            self.connections.append(connection)
            await asyncio.sleep(pause)
            self.connections.remove(connection)
        await socket.prepare(request)
        writing = asyncio.create_task(self._write(connection))
        if len(self.connections) >= 10:
            await socket.send_json({"type": "disconnect", "reason": "too_many_websockets"})
            await socket.close()
            writing.cancel()
            return socket
        self.connections.append(connection)
        hello = {"type": "hello", "num_connections": len(self.connections), "connection_info": {"app_id": APP}}
        self._send(connection, {**hello, "debug_info": {"host": "simulated", "approximate_connection_time": 18060}})
        try:
            while True:
                message = await socket.receive()
                if message.type is WSMsgType.PING:
                    if not connection.silent:
                        connection.frames.put_nowait(bytes(message.data))
                elif message.type is WSMsgType.TEXT and not connection.silent:
                    self._ack(json.loads(message.data))
                elif message.type in (WSMsgType.CLOSE, WSMsgType.CLOSING, WSMsgType.CLOSED, WSMsgType.ERROR):
                    break
        except (ConnectionError, RuntimeError):
            pass
        finally:
            writing.cancel()
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

    # -- control -----------------------------------------------------------------------------------------------------

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
