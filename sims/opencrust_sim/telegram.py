"""A simulated Bot API, with what the real one does on a bad day.

    opencrust-sim telegram --port 8901

It answers below ``/bot<token>/<method>`` and ``/file/bot<token>/<path>`` by any HTTP verb, with JSON, form or multipart
bodies and methods in any case, as https://core.telegram.org/bots/api says; the rules about offsets and the two kinds of
409 are those of Telegram's own server (tdlib/telegram-bot-api, Client.cpp). People are played by the control API:

    POST /_sim/say     {"chat": 1, "user": 1, "text": "hello"}  also: photo, document, voice (base64), thread, reply_to
    POST /_sim/press   {"message": 7, "button": 0, "user": 1}       press a button of a message of the bot's
    POST /_sim/update  {"update": {...}}                            any update, odd ones too (update_id is set)
    POST /_sim/fault   {"method": "sendMessage", "kind": "429", "times": 2, "retry_after": 1}
                       kinds: 429 500 html502 cut (before accepting) cut_after_accept stall blocked chat_not_found
                       thread_not_found migrate unauthorized parse
    POST /_sim/rotate  {"token": "…new…"}                           the token is replaced, the bot stays
    GET  /_sim/messages   what the bot sent, drafts and edits;   GET /_sim/journal   every request, without tokens
    GET  /_sim/state

In tests: ``async with TelegramSimulator() as telegram:`` gives ``.url``, ``.say(...)``, ``.sent``, ``.fault(...)``.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import html
import json
import re
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import aiohttp
from aiohttp import web

from opencrust_sim.server import CONTROL, Handler, is_own

TOKEN = "987654321:simulated-token-of-no-real-bot-0123456"
BOT_ID = 987654321
BOT_NAME = "crusty_bot"
MAX_TEXT = 4096
_TAGS = {
    "b",
    "strong",
    "i",
    "em",
    "u",
    "ins",
    "s",
    "strike",
    "del",
    "code",
    "pre",
    "a",
    "blockquote",
    "tg-spoiler",
    "span",
}
_UPDATES = ("message", "edited_message", "callback_query", "my_chat_member", "channel_post", "message_reaction")


@dataclass
class Fault:
    """What happens to the next ``times`` calls of ``method`` (of that ``chat``)."""

    method: str
    kind: str
    times: int = 1
    retry_after: float = 1.0
    chat: int | None = None
    seconds: float = 3600.0


@dataclass
class Sent:
    """A message of the bot's."""

    id: int
    chat: int
    text: str
    at: float
    method: str = "sendMessage"
    parameters: dict[str, Any] = field(default_factory=dict)
    file: bytes | None = None
    edits: list[str] = field(default_factory=list)

    @property
    def now(self) -> str:
        """The text as it reads now."""
        return self.edits[-1] if self.edits else self.text


class Refusal(Exception):
    """An answer with ok=false."""

    def __init__(self, code: int, description: str, **parameters: Any) -> None:
        super().__init__(description)
        self.code = code
        self.description = description
        self.parameters = parameters


class _Reader(HTMLParser):
    """Telegram's HTML: known tags, closed in order. Collects the words."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.words = ""
        self.open: list[str] = []
        self.wrong = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in _TAGS:
            self.wrong = self.wrong or f'Unsupported start tag "{tag}"'
        self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open.pop() != tag:
            self.wrong = self.wrong or f'Unexpected end tag "{tag}"'

    def handle_data(self, data: str) -> None:
        self.words += data


def words_of(text: str) -> str:
    """The words that HTML shows. Raises Refusal as Telegram does."""
    reader = _Reader()
    reader.feed(text)
    reader.close()
    stray = re.search(r"<(?![a-z/])", text)
    if reader.wrong or reader.open or stray:
        why = reader.wrong or ("Can't find end tag" if reader.open else "Unsupported start tag")
        raise Refusal(400, f"Bad Request: can't parse entities: {why}")
    return reader.words


class TelegramSimulator:
    """The server. ``limits``: also keep the real rates (a message a second in a chat, 20 a minute in a group).

    ``first`` is the number of its first update: whoever starts one again must not give a number twice, or the channel,
    which remembers them for a day, takes what people write for what it has answered already.
    """

    def __init__(self, *, limits: bool = False, tokens: dict[str, int] | None = None, first: int = 100_000) -> None:
        self.tokens = tokens or {TOKEN: BOT_ID}
        self.limits = limits
        self.journal: list[dict[str, Any]] = []
        self.sent: list[Sent] = []
        self.drafts: list[dict[str, Any]] = []
        self.answered_presses: list[str] = []
        self.confirmed = 0
        """Updates below this are confirmed."""
        self.webhook: dict[str, Any] = {}
        self.webhook_error = ""
        self.terminated = 0
        self._updates: deque[dict[str, Any]] = deque()
        self._next_update = first
        self._next_message = 1
        self._arrived = asyncio.Condition()
        self._faults: list[Fault] = []
        self._confirmed: list[dict[str, Any]] = []
        self._hooks: list[list[Any]] = []
        self._files: dict[str, bytes] = {}
        self._poll: asyncio.Task[Any] | None = None
        self._poll_kill: asyncio.Event | None = None
        self._times: dict[int, deque[float]] = {}
        self._calls: asyncio.Task[None] | None = None
        self._runner: web.AppRunner | None = None
        self.url = ""
        self.polls = 0

    # -- running

    async def start(self, port: int = 0) -> None:
        app = web.Application(client_max_size=64 * 1024 * 1024, middlewares=[_own])
        app.router.add_route("*", "/bot{token}/{method}", self._bot)
        app.router.add_get("/file/bot{token}/{path:.+}", self._file)
        for path, handler in (
            ("say", self._say), ("press", self._press), ("update", self._push), ("fault", self._fault),
            ("rotate", self._rotate),
        ):  # fmt: skip
            app.router.add_post(f"/_sim/{path}", handler)
        app.router.add_get("/", self._page)
        app.router.add_get("/_sim/messages", self._messages)
        app.router.add_get("/_sim/journal", self._journal)
        app.router.add_get("/_sim/state", self._state)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.2)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", port)
        await site.start()
        address = self._runner.addresses[0]
        self.url = f"http://127.0.0.1:{address[1]}"

    async def stop(self) -> None:
        if self._calls is not None:
            self._calls.cancel()
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    # -- people

    async def say(
        self, text: str = "", *, chat: int = 1, user: int = 1, name: str = "Ann", thread: int | None = None,
        reply_to: int | None = None, files: dict[str, bytes] | None = None, at: float | None = None,
    ) -> int:  # fmt: skip
        """Somebody writes; negative chats are groups. Returns the update's id."""
        message: dict[str, Any] = {
            "message_id": self._message_number(),
            "from": {"id": user, "is_bot": False, "first_name": name, "language_code": "en"},
            "chat": {"id": chat, "type": "private", "first_name": name}
            if chat > 0
            else {"id": chat, "type": "supergroup", "title": "A group"},
            "date": int(time.time() if at is None else at),
        }
        kind = "caption" if files else "text"
        if text:
            message[kind] = text
            if entities := _entities(text):
                message["caption_entities" if files else "entities"] = entities
        if thread is not None:
            message |= {"message_thread_id": thread, "is_topic_message": True}
        if reply_to is not None:
            ours = any(sent.id == reply_to for sent in self.sent)
            message["reply_to_message"] = {
                "message_id": reply_to,
                "from": {"id": BOT_ID, "is_bot": True} if ours else {"id": 5, "is_bot": False},
            }
        for kind, data in (files or {}).items():
            message[kind] = self._stored(kind, data)
        return await self.push({"message": message})

    async def press(self, message: int, button: int, *, user: int = 1) -> int:
        """Somebody presses a button of a message of the bot's."""
        sent = next(s for s in self.sent if s.id == message)
        row = sent.parameters["reply_markup"]["inline_keyboard"][0]
        chat = {"id": sent.chat, "type": "private" if sent.chat > 0 else "supergroup"}
        query = {
            "id": str(self._next_update),
            "from": {"id": user, "is_bot": False, "first_name": "Ann"},
            "message": {"message_id": message, "chat": chat, "date": int(sent.at)},
            "chat_instance": "1",
            "data": row[button]["callback_data"],
        }
        return await self.push({"callback_query": query})

    async def push(self, update: dict[str, Any]) -> int:
        """Any update; its id is set unless it has one (one with the id of an earlier one comes again)."""
        async with self._arrived:
            if "update_id" not in update:
                update = {"update_id": self._next_update, **update}
                self._next_update += 1
            self._updates.append(update)
            self._arrived.notify_all()
            number: int = update["update_id"]
            return number

    async def again(self, count: int = 5) -> None:
        """The last updates that were confirmed come again."""
        async with self._arrived:
            self._updates.extendleft(reversed(self._confirmed[-count:]))
            self._arrived.notify_all()

    def fault(self, method: str, kind: str, times: int = 1, **more: Any) -> None:
        """What goes wrong next."""
        self._faults.append(Fault(method.lower(), kind, times, **more))

    def when(self, method: str, phase: str, action: Callable[[dict[str, Any]], object], times: int = 1) -> None:
        """Call ``action`` with the parameters of the next ``times`` calls of ``method``: ``before`` the call takes
        effect, or ``after`` it did and before it is answered. Where the action returns a true value, no answer is
        given. A negative ``times`` is for ever."""
        self._hooks.append([method.lower(), phase, action, times])

    def _hook(self, method: str, phase: str, parameters: dict[str, Any]) -> bool:
        for hook in list(self._hooks):
            if hook[:2] == [method, phase]:
                hook[3] -= 1
                if hook[3] == 0:
                    self._hooks.remove(hook)
                return bool(hook[2](parameters))
        return False

    def rotate(self, token: str) -> None:
        """A new token for the same bot; the old ones are void, and their polls end."""
        bot = next(iter(self.tokens.values()))
        self.tokens = {token: bot}
        if self._poll_kill is not None:
            self._poll_kill.set()

    def pending(self) -> int:
        """Updates that are not confirmed."""
        return len(self._updates)

    def texts(self, chat: int | None = None) -> list[str]:
        """The words of what the bot sent, as they read now."""
        return [html.unescape(re.sub(r"</?[a-z][^<>]*>", "", s.now)) for s in self.sent if chat in (None, s.chat)]

    # -- the Bot API

    async def _bot(self, request: web.Request) -> web.StreamResponse:
        method = request.match_info["method"].lower()
        parameters, file = await _parameters(request)
        chat = _int(parameters.get("chat_id"))
        fault = self._next_fault(method, chat)
        self.journal.append(
            {"at": time.time(), "method": method, "parameters": parameters, "fault": fault.kind if fault else ""}
        )
        try:
            if request.match_info["token"] not in self.tokens:
                raise Refusal(401, "Unauthorized")
            if fault is not None and (answer := await self._do_fault(fault, request)) is not None:
                return answer
            if self._hook(method, "before", parameters):
                _cut(request)
            result = await self._call(method, parameters, file)
            if self._hook(method, "after", parameters):
                _cut(request)
            if fault is not None and fault.kind == "cut_after_accept":
                _cut(request)
            return web.json_response({"ok": True, "result": result})
        except Refusal as refusal:
            body: dict[str, Any] = {"ok": False, "error_code": refusal.code, "description": refusal.description}
            if refusal.parameters:
                body["parameters"] = refusal.parameters
            return web.json_response(body, status=refusal.code)

    def _next_fault(self, method: str, chat: int | None) -> Fault | None:
        for fault in self._faults:
            if fault.method in (method, "*") and fault.chat in (None, chat):
                fault.times -= 1
                if fault.times <= 0:
                    self._faults.remove(fault)
                return fault
        return None

    async def _do_fault(self, fault: Fault, request: web.Request) -> web.StreamResponse | None:
        match fault.kind:
            case "429":
                after = fault.retry_after
                raise Refusal(429, f"Too Many Requests: retry after {after:g}", retry_after=after)
            case "500":
                raise Refusal(500, "Internal Server Error")
            case "html502":
                page = "<html><head><title>502 Bad Gateway</title></head><body>nginx</body></html>"
                return web.Response(status=502, text=page, content_type="text/html")
            case "cut":
                _cut(request)
            case "stall":
                await asyncio.sleep(fault.seconds)
            case "blocked":
                raise Refusal(403, "Forbidden: bot was blocked by the user")
            case "chat_not_found":
                raise Refusal(400, "Bad Request: chat not found")
            case "thread_not_found":
                raise Refusal(400, "Bad Request: message thread not found")
            case "unauthorized":
                raise Refusal(401, "Unauthorized")
            case "parse":
                raise Refusal(400, "Bad Request: can't parse entities: Unsupported start tag")
            case "migrate":
                raise Refusal(
                    400, "Bad Request: group chat was upgraded to a supergroup chat", migrate_to_chat_id=-100500
                )
        return None

    async def _call(self, method: str, parameters: dict[str, Any], file: bytes | None) -> Any:
        match method:
            case "getme":
                me = {"id": next(iter(self.tokens.values())), "is_bot": True, "first_name": "Crusty"}
                return {**me, "username": BOT_NAME, "can_join_groups": True, "supports_inline_queries": False}
            case "getupdates":
                return await self._get_updates(parameters)
            case "setwebhook":
                return self._set_webhook(parameters)
            case "deletewebhook":
                self._end_webhook()
                return True
            case "getwebhookinfo":
                info = {"url": self.webhook.get("url", ""), "has_custom_certificate": False}
                error = {"last_error_message": self.webhook_error} if self.webhook_error else {}
                return {**info, "pending_update_count": len(self._updates), **error}
            case "sendmessage":
                return self._send(method, parameters, None)
            case "sendphoto" | "senddocument" | "sendvoice":
                return self._send(method, parameters, file)
            case "editmessagetext":
                return self._edit(parameters)
            case "sendmessagedraft":
                if (_int(parameters.get("chat_id")) or 0) <= 0:
                    raise Refusal(400, "Bad Request: drafts can be sent only to private chats")
                self._text(parameters)
                self.drafts.append({"at": time.time(), **parameters})
                return True
            case "getfile":
                path = str(parameters.get("file_id"))
                if path not in self._files:
                    raise Refusal(400, "Bad Request: invalid file_id")
                if len(self._files[path]) > 20 * 1024 * 1024:
                    raise Refusal(400, "Bad Request: file is too big")
                return {"file_id": path, "file_size": len(self._files[path]), "file_path": f"files/{path}"}
            case "answercallbackquery":
                self.answered_presses.append(str(parameters.get("callback_query_id")))
                return True
            case "sendchataction" | "setmycommands":
                return True
        raise Refusal(404, "Not Found: method not found")

    # -- updates

    async def _get_updates(self, parameters: dict[str, Any]) -> list[dict[str, Any]]:
        if self.webhook.get("url"):
            why = "can't use getUpdates method while webhook is active; use deleteWebhook to delete the webhook first"
            raise Refusal(409, f"Conflict: {why}")
        if self._poll_kill is not None:
            self._poll_kill.set()  # a new poll ends the older one
        self.polls += 1
        killed = self._poll_kill = asyncio.Event()
        offset = _int(parameters.get("offset"))
        limit = min(max(_int(parameters.get("limit")) or 100, 1), 100)
        timeout = min(_int(parameters.get("timeout")) or 0, 50)
        allowed = parameters.get("allowed_updates") or _UPDATES
        if isinstance(allowed, str):
            allowed = json.loads(allowed)
        async with self._arrived:
            self._confirm(offset)
            deadline = time.monotonic() + timeout
            while not self._updates and not killed.is_set() and (left := deadline - time.monotonic()) > 0:
                try:
                    await asyncio.wait_for(self._arrived.wait(), min(left, 0.05))
                except TimeoutError:
                    continue
            if killed.is_set():
                self.terminated += 1
                why = "terminated by other getUpdates request; make sure that only one bot instance is running"
                raise Refusal(409, f"Conflict: {why}")
            self._poll_kill = None
            wanted = [u for u in self._updates if not set(u) & set(_UPDATES) - set(allowed)]
            return wanted[:limit]

    def _confirm(self, offset: int | None) -> None:
        if offset is None:
            return
        if offset < 0:
            while len(self._updates) > -offset:
                self._updates.popleft()
            return
        while self._updates and self._updates[0]["update_id"] < offset:
            self._confirmed.append(self._updates.popleft())
            self.confirmed = max(self.confirmed, self._confirmed[-1]["update_id"] + 1)

    def _set_webhook(self, parameters: dict[str, Any]) -> bool:
        self._end_webhook()
        if self._poll_kill is not None:
            self._poll_kill.set()
        self.webhook = dict(parameters)
        self._calls = asyncio.create_task(self._call_webhook())
        return True

    def _end_webhook(self) -> None:
        self.webhook = {}
        if self._calls is not None:
            self._calls.cancel()
            self._calls = None

    async def _call_webhook(self) -> None:
        """One update after another, each until the answer is 2xx."""
        headers = {"X-Telegram-Bot-Api-Secret-Token": str(self.webhook.get("secret_token", ""))}
        pause = 0.1
        async with aiohttp.ClientSession() as session:
            while True:
                async with self._arrived:
                    while not self._updates:
                        await self._arrived.wait()
                    update = self._updates[0]
                try:
                    async with session.post(
                        self.webhook["url"], json=update, headers=headers, timeout=aiohttp.ClientTimeout(5)
                    ) as response:
                        done = response.status // 100 == 2
                        self.webhook_error = "" if done else f"Wrong response from the webhook: {response.status}"
                except (aiohttp.ClientError, TimeoutError) as error:
                    done, self.webhook_error = False, f"Connection failed: {type(error).__name__}"
                if done:
                    self._updates.popleft()
                    self.confirmed = max(self.confirmed, update["update_id"] + 1)
                    pause = 0.1
                else:
                    await asyncio.sleep(pause)
                    pause = min(2 * pause, 1.0)

    # -- messages

    def _send(self, method: str, parameters: dict[str, Any], file: bytes | None) -> dict[str, Any]:
        chat = _int(parameters.get("chat_id"))
        if chat is None:
            raise Refusal(400, "Bad Request: chat_id is empty")
        if file is None and method != "sendmessage":
            raise Refusal(400, "Bad Request: there is no file in the request")
        text = self._text(parameters) if method == "sendmessage" else str(parameters.get("caption", ""))
        markup = parameters.get("reply_markup")
        for row in (markup or {}).get("inline_keyboard", []):
            if any(len(button.get("callback_data", "").encode()) > 64 for button in row):
                raise Refusal(400, "Bad Request: BUTTON_DATA_INVALID")
        self._rate(chat)
        sent = Sent(self._message_number(), chat, text, time.time(), method, parameters, file)
        self.sent.append(sent)
        return {"message_id": sent.id, "date": int(sent.at), "chat": {"id": chat}, "text": text}

    def _text(self, parameters: dict[str, Any]) -> str:
        text = str(parameters.get("text", ""))
        words = words_of(text) if parameters.get("parse_mode") == "HTML" else text
        if not words.strip():
            raise Refusal(400, "Bad Request: message text is empty")
        if len(words.encode("utf-16-le")) // 2 > MAX_TEXT:
            raise Refusal(400, "Bad Request: message is too long")
        return text

    def _edit(self, parameters: dict[str, Any]) -> dict[str, Any]:
        number, chat = _int(parameters.get("message_id")), _int(parameters.get("chat_id"))
        sent = next((s for s in self.sent if s.id == number and s.chat == chat), None)
        if sent is None:
            raise Refusal(400, "Bad Request: message to edit not found")
        text = self._text(parameters)
        if text == sent.now:
            raise Refusal(400, "Bad Request: message is not modified")
        sent.edits.append(text)
        sent.parameters["reply_markup"] = parameters.get("reply_markup")  # without it, the buttons go
        return {"message_id": sent.id, "text": text}

    def _rate(self, chat: int) -> None:
        if not self.limits:
            return
        now, times = time.monotonic(), self._times.setdefault(chat, deque())
        window, most = (60.0, 20) if chat < 0 else (1.0, 1)
        while times and now - times[0] > window:
            times.popleft()
        if len(times) >= most:
            after = max(1, round(window - (now - times[0])))
            raise Refusal(429, f"Too Many Requests: retry after {after}", retry_after=after)
        times.append(now)

    def _message_number(self) -> int:
        self._next_message += 1
        return self._next_message

    def _stored(self, kind: str, data: bytes) -> Any:
        number = f"F{len(self._files)}"
        self._files[number] = data
        described = {"file_id": number, "file_unique_id": number, "file_size": len(data)}
        if kind == "photo":
            self._files[f"{number}s"] = data[:10]
            small = {"file_id": f"{number}s", "file_unique_id": f"{number}s", "width": 90, "height": 90}
            return [small, {**described, "width": 1280, "height": 960}]
        if kind == "voice":
            return {**described, "duration": 3, "mime_type": "audio/ogg"}
        return {**described, "file_name": "report.pdf", "mime_type": "application/pdf"}

    async def _file(self, request: web.Request) -> web.StreamResponse:
        if request.match_info["token"] not in self.tokens:
            return web.json_response({"ok": False, "error_code": 401, "description": "Unauthorized"}, status=401)
        fault = self._next_fault("file", None)
        if fault is not None and (answer := await self._do_fault(fault, request)) is not None:
            return answer
        data = self._files.get(request.match_info["path"].removeprefix("files/"))
        return web.Response(status=404) if data is None else web.Response(body=data)

    # -- the control API

    async def _say(self, request: web.Request) -> web.Response:
        given = json.loads(await request.text())
        kinds = ("photo", "document", "voice")
        files = {kind: base64.b64decode(given.pop(kind)) for kind in kinds if kind in given}
        return web.json_response({"update_id": await self.say(files=files or None, **given)})

    async def _press(self, request: web.Request) -> web.Response:
        return web.json_response({"update_id": await self.press(**json.loads(await request.text()))})

    async def _push(self, request: web.Request) -> web.Response:
        return web.json_response({"update_id": await self.push((await request.json())["update"])})

    async def _fault(self, request: web.Request) -> web.Response:
        self.fault(**await request.json())
        return web.json_response({"ok": True})

    async def _rotate(self, request: web.Request) -> web.Response:
        self.rotate((await request.json())["token"])
        return web.json_response({"ok": True})

    async def _page(self, request: web.Request) -> web.StreamResponse:
        """Where a person plays the people."""
        return web.FileResponse(Path(__file__).with_suffix(".html"))

    async def _messages(self, request: web.Request) -> web.Response:
        shown = [
            {
                "id": s.id,
                "chat": s.chat,
                "at": s.at,
                "text": s.now,
                "method": s.method,
                "markup": s.parameters.get("reply_markup"),
            }
            for s in self.sent
        ]
        return web.json_response({"messages": shown, "drafts": self.drafts[-20:]})

    async def _journal(self, request: web.Request) -> web.Response:
        return web.json_response(self.journal)

    async def _state(self, request: web.Request) -> web.Response:
        return web.json_response(
            {"pending": len(self._updates), "confirmed": self.confirmed, "webhook": bool(self.webhook), "bot": BOT_NAME}
        )


@web.middleware
async def _own(request: web.Request, handler: Handler) -> web.StreamResponse:
    """No page of somebody else's plays people here."""
    if request.path.startswith(CONTROL) and not is_own(request):
        return web.Response(status=403)
    return await handler(request)


def _cut(request: web.Request) -> None:
    if request.transport is not None:
        request.transport.abort()
    raise ConnectionResetError


async def _parameters(request: web.Request) -> tuple[dict[str, Any], bytes | None]:
    parameters: dict[str, Any] = dict(request.query)
    file = None
    if request.content_type == "application/json" and request.can_read_body:
        parameters |= await request.json()
    elif request.can_read_body:
        for name, value in (await request.post()).items():
            if isinstance(value, web.FileField):
                file = value.file.read()
            else:
                parameters[name] = value
    for name in ("reply_markup", "reply_parameters", "link_preview_options"):
        if isinstance(parameters.get(name), str):
            parameters[name] = json.loads(parameters[name])
    return parameters, file


def _entities(text: str) -> list[dict[str, Any]]:
    """Mentions and commands, counted in UTF-16 units as Telegram does."""
    found = []
    for matched in re.finditer(r"(?<!\w)(@\w{3,}|/\w+(?:@\w+)?)", text):
        start = len(text[: matched.start()].encode("utf-16-le")) // 2
        length = len(matched[0].encode("utf-16-le")) // 2
        found.append({"type": "mention" if matched[0][0] == "@" else "bot_command", "offset": start, "length": length})
    return found


def _int(value: object) -> int | None:
    try:
        return int(str(value))
    except ValueError:
        return None


def lasting(token: str, *, limits: bool = False) -> TelegramSimulator:
    """One for people, who stop it and start it again: its numbers go on."""
    tokens = {token: _int(token.partition(":")[0]) or BOT_ID}
    return TelegramSimulator(limits=limits, tokens=tokens, first=int(time.time()))


async def _run(port: int, token: str, *, limits: bool) -> None:
    simulator = lasting(token, limits=limits)
    await simulator.start(port)
    print(f"Telegram is simulated on {simulator.url}; its control API is {simulator.url}/_sim/…", flush=True)
    try:
        await asyncio.Event().wait()
    finally:
        await simulator.stop()


def main(arguments: list[str] | None = None) -> int:
    """Run it until it is interrupted."""
    parser = argparse.ArgumentParser(prog="opencrust-sim telegram", description=__doc__.partition("\n")[0])
    parser.add_argument("--port", type=int, default=8901)
    parser.add_argument("--token", default=TOKEN, help="the token that it knows")
    parser.add_argument("--limits", action="store_true", help="keep the real rate limits, too")
    options = parser.parse_args(arguments)
    asyncio.run(_run(options.port, options.token, limits=options.limits))
    return 0
