"""The WebSocket protocol over the real bus: docs/websocket.md, step by step."""

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import aiohttp
import pytest

from harness import BusServer
from opencrust.access import Scope
from opencrust_gateway.limits import Rate
from opencrust_gateway.settings import Limits
from simulators.web import RunningGateway, running_gateway


@pytest.fixture
async def gateway(bus_server: BusServer) -> AsyncIterator[RunningGateway]:
    async with running_gateway(bus_server) as running:
        yield running


class Client:
    """One connection that keeps events and answers apart."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self.socket = socket
        self.events: list[dict[str, Any]] = []
        self._next = 0

    async def frame(self) -> dict[str, Any]:
        message = await self.socket.receive(timeout=10)
        assert message.type is aiohttp.WSMsgType.TEXT, f"closed with {self.socket.close_code}: {message}"
        found: dict[str, Any] = json.loads(message.data)
        return found

    async def request(self, op: str, **params: Any) -> dict[str, Any]:
        self._next += 1
        request_id = f"r{self._next}"
        await self.socket.send_json({"type": "req", "id": request_id, "op": op, "params": params})
        while True:
            frame = await self.frame()
            if frame["type"] == "res" and frame["id"] == request_id:
                return frame
            self.events.append(frame)

    async def until(self, event: str) -> dict[str, Any]:
        while True:
            for found in self.events:
                if found["event"] == event:
                    return found
            self.events.append(await self.frame())

    async def close_code(self) -> int | None:
        while not self.socket.closed:
            message = await self.socket.receive(timeout=10)
            if message.type is aiohttp.WSMsgType.TEXT:
                continue
            break
        return self.socket.close_code


@pytest.fixture
async def client(gateway: RunningGateway) -> AsyncIterator[Client]:
    token, _ = await gateway.bearer()
    async with gateway.client(token) as session, session.ws_connect("/v1/ws") as socket:
        hello = await socket.receive_json()
        assert (hello["type"], hello["v"], hello["authenticated"], hello["owner"]) == ("hello", 1, True, "operator")
        yield Client(socket)


async def test_hello_tells_the_limits(gateway: RunningGateway) -> None:
    async with gateway.client() as session, session.ws_connect("/v1/ws") as socket:
        hello = await socket.receive_json()
    assert hello["authenticated"] is False
    assert "owner" not in hello
    assert hello["limits"]["frame_bytes_before_auth"] == 64 * 1024
    assert hello["limits"]["auth_seconds"] == 10


async def test_the_credential_may_come_in_the_first_frame(gateway: RunningGateway) -> None:
    token, _ = await gateway.bearer(Scope.READ)
    async with gateway.client() as session, session.ws_connect("/v1/ws") as socket:
        await socket.receive_json()
        await socket.send_json({"type": "auth", "token": token})
        assert await socket.receive_json() == {"type": "auth", "ok": True, "owner": "operator", "scopes": ["read"]}
        opened = await Client(socket).request("open", conversation="x")
        assert opened["result"] == {"conversation": "x", "history": [], "seq": 0, "running": []}


async def test_a_message_its_events_and_its_reply(client: Client) -> None:
    await client.request("open", conversation="main")
    sent = await client.request("send", conversation="main", text="hello", message_id="m1")
    assert sent["result"] == {"conversation": "main", "message_id": "m1", "duplicate": False}
    reply = await client.until("reply")
    assert (reply["message_id"], reply["text"], reply["finish"], reply["model"]) == (
        "m1",
        "echo: hello",
        "complete",
        "echo-1",
    )
    assert [event["event"] for event in client.events] == ["started", "delta", "delta", "delta", "finished", "reply"]
    assert [event for event in client.events if "seq" in event] == [reply]
    assert [event["index"] for event in client.events[:-1]] == [0, 1, 2, 3, 4]
    assert "".join(event.get("text", "") for event in client.events[1:4]) == "echo: hello"


async def test_open_tells_the_history(client: Client) -> None:
    for text in ("one", "two"):
        await client.request("send", conversation="main", text=text, message_id=text)
    while len([event for event in client.events if event["event"] == "reply"]) < 2:
        client.events.append(await client.frame())
    await asyncio.sleep(0.2)  # the stand-in for the agent writes the session after its reply
    opened = await client.request("open", conversation="main")
    turns = opened["result"]["history"]
    assert [(turn["message_id"], turn["user_text"], turn["text"]) for turn in turns] == [
        ("one", "one", "echo: one"),
        ("two", "two", "echo: two"),
    ]


async def test_order_within_a_conversation_is_the_order_of_sending(gateway: RunningGateway, client: Client) -> None:
    for number in range(40):
        params = {"conversation": "main", "text": str(number), "message_id": f"m{number}"}
        await client.socket.send_json({"type": "req", "id": str(number), "op": "send", "params": params})
    while len([frame for frame in client.events if frame.get("event") == "reply"]) < 40:
        client.events.append(await client.frame())
    assert [message.text for message in gateway.agent.seen] == [str(number) for number in range(40)]


async def test_a_repeated_message_is_a_duplicate_and_gets_the_answer_again(
    gateway: RunningGateway, client: Client
) -> None:
    await client.request("send", conversation="main", text="x", message_id="m1")
    await client.until("reply")
    await asyncio.sleep(0.2)
    again = await client.request("send", conversation="main", text="x", message_id="m1")
    assert again["result"]["duplicate"] is True
    assert again["result"]["reply"]["text"] == "echo: x"
    elsewhere = await client.request("send", conversation="other", text="y", message_id="m1")
    assert elsewhere["result"]["duplicate"] is False
    assert [message.text for message in gateway.agent.seen][:1] == ["x"]


async def test_a_duplicate_that_is_not_answered_yet_is_answered_once(gateway: RunningGateway, client: Client) -> None:
    gateway.agent.hold.clear()
    await client.request("send", conversation="main", text="x", message_id="m1")
    again = await client.request("send", conversation="main", text="x", message_id="m1")
    assert again["result"] == {"conversation": "main", "message_id": "m1", "duplicate": True}
    gateway.agent.hold.set()
    await client.until("reply")
    await client.request("ping")
    await asyncio.sleep(2.5)  # longer than the look at the session takes to come round
    await client.request("ping")
    assert len([event for event in client.events if event["event"] == "reply"]) == 1


async def test_an_id_that_was_answered_too_long_ago_is_said_and_not_waited_for(client: Client) -> None:
    for number in range(42):
        await client.request("send", conversation="main", text="x", message_id=f"m{number}")
    await asyncio.wait_for(_answered(client, "m41"), 30)
    repeated = await client.request("send", conversation="main", text="x", message_id="m0")
    assert repeated["ok"] is False
    assert repeated["error"]["code"] == "answered_before"
    again = await client.request("send", conversation="main", text="x", message_id="m41")
    assert again["result"]["reply"]["text"]


async def _answered(client: Client, message_id: str) -> None:
    while not any(e.get("event") == "reply" and e["message_id"] == message_id for e in client.events):
        client.events.append(await client.frame())


async def test_a_reply_that_was_missed_is_found_in_the_session(gateway: RunningGateway, client: Client) -> None:
    gateway.agent.silent = True
    await client.request("send", conversation="main", text="x", message_id="m1")
    assert (await client.until("reply"))["text"] == "echo: x"
    assert [event["event"] for event in client.events] == ["reply"]


async def test_stop_is_published_out_of_band(gateway: RunningGateway, client: Client) -> None:
    assert (await client.request("stop", conversation="main"))["ok"] is True
    async with asyncio.timeout(2):
        while not gateway.agent.stops:
            await asyncio.sleep(0.01)


async def test_everything_accepted_is_answered_once_while_the_bus_is_killed(
    gateway: RunningGateway, bus_server: BusServer, client: Client
) -> None:
    accepted: set[str] = set()
    for number in range(60):
        message_id = f"m{number}"
        params = {"conversation": f"c{number % 5}", "text": message_id, "message_id": message_id}
        if number in (20, 40):
            bus_server.restart()
        while True:
            answer = await client.request("send", **params)
            if answer["ok"]:
                accepted.add(message_id)
                break
            assert answer["error"]["code"] == "bus_unavailable"
            await asyncio.sleep(0.2)
    async with asyncio.timeout(60):
        while {event["message_id"] for event in client.events if event["event"] == "reply"} != accepted:
            client.events.append(await client.frame())
    replies = [event["message_id"] for event in client.events if event["event"] == "reply"]
    assert len(replies) == len(set(replies)) == 60


async def test_a_revoked_token_drops_its_connection_within_a_second(gateway: RunningGateway) -> None:
    token, record = await gateway.bearer()
    other, _ = await gateway.bearer()
    async with (
        gateway.client(token) as session,
        session.ws_connect("/v1/ws") as socket,
        gateway.client(other) as bystander,
        bystander.ws_connect("/v1/ws") as kept,
    ):
        await socket.receive_json()
        await gateway.tokens.remove(record.id)
        async with asyncio.timeout(1):
            assert (await socket.receive()).type is aiohttp.WSMsgType.CLOSE
        assert socket.close_code == 4403
        async with session.get("/v1/models") as answer:
            assert answer.status == 401
        assert (await kept.receive_json())["authenticated"] is True
        assert (await Client(kept).request("ping"))["ok"] is True


async def test_an_expired_token_drops_its_connection(gateway: RunningGateway) -> None:
    token, _ = await gateway.bearer(expires=timedelta(seconds=1.5))
    async with gateway.client(token) as session, session.ws_connect("/v1/ws") as socket:
        assert await Client(socket).close_code() == 4403


async def test_a_token_without_read_hears_only_of_its_own_messages(gateway: RunningGateway, client: Client) -> None:
    token, _ = await gateway.bearer(Scope.CHAT)
    async with gateway.client(token) as session, session.ws_connect("/v1/ws") as socket:
        writer = Client(socket)
        await writer.frame()
        refused = await writer.request("open", conversation="main")
        assert refused["error"]["code"] == "scope_missing"
        await writer.request("send", conversation="main", text="mine", message_id="mine")
        await writer.until("reply")
        await client.request("send", conversation="main", text="theirs", message_id="theirs")
        await client.until("reply")
        await writer.request("ping")
        assert {event["message_id"] for event in writer.events} == {"mine"}


async def test_another_owner_does_not_reach_the_conversation(gateway: RunningGateway, client: Client) -> None:
    await client.request("send", conversation="main", text="secret", message_id="m1")
    await client.until("reply")
    await asyncio.sleep(0.2)
    token, _ = await gateway.bearer(owner="guest")
    async with gateway.client(token) as session, session.ws_connect("/v1/ws") as socket:
        guest = Client(socket)
        await guest.frame()
        assert (await guest.request("open", conversation="main"))["result"]["history"] == []
        await client.request("send", conversation="main", text="more", message_id="m2")
        await guest.request("ping")
        assert guest.events == []


async def test_a_client_that_does_not_read_is_dropped(bus_server: BusServer) -> None:
    limits = Limits(outgoing_frames=50, outgoing_bytes=256 * 1024)
    async with running_gateway(bus_server, limits=limits) as gateway:
        gateway.agent.answer = lambda message: "x" * 60_000
        token, _ = await gateway.bearer()
        async with gateway.client(token) as session, session.ws_connect("/v1/ws") as socket:
            stuck = Client(socket)
            await stuck.frame()
            transport = socket._response.connection.transport  # type: ignore[union-attr]
            await stuck.request("open", conversation="main")
            transport.pause_reading()  # type: ignore[union-attr]
            writer_token, _ = await gateway.bearer(Scope.CHAT)
            async with gateway.client(writer_token) as other, other.ws_connect("/v1/ws") as second:
                writer = Client(second)
                await writer.frame()
                number = 0
                while gateway.gateway.facts()["sockets"] == 2:
                    assert number < 600, "the slow client was never dropped"  # ~10 MB lie in the kernel's buffers
                    await writer.request("send", conversation="main", text="go", message_id=str(number))
                    while not any(e["event"] == "reply" and e["message_id"] == str(number) for e in writer.events):
                        writer.events.append(await writer.frame())
                    number += 1
                assert (await writer.request("ping"))["ok"] is True


async def test_a_flood_of_frames_is_refused_by_name(bus_server: BusServer) -> None:
    limits = Limits(frames=Rate(burst=5, per_second=1))
    async with running_gateway(bus_server, limits=limits) as gateway:
        token, _ = await gateway.bearer()
        async with gateway.client(token) as session, session.ws_connect("/v1/ws") as socket:
            flood = Client(socket)
            await flood.frame()
            answers = [await flood.request("ping") for _ in range(8)]
    assert [answer["ok"] for answer in answers] == [True] * 5 + [False] * 3
    assert answers[-1]["error"]["code"] == "rate_limited"
    assert answers[-1]["error"]["retry_after"] > 0


async def test_server_sent_events_tell_the_same(gateway: RunningGateway, client: Client) -> None:
    token, _ = await gateway.bearer(Scope.READ)
    async with gateway.client(token) as session, session.get("/v1/conversations/main/events") as answer:
        assert answer.headers["Content-Type"].startswith("text/event-stream")
        lines = answer.content
        first = json.loads((await lines.readline()).removeprefix(b"data: "))
        assert first == {"type": "history", "conversation": "main", "history": []}
        await client.request("send", conversation="main", text="hello", message_id="m1")
        seen: list[dict[str, Any]] = []
        while not seen or seen[-1]["event"] != "reply":
            line = await asyncio.wait_for(lines.readline(), 5)
            if line.startswith(b"data: "):
                seen.append(json.loads(line.removeprefix(b"data: ")))
    assert [event["event"] for event in seen] == [
        "message",
        "started",
        "delta",
        "delta",
        "delta",
        "finished",
        "reply",
    ]
    assert [event["seq"] > 0 for event in seen if "seq" in event] == [True]
