"""The client against a gateway that does what gateways do on bad days. The real one is in tests/integration."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from aiohttp import web

from opencrust_cli import chat_client
from opencrust_cli.chat_client import ChatError, Conversation, Reply
from opencrust_cli.chat_screen import printable

Script = Callable[[web.WebSocketResponse, dict[str, Any]], Awaitable[None]]
REPLY = {"text": "Hello!", "finish": "complete", "model": "m", "reply_id": "r"}


class Gateway:
    """Answers each connection's first request by the next script; after the last it uses that again."""

    def __init__(self) -> None:
        self.scripts: list[Script] = []
        self.requests: list[dict[str, Any]] = []
        self.refuse: list[int] = []
        self.url = ""

    async def connect(self, request: web.Request) -> web.StreamResponse:
        assert request.headers["Authorization"] == "Bearer oc_token"
        if self.refuse:
            return web.Response(status=self.refuse.pop(0))
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        await socket.send_json({"type": "hello", "v": 1})
        asked = await socket.receive_json()
        self.requests.append(asked)
        script = self.scripts.pop(0) if len(self.scripts) > 1 else self.scripts[0]
        await script(socket, asked)
        await socket.close()
        return socket


class Screen:
    def __init__(self) -> None:
        self.seen: list[str] = []

    def delta(self, text: str) -> None:
        self.seen.append(text)

    def reset(self) -> None:
        self.seen.append("RESET")

    def final(self, reply: Reply) -> None:
        self.seen.append(f"FINAL {reply.text}")

    def tool(self, step: dict[str, Any]) -> None:
        self.seen.append(f"TOOL {step['tool']}")

    def missed(self, turn: dict[str, Any]) -> None:
        self.seen.append(f"MISSED {turn['message_id']}")


@pytest.fixture
async def gateway() -> AsyncIterator[Gateway]:
    gateway = Gateway()
    app = web.Application()
    app.router.add_get("/v1/ws", gateway.connect)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    gateway.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield gateway
    await runner.cleanup()


@pytest.fixture
def conversation(gateway: Gateway) -> Conversation:
    return Conversation(gateway.url, "oc_token", "terminal")


def accepted(asked: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"type": "res", "id": asked["id"], "ok": True, "result": {"duplicate": False, **more}}


def event(name: str, message_id: str = "m1", **data: Any) -> dict[str, Any]:
    return {"type": "event", "seq": 1, "event": name, "message_id": message_id, **data}


async def answers(socket: web.WebSocketResponse, asked: dict[str, Any]) -> None:
    await socket.send_json(event("delta", text="Hel", attempt=1))
    await socket.send_json(accepted(asked))
    await socket.send_json(event("delta", "somebody-elses", text="no", attempt=1))
    await socket.send_json(event("delta", text="lo", attempt=1))
    await socket.send_json(event("reset", attempt=2))
    await socket.send_json(event("delta", text="Hello!", attempt=2))
    await socket.send_json(event("reply", **REPLY))


async def breaks(socket: web.WebSocketResponse, asked: dict[str, Any]) -> None:
    await socket.send_json(accepted(asked))


async def knows_it_already(socket: web.WebSocketResponse, asked: dict[str, Any]) -> None:
    await socket.send_json(accepted(asked, reply=REPLY))


def refuses(code: str) -> Script:
    async def script(socket: web.WebSocketResponse, asked: dict[str, Any]) -> None:
        error = {"code": code, "message": "because"}
        await socket.send_json({"type": "res", "id": asked["id"], "ok": False, "error": error})

    return script


async def test_what_is_streamed_is_shown_and_the_reply_is_returned(
    gateway: Gateway, conversation: Conversation
) -> None:
    gateway.scripts = [answers]
    screen = Screen()
    reply = await conversation.say("hi", "m1", screen)
    assert reply == Reply("m1", "Hello!", "complete", "m")
    assert screen.seen == ["Hel", "lo", "RESET", "Hello!", "FINAL Hello!"]


async def test_a_lost_connection_is_made_again_and_the_message_repeated_under_its_id(
    gateway: Gateway, conversation: Conversation
) -> None:
    gateway.scripts = [breaks, refuses("bus_unavailable"), knows_it_already]
    gateway.refuse = [503]
    reply = await conversation.say("hi", "m1", None)
    assert reply.text == "Hello!"
    assert [asked["params"] for asked in gateway.requests] == [
        {"conversation": "terminal", "text": "hi", "message_id": "m1"}
    ] * 3


async def test_a_refusal_is_final(gateway: Gateway, conversation: Conversation) -> None:
    gateway.scripts = [refuses("invalid_message")]
    with pytest.raises(ChatError, match="because"):
        await conversation.say("hi", "m1", None)
    assert len(gateway.requests) == 1


async def test_a_refused_token_is_final(gateway: Gateway, conversation: Conversation) -> None:
    gateway.refuse = [401]
    with pytest.raises(ChatError, match="does not accept this token"):
        await conversation.say("hi", "m1", None)


async def test_a_gateway_that_stays_away_is_given_up(monkeypatch: pytest.MonkeyPatch, unused_tcp_port: int) -> None:
    monkeypatch.setattr(chat_client, "AWAY_SECONDS", 0.3)
    conversation = Conversation(f"http://127.0.0.1:{unused_tcp_port}", "oc_token", "terminal")
    with pytest.raises(ChatError, match="is away"):
        await asyncio.wait_for(conversation.say("hi", "m1", None), 5)
    for question in (conversation.history, conversation.stop):
        with pytest.raises(ChatError, match="is away"):
            await question()


async def test_what_is_no_url_is_told() -> None:
    with pytest.raises(ChatError, match="no URL"):
        await Conversation("nonsense", "oc_token", "terminal").say("hi", "m1", None)


def test_nothing_that_a_model_writes_controls_the_terminal() -> None:
    assert printable("a\x1b[2Jb\x07\x9b31m\r\n\tc\u202e") == "a[2Jb31m\n\tc"
