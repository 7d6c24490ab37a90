"""A client of the gateway's WebSocket: send a message, and wait for its answer, whatever breaks meanwhile."""

import asyncio
import itertools
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from typing import Any, Protocol

import aiohttp

ANSWER_SECONDS = 900.0
AWAY_SECONDS = 60.0
"""How long the gateway may be away while an answer is awaited."""
CONNECT_SECONDS = 10.0
HEARTBEAT = 20.0


class ChatError(Exception):
    """The conversation cannot go on. The text says why."""


class _Lost(Exception):
    """The connection broke; another may work."""


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer. `finish` is ``complete``, ``stopped`` or ``failed``."""

    message_id: str
    text: str
    finish: str
    model: str | None
    approval: str | None = None
    """The id of what it asks a word for."""

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


class Screen(Protocol):
    """Where an answer is shown while it is written."""

    def delta(self, text: str) -> None:
        """More of it."""

    def reset(self) -> None:
        """Forget what there was: it is written anew."""

    def final(self, reply: Reply) -> None:
        """All of it."""

    def tool(self, step: dict[str, Any]) -> None:
        """A step with a tool: ``tool``, ``state``, and perhaps ``summary``."""

    def missed(self, turn: dict[str, Any]) -> None:
        """A turn that ended elsewhere, or while the connection was down: ``user_text`` (or None) and ``text``."""


class Conversation:
    """One conversation at one gateway.

    Parameters:
        url: the gateway's, ``http://127.0.0.1:3888``.
        token: a bearer token with the scopes chat and read, and approve if it is to decide.
        name: the conversation's.
    """

    def __init__(self, url: str, token: str, name: str) -> None:
        self._url = url
        self._token = token
        self._name = name
        self._after: int | None = None
        """The number of the last reply that was shown; None before there was a history."""

    async def say(self, text: str, message_id: str, screen: Screen | None) -> Reply:
        """Send a message and return its answer. A lost connection is made again, and the message repeated under its
        `message_id`: the gateway knows it by that.

        Raises:
            ChatError: it was refused, or the gateway stayed away.
        """
        async with asyncio.timeout(ANSWER_SECONDS):
            reply = await self._persist(lambda: self._say(text, message_id, screen))
        if screen is not None:
            screen.final(reply)
        return reply

    async def history(self) -> list[dict[str, Any]]:
        """The turns so far, oldest first: ``user_text``, ``text`` …

        Raises:
            ChatError: it was refused, or the gateway is away.
        """
        opened = await self._ask_once("open", conversation=self._name)
        self._after = opened.get("seq", 0)
        turns: list[dict[str, Any]] = opened["history"]
        return turns

    async def stop(self) -> None:
        """End the answer that is being written.

        Raises:
            ChatError: it was refused, or the gateway is away.
        """
        await self._ask_once("stop", conversation=self._name)

    async def decide(self, approval: str, screen: Screen | None, *, approve: bool) -> Reply | None:
        """Approve or deny what an answer asked for, and return what came of it; None where another conversation waits
        for it.

        Raises:
            ChatError: it was refused (decided already, expired, not ours), or the gateway stayed away.
        """
        state = await self._ask_once("approve", id=approval, approve=approve)
        address = state["approval"]["address"]
        if (address["channel"], address["conversation"]) != ("web", self._name):
            return None
        async with asyncio.timeout(ANSWER_SECONDS):
            reply = await self._persist(lambda: self._hear(f"approval:{approval}", screen))
        if screen is not None:
            screen.final(reply)
        return reply

    async def _ask_once(self, operation: str, **params: Any) -> dict[str, Any]:
        try:
            async with self._connected() as connection:
                return await connection.ask(operation, **params)
        except _Lost as error:
            raise ChatError(f"the gateway at {self._url} is away: {error}") from None

    async def _persist(self, attempt: Any) -> Reply:
        loop = asyncio.get_running_loop()
        away_since: float | None = None
        while True:
            began = loop.time()
            try:
                reply: Reply = await attempt()
                return reply
            except _Lost as error:
                if away_since is None or loop.time() - began > CONNECT_SECONDS:
                    away_since = began
                if loop.time() - away_since > AWAY_SECONDS:
                    raise ChatError(f"the gateway at {self._url} is away: {error}") from None
                await asyncio.sleep(0.25)

    async def _say(self, text: str, message_id: str, screen: Screen | None) -> Reply:
        async with self._connected() as connection:
            if (found := await self._catch_up(connection, message_id, screen)) is not None:
                return found
            sent = await connection.ask("send", conversation=self._name, text=text, message_id=message_id)
            if "reply" in sent:
                return self._shown(message_id, sent["reply"])
            return await self._answer(connection, message_id, screen)

    async def _hear(self, message_id: str, screen: Screen | None) -> Reply:
        """Wait for an answer to what we did not send."""
        async with self._connected() as connection:
            found = await self._catch_up(connection, message_id, screen)
            return found if found is not None else await self._answer(connection, message_id, screen)

    async def _catch_up(self, connection: "_Connection", message_id: str, screen: Screen | None) -> Reply | None:
        """Show what came since the last reply that was shown; the answer to `message_id`, if it is among it."""
        if self._after is None:
            return None
        found, more = None, True
        while more:
            back = await connection.ask("resume", conversation=self._name, after=self._after)
            for turn in back["history"]:
                if turn["message_id"] == message_id:
                    found = self._shown(message_id, turn)
                elif screen is not None:
                    screen.missed(turn)
            self._after, more = max(self._after, back["seq"]), back["more"]
        return found

    async def _answer(self, connection: "_Connection", message_id: str, screen: Screen | None) -> Reply:
        attempt = None
        async for event in connection.events():
            if event.get("message_id") != message_id:
                continue
            if event["event"] == "reply":
                return self._shown(message_id, event)
            if screen is None:
                continue
            if event["event"] == "reset" or (attempt is not None and event.get("attempt", attempt) != attempt):
                screen.reset()
            attempt = event.get("attempt", attempt)
            if event["event"] == "delta":
                screen.delta(event.get("text", ""))
            elif event["event"] == "tool":
                screen.tool(event.get("data", {}))
        raise _Lost("the connection was closed")

    def _shown(self, message_id: str, data: dict[str, Any]) -> Reply:
        if self._after is not None:
            self._after = max(self._after, data.get("seq", 0))
        card = data.get("approval") or {}
        return Reply(message_id, data["text"], data["finish"], data.get("model"), card.get("id"))

    @asynccontextmanager
    async def _connected(self) -> AsyncIterator["_Connection"]:
        headers = {"Authorization": f"Bearer {self._token}"}
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS)
        async with aiohttp.ClientSession(headers=headers, timeout=timeout) as session:
            try:
                socket = await session.ws_connect(f"{self._url}/v1/ws", heartbeat=HEARTBEAT, max_msg_size=0)
            except aiohttp.WSServerHandshakeError as error:
                if error.status in (401, 403):
                    raise ChatError("the gateway does not accept this token") from None
                if error.status in (429, 502, 503):
                    raise _Lost(f"it answered {error.status}") from None
                raise ChatError(f"the gateway answered {error.status}") from None
            except aiohttp.InvalidURL:
                raise ChatError(f"{self._url!r} is no URL: write http://127.0.0.1:3888") from None
            except (aiohttp.ClientError, TimeoutError, OSError) as error:
                raise _Lost(type(error).__name__) from None
            try:
                yield _Connection(socket)
            finally:
                await socket.close()


class _Connection:
    """One WebSocket: questions with answers, and events in between."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        self._ids = itertools.count(1)
        self._events: list[dict[str, Any]] = []

    async def ask(self, operation: str, **params: Any) -> dict[str, Any]:
        """The result of one operation.

        Raises:
            ChatError: it was refused.
        """
        number = str(next(self._ids))
        try:
            await self._socket.send_str(json.dumps({"type": "req", "id": number, "op": operation, "params": params}))
        except (aiohttp.ClientError, ConnectionError) as error:
            raise _Lost(type(error).__name__) from None
        async for frame in self._frames():
            if frame.get("type") == "event":
                self._events.append(frame)
            elif frame.get("type") == "res" and frame.get("id") == number:
                if frame["ok"]:
                    result: dict[str, Any] = frame["result"]
                    return result
                refusal = frame["error"]
                if refusal.get("code") in ("bus_unavailable", "rate_limited"):
                    raise _Lost(refusal["message"])
                raise ChatError(refusal["message"])
        raise _Lost("the connection was closed")

    async def events(self) -> AsyncIterator[dict[str, Any]]:
        """Events as they come, until the connection is lost."""
        while self._events:
            yield self._events.pop(0)
        async for frame in self._frames():
            if frame.get("type") == "event":
                yield frame

    async def _frames(self) -> AsyncIterator[dict[str, Any]]:
        async for message in self._socket:
            if message.type is aiohttp.WSMsgType.TEXT:
                yield json.loads(message.data)
