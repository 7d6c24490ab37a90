"""Coming back: resume without gap or duplicate, across restarts and replicas; presence; approvals; files; stop."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest

from harness import BusServer
from opencrust.access import Scope
from opencrust.bus import Message, subjects
from opencrust.contracts import (
    ApprovalsReply,
    ApprovalState,
    Decision,
    decode,
    encode,
)
from opencrust_gateway.settings import Limits
from simulators.web import RunningGateway, approval, running_gateway


class Client:
    """One connection; `events` are in the order of their coming."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self.socket = socket
        self.events: list[dict[str, Any]] = []
        self._next = 0

    async def ask(self, op: str, **params: Any) -> dict[str, Any]:
        self._next += 1
        number = str(self._next)
        await self.socket.send_json({"type": "req", "id": number, "op": op, "params": params})
        while True:
            frame: dict[str, Any] = await self.socket.receive_json(timeout=10)
            if frame["type"] == "res" and frame["id"] == number:
                return frame
            self.events.append(frame)

    async def result(self, op: str, **params: Any) -> dict[str, Any]:
        answer = await self.ask(op, **params)
        assert answer["ok"], answer
        found: dict[str, Any] = answer["result"]
        return found

    async def until(self, event: str, message_id: str | None = None) -> dict[str, Any]:
        while True:
            for one in self.events:
                if one["event"] == event and message_id in (None, one.get("message_id")):
                    return one
            self.events.append(await self.socket.receive_json(timeout=10))

    def replies(self) -> list[str]:
        return [one["message_id"] for one in self.events if one["event"] == "reply"]


@asynccontextmanager
async def connected(gateway: RunningGateway, token: str) -> AsyncIterator[Client]:
    async with gateway.client(token) as session, session.ws_connect("/v1/ws") as socket:
        await socket.receive_json()
        yield Client(socket)


@pytest.fixture
async def gateway(bus_server: BusServer) -> AsyncIterator[RunningGateway]:
    async with running_gateway(bus_server) as running:
        yield running


async def say(client: Client, *ids: str, text: str = "x", conversation: str = "main") -> None:
    for message_id in ids:
        await client.result("send", conversation=conversation, text=text, message_id=message_id)
        await client.until("reply", message_id)


async def test_resume_tells_what_came_after_and_nothing_else(gateway: RunningGateway) -> None:
    token, _ = await gateway.bearer()
    async with connected(gateway, token) as client:
        await say(client, "m1", "m2", "m3")
        seqs = [one["seq"] for one in client.events if one["event"] == "reply"]
        assert seqs == sorted(set(seqs))
        await asyncio.sleep(0.2)  # the stand-in for the agent writes the session after its reply
    async with connected(gateway, token) as client:
        back = await client.result("resume", conversation="main", after=seqs[0])
        assert [turn["message_id"] for turn in back["history"]] == ["m2", "m3"]
        assert [turn["seq"] for turn in back["history"]] == seqs[1:]
        assert (back["seq"], back["more"], back["whole"]) == (seqs[2], False, True)
        again = await client.result("resume", conversation="main", after=back["seq"])
        assert (again["history"], again["seq"]) == ([], seqs[2])
        await say(client, "m4")
        assert client.replies() == ["m4"]
        opened = await client.result("open", conversation="main")
        assert opened["history"][0]["seq"] == seqs[0]


async def test_what_the_session_has_dropped_is_read_from_the_log(gateway: RunningGateway) -> None:
    gateway.agent.answer = lambda message: message.text * 6_000  # so a session holds some eight turns
    token, _ = await gateway.bearer()
    ids = [f"m{number}" for number in range(20)]
    async with connected(gateway, token) as client:
        await say(client, "first", text="a", conversation="other")
        await say(client, *ids, text="b")
        await say(client, "last", text="a", conversation="other")
        await asyncio.sleep(0.3)
    async with connected(gateway, token) as client:
        opened = await client.result("open", conversation="main")
        assert 0 < len(opened["history"]) < 15
        seqs = {one["message_id"]: one["seq"] for one in opened["history"]}
        back = await client.result("resume", conversation="main", after=0)
        assert [turn["message_id"] for turn in back["history"]] == ids
        assert {turn["text"] for turn in back["history"]} == {"b" * 6_000}
        assert back["whole"] is True
        middle = back["history"][4]["seq"]
        rest = await client.result("resume", conversation="main", after=middle)
        assert [turn["message_id"] for turn in rest["history"]] == ids[5:]
        newest = await client.result("resume", conversation="main", after=seqs[ids[-2]])
        assert [turn["message_id"] for turn in newest["history"]] == ids[-1:]


async def test_a_long_absence_is_read_page_by_page(gateway: RunningGateway, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("opencrust_gateway.weblog.MOST", 5)
    gateway.agent.answer = lambda message: "b" * 12_000
    token, _ = await gateway.bearer()
    ids = [f"m{number}" for number in range(18)]
    async with connected(gateway, token) as client:
        await say(client, *ids)
        await asyncio.sleep(0.3)
    async with connected(gateway, token) as client:
        seen: list[str] = []
        after, more, pages = 0, True, 0
        while more:
            back = await client.result("resume", conversation="main", after=after)
            seen += [turn["message_id"] for turn in back["history"]]
            after, more, pages = back["seq"], back["more"], pages + 1
        assert seen == ids
        assert pages >= 3


async def test_two_replicas_show_the_same_and_either_may_go(gateway: RunningGateway, bus_server: BusServer) -> None:
    token, _ = await gateway.bearer()
    async with running_gateway(bus_server, answering=False) as second:
        async with connected(gateway, token) as here, connected(second, token) as there:
            for client in (here, there):
                await client.result("open", conversation="main")
            await say(here, "m1", text="from here")
            assert (await there.until("reply", "m1"))["text"] == "echo: from here"
            assert (await there.until("message", "m1"))["text"] == "from here"
            await say(there, "m2")
            await here.until("reply", "m2")
            await here.result("ping")
            assert here.replies() == there.replies() == ["m1", "m2"]
            assert [one["message_id"] for one in here.events if one["event"] == "message"] == ["m2"]
            duplicate = await there.result("send", conversation="main", text="from here", message_id="m1")
            assert duplicate["duplicate"] is True
            seq = (await here.until("reply", "m1"))["seq"]
            assert seq == (await there.until("reply", "m1"))["seq"]
            await asyncio.sleep(0.2)
        async with connected(second, token) as elsewhere:  # resumed on the other one
            back = await elsewhere.result("resume", conversation="main", after=seq)
            assert [turn["message_id"] for turn in back["history"]] == ["m2"]


async def test_a_token_revoked_through_one_replica_is_dropped_by_the_other(
    gateway: RunningGateway, bus_server: BusServer
) -> None:
    token, record = await gateway.bearer()
    admin, _ = await gateway.bearer()
    async with running_gateway(bus_server, answering=False) as second, connected(second, token) as client:
        async with gateway.client(admin) as session, session.delete(f"/v1/tokens/{record.id}") as answer:
            assert answer.status in (200, 204)
        message = await client.socket.receive(timeout=1)
        assert (message.type, message.data) == (aiohttp.WSMsgType.CLOSE, 4403)


async def test_a_client_that_comes_in_the_middle_sees_the_turn_that_runs(gateway: RunningGateway) -> None:
    gateway.agent.hold.clear()
    token, _ = await gateway.bearer()
    async with connected(gateway, token) as writer, connected(gateway, token) as reader:
        await writer.result("send", conversation="main", text="a long question", message_id="m1")
        await writer.until("delta")
        opened = await reader.result("open", conversation="main")
        (running,) = opened["running"]
        assert (running["message_id"], running["user_text"]) == ("m1", "a long question")
        assert (running["attempt"], running["complete"]) == (1, True)
        assert "echo: a long question".startswith(running["text"])
        assert running["text"]
        gateway.agent.hold.set()
        await reader.until("reply", "m1")
        first = next(one for one in reader.events if one["event"] == "delta")
        assert first["index"] == running["index"] + 1
        assert (await reader.result("open", conversation="main"))["running"] == []
        quiet = await reader.result("open", conversation="quiet")
        assert quiet["running"] == []


async def test_stop_as_text_is_carried_out_and_not_passed_on(gateway: RunningGateway) -> None:
    token, _ = await gateway.bearer()
    async with connected(gateway, token) as client:
        sent = await client.result("send", conversation="main", text=" /STOP ", message_id="m1")
        assert sent["stopped"] is True
    async with gateway.client(token) as session:
        body = {"user": "main", "messages": [{"role": "user", "content": "/stop"}]}
        async with session.post("/v1/chat/completions", json=body) as answer:
            assert (await answer.json())["choices"][0]["message"]["content"] == "Stopped."
        async with session.post("/v1/chat/completions", json=body | {"stream": True}) as answer:
            assert "data: [DONE]" in await answer.text()
    async with asyncio.timeout(2):
        while len(gateway.agent.stops) < 3:
            await asyncio.sleep(0.01)
    assert gateway.agent.seen == []


async def test_files_go_along_with_a_message_if_they_are_the_senders(gateway: RunningGateway) -> None:
    token, _ = await gateway.bearer()
    other, _ = await gateway.bearer(owner="bob")
    async with gateway.client(token) as session:
        headers = {"Content-Type": "image/png", "X-File-Name": "cat.png"}
        async with session.post("/v1/attachments", data=b"meow", headers=headers) as answer:
            ref = await answer.json()
    async with connected(gateway, token) as client, connected(gateway, token) as reader:
        await reader.result("open", conversation="main")
        lie = {**ref, "size": 1, "media_type": "text/html", "name": "x"}
        await client.result("send", conversation="main", message_id="m1", attachments=[lie])
        told = await reader.until("message", "m1")
        assert told["attachments"] == [ref]
        await client.until("reply", "m1")
        refused = await client.ask("send", conversation="main", attachments=[{"sha256": "0" * 64}])
        assert refused["error"]["code"] == "unknown_attachment"
        assert (await client.ask("send", conversation="main"))["error"]["code"] == "invalid_params"
    async with connected(gateway, other) as stranger:
        refused = await stranger.ask("send", conversation="main", text="give", attachments=[ref])
        assert refused["error"]["code"] == "unknown_attachment"
    (message,) = gateway.agent.seen
    assert [(one.sha256, one.size, one.media_type) for one in message.attachments] == [(ref["sha256"], 4, "image/png")]


async def test_approvals_are_told_to_whom_they_concern_and_decided_over_the_socket(
    gateway: RunningGateway, bus_server: BusServer
) -> None:
    agent = await bus_server.connect("agent")
    token, _ = await gateway.bearer()
    bobs, _ = await gateway.bearer(owner="bob")
    deaf, _ = await gateway.bearer(Scope.CHAT)
    mine, his = approval("operator", "a"), approval("bob", "b")

    async def serve(message: Message) -> None:
        word = decode(Decision, message.data)
        decided = his.model_copy(update={"state": ApprovalState.APPROVED if word.approve else ApprovalState.DENIED})
        await agent.kv("approvals").put(decided.card.id, encode(decided))
        await agent.respond(message, encode(ApprovalsReply(approvals=[decided])))

    await agent.subscribe(subjects.wildcard(subjects.CTL_APPROVALS), serve, queue="agent")
    async with (
        connected(gateway, token) as operator,
        connected(gateway, bobs) as bob,
        connected(gateway, deaf) as chatter,
    ):
        for one in (mine, his):
            await agent.kv("approvals").put(one.card.id, encode(one))
        assert (await bob.until("approval"))["approval"]["card"]["id"] == "b" * 16
        while len(operator.events) < 2:
            operator.events.append(await operator.socket.receive_json(timeout=5))
        assert [one["conversation"] for one in operator.events] == ["main", None]
        assert (await bob.ask("approve", id="a" * 16, approve=True))["error"]["code"] == "not_found"
        assert (await bob.ask("approve", id="b" * 16, approve="no"))["error"]["code"] == "invalid_params"
        done = await bob.result("approve", id="b" * 16, approve=False)
        assert done["approval"]["state"] == "denied"
        while len(bob.events) < 2:
            bob.events.append(await bob.socket.receive_json(timeout=5))
        assert [one["approval"]["state"] for one in bob.events] == ["pending", "denied"]
        assert (await chatter.ask("approve", id="b" * 16, approve=True))["error"]["code"] == "scope_missing"
        await chatter.result("ping")
        assert chatter.events == []


async def test_server_sent_events_resume_by_the_id_of_the_last_one(gateway: RunningGateway) -> None:
    token, _ = await gateway.bearer()
    async with connected(gateway, token) as client:
        await say(client, "m1", "m2")
        await asyncio.sleep(0.2)
        seq = next(one["seq"] for one in client.events if one["event"] == "reply")
    async with gateway.client(token) as session:
        headers = {"Last-Event-ID": str(seq)}
        async with session.get("/v1/conversations/main/events", headers=headers) as answer:
            first = json.loads((await answer.content.readline()).removeprefix(b"data: "))
            assert [turn["message_id"] for turn in first["history"]] == ["m2"]
        for wrong in ("x", "-1", "9" * 30):
            async with session.get("/v1/conversations/main/events", headers={"Last-Event-ID": wrong}) as answer:
                assert answer.status == 400


async def test_a_client_that_was_dropped_for_being_slow_resumes_whole(bus_server: BusServer) -> None:
    limits = Limits(outgoing_frames=200, outgoing_bytes=256 * 1024)
    async with running_gateway(bus_server, limits=limits) as gateway:
        gateway.agent.answer = lambda message: "x" * 40_000
        token, _ = await gateway.bearer()
        ids: list[str] = []
        async with connected(gateway, token) as slow, connected(gateway, token) as writer:
            await slow.result("open", conversation="main")
            transport = slow.socket._response.connection.transport  # type: ignore[union-attr]
            transport.pause_reading()  # type: ignore[union-attr]
            while gateway.gateway.facts()["sockets"] == 2:
                assert len(ids) < 600
                ids.append(f"m{len(ids)}")
                await say(writer, ids[-1])
            transport.resume_reading()  # type: ignore[union-attr]
            seen: list[tuple[str, int]] = []
            with contextlib.suppress(TypeError):  # until its end
                while True:
                    frame = await slow.socket.receive_json(timeout=5)
                    if frame["event"] == "reply":
                        seen.append((frame["message_id"], frame["seq"]))
        async with connected(gateway, token) as slow:
            after, more = seen[-1][1] if seen else 0, True
            while more:
                back = await slow.result("resume", conversation="main", after=after)
                seen += [(turn["message_id"], turn["seq"]) for turn in back["history"]]
                after, more = back["seq"], back["more"]
            assert [one for one, _ in seen] == ids


async def test_a_message_says_whether_its_token_may_approve(gateway: RunningGateway) -> None:
    """Or a token that may only chat would approve by writing /approve."""
    for scopes in ((Scope.CHAT,), (Scope.CHAT, Scope.APPROVE)):
        token, _ = await gateway.bearer(*scopes)
        async with connected(gateway, token) as client:
            await client.result("send", conversation="main", text="/approve " + "a" * 16)
        async with gateway.client(token) as session:
            body = {"messages": [{"role": "user", "content": "/approve"}]}
            async with session.post("/v1/chat/completions", json=body) as answer:
                assert answer.status == 200
    assert [message.may_approve for message in gateway.agent.seen] == [False, False, True, True]
