"""The gateway's REST rows over the real bus."""

import asyncio
import hashlib
import io
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import aiohttp
import pytest

from harness import BusServer
from opencrust.access import Scope
from opencrust.bus import Message, subjects
from opencrust.bus.health import Health
from opencrust.contracts import (
    Approval,
    ApprovalCard,
    ApprovalsReply,
    ApprovalState,
    Decision,
    ReplyAddress,
    decode,
    encode,
)
from opencrust.contracts.plugins import PluginGrant, PluginRecord, PluginRequest, PluginsReply, PluginTool
from opencrust_gateway.limits import Rate
from opencrust_gateway.settings import Limits
from simulators.web import RunningGateway, running_gateway

ID = "abcdefghijklmnop"


@pytest.fixture
async def gateway(bus_server: BusServer) -> AsyncIterator[RunningGateway]:
    async with running_gateway(bus_server) as running:
        yield running


async def get(session: aiohttp.ClientSession, path: str, status: int = 200) -> Any:
    async with session.get(path) as answer:
        assert answer.status == status, await answer.text()
        return await answer.json()


async def post(session: aiohttp.ClientSession, path: str, status: int = 200, **body: Any) -> Any:
    async with session.post(path, json=body) as answer:
        assert answer.status == status, await answer.text()
        return await answer.json()


# -- conversations


async def say(session: aiohttp.ClientSession, conversation: str, text: str, **more: Any) -> dict[str, Any]:
    async with session.ws_connect("/v1/ws") as socket:
        await socket.receive_json()
        params = {"conversation": conversation, "text": text, **more}
        await socket.send_json({"type": "req", "id": "1", "op": "send", "params": params})
        while (frame := await socket.receive_json(timeout=5))["type"] != "res":
            pass
        return dict(frame)


async def test_conversations_are_listed_by_name_the_latest_first_and_for_their_owner_alone(
    gateway: RunningGateway,
) -> None:
    token, _ = await gateway.bearer()
    other, _ = await gateway.bearer(owner="bob.b")
    async with gateway.client(token) as session:
        assert await get(session, "/v1/conversations") == {"conversations": []}
        await say(session, "Einkauf & Küche", "was\nbrauchen  wir? " + "x" * 100)
        await say(session, "second", "hello")
        await say(session, "second", "not the title")
        async with session.post("/v1/chat/completions", json={"messages": [{"role": "user", "content": "q"}]}) as one:
            assert one.status == 200
        listed = (await get(session, "/v1/conversations"))["conversations"]
        assert [one["name"] for one in listed] == ["second", "Einkauf & Küche"]
        assert [one["title"] for one in listed] == ["hello", ("was brauchen wir? " + "x" * 100)[:60]]
        assert (await get(session, "/v1/conversations/second"))["conversation"] == "second"
    async with gateway.client(other) as session:
        assert await get(session, "/v1/conversations") == {"conversations": []}
        assert (await get(session, "/v1/conversations/second"))["history"] == []


# -- attachments


async def upload(session: aiohttp.ClientSession, data: bytes, media_type: str, name: str = "x") -> tuple[int, Any]:
    headers = {"Content-Type": media_type, "X-File-Name": name}
    async with session.post("/v1/attachments", data=io.BytesIO(data), headers=headers) as answer:
        return answer.status, await answer.json()


async def test_a_file_goes_in_with_a_message_and_comes_back_to_be_saved(gateway: RunningGateway) -> None:
    token, _ = await gateway.bearer()
    data = bytes(range(256)) * 5_000  # more than one part
    async with gateway.client(token) as session:
        status, ref = await upload(session, data, "image/png", "caf%C3%A9.png")
        assert (status, ref["sha256"], ref["size"]) == (201, hashlib.sha256(data).hexdigest(), len(data))
        async with session.get(f"/v1/attachments/{ref['sha256']}") as answer:
            assert await answer.read() == data
            assert answer.headers["Content-Type"] == "image/png"
            assert answer.headers["Content-Disposition"] == "attachment; filename*=UTF-8''caf%C3%A9.png"
            assert answer.headers["X-Content-Type-Options"] == "nosniff"
            assert "default-src 'none'" in answer.headers["Content-Security-Policy"]


@pytest.mark.parametrize("media_type", ["image/svg+xml", "text/html", "application/xml", "text/javascript"])
async def test_what_a_browser_would_run_comes_back_as_plain_bytes(gateway: RunningGateway, media_type: str) -> None:
    token, _ = await gateway.bearer()
    async with gateway.client(token) as session:
        _, ref = await upload(session, b"<svg onload=alert(1)>", media_type)
        async with session.get(f"/v1/attachments/{ref['sha256']}") as answer:
            assert answer.headers["Content-Type"] == "application/octet-stream"
            assert answer.headers["Content-Disposition"].startswith("attachment")


async def test_files_are_their_owners_and_bounded(bus_server: BusServer) -> None:
    limits = Limits(attachment=1_000, uploads=Rate(burst=6, per_second=0.001))
    async with running_gateway(bus_server, limits=limits) as gateway:
        token, _ = await gateway.bearer()
        other, _ = await gateway.bearer(owner="bob")
        async with gateway.client(token) as session, gateway.client(other) as stranger:
            _, ref = await upload(session, b"mine", "text/plain")
            assert (await get(stranger, f"/v1/attachments/{ref['sha256']}", 404))["error"]["code"] == "not_found"
            await get(session, f"/v1/attachments/{'0' * 64}", 404)
            await get(session, "/v1/attachments/..", 404)
            assert (await upload(session, b"x" * 1_001, "text/plain"))[0] == 413
            assert (await upload(session, b"", "text/plain"))[0] == 400
            assert (await upload(session, b"MZ", "application/x-msdownload"))[0] == 415

            async def endless() -> AsyncIterator[bytes]:
                for _ in range(64):
                    yield b"x" * 100

            headers = {"Content-Type": "text/plain"}
            async with session.post("/v1/attachments", data=endless(), headers=headers) as answer:
                assert answer.status == 413  # no Content-Length to go by
            await upload(session, b"more", "text/plain")
            assert (await upload(session, b"more", "text/plain"))[0] == 429


# -- health


async def test_health_tells_every_service_and_replica(gateway: RunningGateway, bus_server: BusServer) -> None:
    token, _ = await gateway.bearer(Scope.READ)
    agent = await bus_server.connect("agent")
    telegram = await bus_server.connect("channel-telegram")
    for bus, name in ((gateway.bus, "gateway-1"), (agent, "agent-1")):
        await Health(bus, "0.1.0", name, lambda: True, lambda: {"turns": 3}).start()
    for name, role in (("telegram-1", "active"), ("telegram-2", "standby")):
        facts = {"role": role, "deaf": False}
        await Health(telegram, "0.1.0", name, lambda: True, lambda facts=facts: dict(facts)).start()  # type: ignore[misc]
    async with gateway.client(token) as session:
        health = await get(session, "/v1/health")
        services = {one["name"]: one for one in health["services"]}
        assert [one["instance"] for one in services["channel-telegram"]["replicas"]] == ["telegram-1", "telegram-2"]
        assert [one["role"] for one in services["channel-telegram"]["replicas"]] == ["active", "standby"]
        assert services["gateway"]["replicas"][0]["instance"] == "gateway-1"
        assert services["agent"]["replicas"][0]["facts"] == {"turns": 3}
        assert services["vault"] == {"name": "vault", "ready": False, "replicas": []}
        assert health["ready"] is False
        assert "channel-discord" not in services
        channels = {one["name"]: one for one in (await get(session, "/v1/channels"))["channels"]}
        assert (channels["telegram"]["configured"], len(channels["telegram"]["replicas"])) == (True, 2)
        assert (channels["discord"]["configured"], channels["discord"]["replicas"]) == (False, [])


async def test_a_channel_that_is_set_up_and_silent_is_missed(gateway: RunningGateway, bus_server: BusServer) -> None:
    provisioner = await bus_server.connect("provisioner")
    await provisioner.kv("cfg").put("channel-slack.settings", b'{"name": "slack"}')
    await provisioner.kv("cfg").put("channel-discord.settings", b"null")
    await provisioner.kv("cfg").put("channel-whatsapp.settings", b'{"name": "whatsapp", "enabled": false}')
    token, _ = await gateway.bearer(Scope.READ)
    async with gateway.client(token) as session:
        services = {one["name"]: one for one in (await get(session, "/v1/health"))["services"]}
        assert services["channel-slack"] == {"name": "channel-slack", "ready": False, "replicas": []}
        assert not {"channel-discord", "channel-whatsapp"} & services.keys()


# -- approvals


def approval(owner: str = "operator", channel: str = "web", approval_id: str = ID) -> Approval:
    at = datetime.now(UTC)
    card = ApprovalCard(id=approval_id, tool="mail.send", lines=["to: a@example.org"], expires=at + timedelta(hours=1))
    address = ReplyAddress(channel=channel, account=owner, conversation="main")
    return Approval(card=card, address=address, requester=owner, digest="0" * 64, created=at)


@asynccontextmanager
async def approver(bus_server: BusServer, *known: Approval) -> AsyncIterator[list[Decision]]:
    """A stand-in for the agent's side of ctl.approvals."""
    bus = await bus_server.connect("agent")
    decided: list[Decision] = []
    for one in known:
        await bus.kv("approvals").put(one.card.id, encode(one))

    async def serve(message: Message) -> None:
        if message.subject.endswith(".list"):
            reply = ApprovalsReply(approvals=list(known))
        else:
            word = decode(Decision, message.data)
            found = next((one for one in known if one.card.id == word.id), None)
            if found is None:
                reply = ApprovalsReply(error="there is no such approval")
            elif decided:
                reply = ApprovalsReply(approvals=[found], error="it was decided already")
            else:
                decided.append(word)
                state = ApprovalState.APPROVED if word.approve else ApprovalState.DENIED
                reply = ApprovalsReply(approvals=[found.model_copy(update={"state": state})])
        await bus.respond(message, encode(reply))

    await bus.subscribe(subjects.wildcard(subjects.CTL_APPROVALS), serve, queue="agent")
    yield decided


async def test_the_operator_sees_all_approvals_and_decides_once(gateway: RunningGateway, bus_server: BusServer) -> None:
    token, _ = await gateway.bearer()
    async with approver(bus_server, approval("bot-1", "telegram")) as decided, gateway.client(token) as session:
        (waiting,) = (await get(session, "/v1/approvals"))["approvals"]
        assert (waiting["card"]["id"], waiting["state"]) == (ID, "pending")
        (one,) = (await post(session, f"/v1/approvals/{ID}", approve=True))["approvals"]
        assert one["state"] == "approved"
        assert decided == [Decision(id=ID, approve=True, by="web:operator")]
        again = await post(session, f"/v1/approvals/{ID}", 409, approve=False)
        assert again["error"]["code"] == "not_decided"
        await post(session, f"/v1/approvals/{'z' * 16}", 404, approve=True)
        await post(session, "/v1/approvals/x", 404, approve=True)
        await post(session, f"/v1/approvals/{ID}", 400, approve="yes")
        await post(session, f"/v1/approvals/{ID}", 400, approve=True, by="somebody")


async def test_another_owner_sees_and_decides_his_own_alone(gateway: RunningGateway, bus_server: BusServer) -> None:
    token, _ = await gateway.bearer(owner="bob")
    mine, theirs = approval("bob", approval_id="b" * 16), approval("operator")
    async with approver(bus_server, mine, theirs) as decided, gateway.client(token) as session:
        listed = (await get(session, "/v1/approvals"))["approvals"]
        assert [one["card"]["id"] for one in listed] == ["b" * 16]
        await post(session, f"/v1/approvals/{ID}", 404, approve=True)
        assert decided == []
        await post(session, f"/v1/approvals/{'b' * 16}", approve=True)
        assert decided[0].by == "web:bob"


async def test_what_nobody_serves_is_said(gateway: RunningGateway) -> None:
    token, _ = await gateway.bearer()
    async with gateway.client(token) as session:
        for path in ("/v1/approvals", "/v1/plugins"):
            refused = await get(session, path, 503)
            assert refused["error"]["code"] == "not_served"
            assert "agent" in refused["error"]["message"]


# -- plugins


async def test_plugins_are_listed_and_changed_through_the_agent(gateway: RunningGateway, bus_server: BusServer) -> None:
    token, _ = await gateway.bearer()
    bus = await bus_server.connect("agent")
    asked: list[tuple[str, PluginRequest]] = []
    digest = "0" * 64
    grant = PluginGrant(
        version="1.2.0",
        wasm=digest,
        size=1,
        manifest="secret of nobody",
        description=digest,
        consent=digest,
        tools=[PluginTool(name="forecast", description="The weather.", parameters={}, effects=["read"])],
        permissions=["It may read from api.example.org."],
        at=datetime.now(UTC),
    )
    known = PluginRecord(name="weather", current=grant)

    async def serve(message: Message) -> None:
        op, question = message.subject.rsplit(".", 1)[1], decode(PluginRequest, message.data)
        asked.append((op, question))
        missing = question.name not in ("", "weather")
        reply = PluginsReply(error="there is no such plugin") if missing else PluginsReply(plugins=[known])
        await bus.respond(message, encode(reply))

    await bus.subscribe(subjects.wildcard(subjects.CTL_PLUGINS), serve, queue="agent")
    async with gateway.client(token) as session:
        (one,) = (await get(session, "/v1/plugins"))["plugins"]
        assert (one["name"], one["version"], one["enabled"]) == ("weather", "1.2.0", True)
        assert one["sentences"] == ["It may read from api.example.org."]
        assert one["tools"] == [{"name": "forecast", "description": "The weather.", "effects": ["read"]}]
        await post(session, "/v1/plugins/weather/disable")
        await post(session, "/v1/plugins/missing/enable", 409)
        await post(session, f"/v1/plugins/{'x' * 65}/enable", 404)
        async with session.delete("/v1/plugins/weather") as answer:
            assert answer.status == 200
    assert [op for op, _ in asked] == ["list", "disable", "enable", "remove"]
    assert (asked[1][1].name, asked[1][1].by) == ("weather", "web:operator")


# -- audit and settings


async def test_the_record_is_read_in_pages_newest_first(gateway: RunningGateway, bus_server: BusServer) -> None:
    agent = await bus_server.connect("agent")
    for number in range(130):
        await agent.publish_stored(subjects.audit("agent"), json.dumps({"event": "tool", "number": number}).encode())
    await gateway.bus.publish_stored(subjects.audit("gateway"), b"not json")
    token, _ = await gateway.bearer()
    async with gateway.client(token) as session:
        page = await get(session, "/v1/audit?limit=3")
        assert [one["service"] for one in page["records"]] == ["gateway", "agent", "agent"]
        assert "unreadable" in page["records"][0]["record"]
        assert page["records"][1]["record"]["number"] == 129
        seen: list[int] = []
        following: int | None = None
        while True:
            more = f"&before={following}" if following else ""
            page = await get(session, f"/v1/audit?service=agent&limit=50{more}")
            seen += [one["record"]["number"] for one in page["records"]]
            following = page["next"]
            if following is None:
                break
        assert seen == list(range(129, -1, -1))
        assert (await get(session, "/v1/audit?limit=0", 400))["error"]["code"] == "invalid_query"
        await get(session, "/v1/audit?page=1", 400)
        await get(session, "/v1/audit?limit=1&limit=2", 400)


async def test_an_empty_record_is_an_empty_page(gateway: RunningGateway) -> None:
    token, _ = await gateway.bearer()
    async with gateway.client(token) as session:
        assert await get(session, "/v1/audit") == {"records": [], "next": None}


async def test_settings_are_told_as_they_are(gateway: RunningGateway, bus_server: BusServer) -> None:
    provisioner = await bus_server.connect("provisioner")
    await provisioner.kv("cfg").put("agent.settings", b'{"slots": 4}')
    token, _ = await gateway.bearer()
    async with gateway.client(token) as session:
        settings = await get(session, "/v1/settings")
    assert settings["services"]["agent"] == {"settings": {"slots": 4}}
    assert settings["gateway"]["listens_on"] == f"127.0.0.1:{gateway.port}"


async def test_the_openapi_document_is_served_to_the_authenticated(gateway: RunningGateway) -> None:
    token, _ = await gateway.bearer(Scope.CHAT)
    async with gateway.client(token) as session:
        document = await get(session, "/v1/openapi.json")
    assert document["openapi"] == "3.1.0"
    assert "/v1/audit" in document["paths"]


async def test_while_the_bus_is_away_rest_says_so(gateway: RunningGateway, bus_server: BusServer) -> None:
    token, _ = await gateway.bearer()
    async with gateway.client(token) as session:
        await get(session, "/v1/conversations")
        bus_server.stop()
        await asyncio.sleep(0.2)
        assert (await get(session, "/v1/conversations", 503))["error"]["code"] == "bus_unavailable"
        bus_server.start()
