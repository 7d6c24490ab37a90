"""A second, small Bot API, written from https://core.telegram.org/bots/api alone and not from our simulator. It says no
more than it must, and a test may lay any answer over a method."""

import asyncio
import time
from collections import defaultdict, deque
from typing import Any

from aiohttp import web

from foreign.server import ForeignServer

BOT = 110201543
TOKEN = "110201543:AAHdqTcvCH1vGWJxfSeofSAs0K5PALDsaw0"  # the documentation's own example


class ForeignTelegram(ForeignServer):
    """Started with ``async with``.

    Args:
        remembers: brings the last update again for ever, though it was confirmed.
    """

    def __init__(self, *, remembers: bool = False) -> None:
        self.remembers = remembers
        self.updates: list[dict[str, Any]] = []
        self.polls: list[float] = []
        self.sent: list[dict[str, Any]] = []
        self.answers: dict[str, deque[web.Response]] = defaultdict(deque)
        """What a method answers next, instead."""

    def routes(self) -> list[web.RouteDef]:
        return [web.post(f"/bot{TOKEN}/{{method}}", self._called)]

    def say(self, words: str, number: int, user: int = 5, **more: Any) -> None:
        """Somebody writes, with only what every message has; ``more`` is laid over it (None leaves a field out)."""
        message = {"message_id": number % 1000 + 1, "date": int(time.time()), "chat": {"id": user, "type": "private"}}
        sender = {"id": user, "is_bot": False, "first_name": ""}
        fields = {**message, "from": sender, "text": words, **more}
        said = {name: value for name, value in fields.items() if value is not None}
        self.updates.append({"update_id": number, "message": said})

    async def _called(self, request: web.Request) -> web.Response:
        method = request.match_info["method"]
        body = await request.json() if request.content_type == "application/json" else {}
        if self.answers[method]:
            return self.answers[method].popleft()
        match method:
            case "getMe":
                return good({"id": BOT, "is_bot": True, "first_name": "Crust"})
            case "getUpdates":
                return good(await self._updates(body))
            case "sendMessage":
                self.sent.append(body)
                return good({"message_id": len(self.sent), "date": 0, "chat": {"id": body["chat_id"]}})
        return web.json_response({"ok": False, "error_code": 404, "description": "Not Found: method"}, status=404)

    async def _updates(self, body: dict[str, Any]) -> list[dict[str, Any]]:
        self.polls.append(time.monotonic())
        if (offset := body.get("offset")) is not None:
            kept = [update for update in self.updates if update.get("update_id", offset) >= offset]
            self.updates = kept or (self.updates[-1:] if self.remembers else [])
        deadline = time.monotonic() + min(body.get("timeout", 0), 0.5)
        while not self.updates and time.monotonic() < deadline:
            await asyncio.sleep(0.02)
        return list(self.updates)


def good(result: Any) -> web.Response:
    """The envelope."""
    return web.json_response({"ok": True, "result": result})


def refusal(code: int, description: str, headers: dict[str, str] | None = None, **parameters: Any) -> web.Response:
    """The envelope of an error; ``parameters`` only where there are some."""
    body: dict[str, Any] = {"ok": False, "error_code": code, "description": description}
    if parameters:
        body["parameters"] = parameters
    return web.json_response(body, status=code, headers=headers)
