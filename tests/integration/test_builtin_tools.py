"""The built-in tools, as the agent has them: over egress, in the workspace, on the bus; and the guard around them."""

import asyncio
import json
import os
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from aiohttp import web

from harness import BusServer
from opencrust.bus import StreamReader
from opencrust.config.workspace import WorkspaceSettings
from opencrust.contracts import OutboundMessage, ReplyAddress, Sender, Trust, decode
from opencrust_agent.contacts import Contacts
from opencrust_agent.egress import Allowed, Egress
from opencrust_agent.tools import Effect, ToolContext
from opencrust_agent.tools.clock import Clock
from opencrust_agent.tools.files import file_tools
from opencrust_agent.tools.send_message import SendMessage
from opencrust_agent.tools.web_fetch import WebFetch
from simulators.conversation import inbound
from simulators.dns import NameServer, StubResolver

SERVER = "127.0.0.2"


def context(conversation: str = "main", *, user: str = "operator", trust: Trust = Trust.OWNER, call: str = "c1",
            tainted: bool = False) -> ToolContext:  # fmt: skip
    address = ReplyAddress(channel="web", account="operator", conversation=conversation)
    sender = Sender(channel="web", account="operator", user=user)
    return ToolContext(address, sender, trust, call, 0.0, asyncio.Event(), tainted=tainted)


@pytest.fixture
def asked() -> list[str]:
    """The hosts whose pages were given."""
    return []


@pytest.fixture
async def page(asked: list[str]) -> AsyncIterator[int]:
    async def answer(request: web.BaseRequest) -> web.Response:
        if request.path == "/inside":
            return web.Response(status=302, headers={"Location": "http://169.254.169.254/latest/meta-data/"})
        if request.path == "/away":
            return web.Response(status=302, headers={"Location": f"http://{request.query['to']}/"})
        asked.append(request.host)
        return web.Response(text="<title>News</title><p>Rain. <a href=/more>more</a><p hidden>obey</p>",
                            content_type="text/html")  # fmt: skip

    runner = web.ServerRunner(web.Server(answer), shutdown_timeout=0)
    await runner.setup()
    place = web.TCPSite(runner, SERVER, 0)
    await place.start()
    yield runner.addresses[0][1]
    await runner.cleanup()


async def test_a_page_is_fetched_as_text_and_nothing_inside_is(page: int) -> None:
    async with NameServer({"news.example": [[SERVER]], "rebind.example": [["127.0.0.1"]]}) as names:
        tool = WebFetch(Egress(lambda: Allowed([f"{SERVER}:{page}"]), StubResolver(names.port)))
        got = await tool.call({"url": f"http://news.example:{page}/"}, context())
        assert not got.failed
        assert got.text.startswith(f"URL: http://news.example:{page}/\nTitle: News\n(1 parts")
        assert f"[1] more: http://news.example:{page}/more" in got.text
        assert "obey" not in got.text
        assert got.origin == f"http://news.example:{page}/"
        for url in (
            f"http://news.example:{page}/inside",
            "http://rebind.example/",
            "http://localhost:4222/",
            "file:///x",
        ):
            refused = await tool.call({"url": url}, context())
            assert refused.failed
            assert refused.text.startswith("Not fetched: ")
    assert (tool.spec.egress, tool.spec.taints, tool.spec.sensitive) == ("public", True, {"url"})


async def test_a_redirect_carries_nothing_to_a_new_host_while_strangers_text_is_here(
    page: int, asked: list[str]
) -> None:
    hosts = {name: [[SERVER]] for name in ("news.example", "www.news.example", "collector.example")}
    async with NameServer(hosts) as names:
        tool = WebFetch(Egress(lambda: Allowed([f"{SERVER}:{page}"]), StubResolver(names.port)))
        away = f"http://news.example:{page}/away?to="
        refused = await tool.call({"url": f"{away}collector.example:{page}"}, context(tainted=True))
        assert refused.failed
        assert f"http://collector.example:{page}/ (it was not asked)" in refused.text
        assert asked == []
        for to in ("news.example", "www.news.example"):
            assert not (await tool.call({"url": f"{away}{to}:{page}"}, context(tainted=True))).failed
        followed = await tool.call({"url": f"{away}collector.example:{page}"}, context())
        assert followed.origin == f"http://collector.example:{page}/"


async def test_files_of_two_people_are_apart_and_strangers_text_keeps_its_taint(tmp_path: Path) -> None:
    tools = {tool.spec.name: tool for tool in file_tools(tmp_path, WorkspaceSettings)}
    anna, bert = context(user="anna", trust=Trust.USER), context(user="bert", trust=Trust.USER)
    await tools["file_write"].call({"path": "n/diary.md", "text": "Dear diary, ÄPFEL"}, anna)
    assert (await tools["file_read"].call({"path": "n/diary.md"}, anna)).text == "Dear diary, ÄPFEL"
    assert (await tools["file_read"].call({"path": "n/diary.md"}, bert)).failed
    assert (await tools["file_list"].call({}, bert)).text == "(empty)"
    found = await tools["file_search"].call({"text": "äpfel"}, anna)
    assert found.text == "n/diary.md:1: Dear diary, ÄPFEL"
    await tools["file_write"].call(
        {"path": "page.md", "text": "by strangers"}, context(user="anna", trust=Trust.USER, tainted=True)
    )
    assert (await tools["file_read"].call({"path": "page.md"}, anna)).taint
    assert (await tools["file_delete"].call({"path": "../x"}, anna)).failed
    assert not (await tools["file_delete"].call({"path": "page.md"}, anna)).failed
    assert len(os.listdir(tmp_path)) == 2
    effects = {name: tool.spec.effects for name, tool in tools.items()}
    assert effects["file_write"] == effects["file_delete"] == {Effect.WRITE}
    assert tools["file_write"].spec.sensitive == {"path"}


async def test_a_file_is_lost_only_by_a_call_that_says_so(tmp_path: Path) -> None:
    tools = {tool.spec.name: tool for tool in file_tools(tmp_path, WorkspaceSettings)}
    write, read = tools["file_write"], tools["file_read"]
    assert not (await write.call({"path": "plan.txt", "text": "rest"}, context())).failed
    kept = await write.call({"path": "plan.txt", "text": "work"}, context())
    assert kept.failed
    assert "say replace" in kept.text
    assert not (await write.call({"path": "plan.txt", "text": ", eat", "append": True}, context())).failed
    assert (await read.call({"path": "plan.txt"}, context())).text == "rest, eat"
    assert not (await write.call({"path": "plan.txt", "text": "work", "replace": True}, context())).failed
    assert (await read.call({"path": "plan.txt"}, context())).text == "work"
    assert write.spec.irreversible_if == {"replace"}


async def test_a_message_goes_to_another_conversation_of_the_same_person_once(bus_server: BusServer) -> None:
    bus = await bus_server.connect("agent")
    contacts = Contacts(bus)
    tool = SendMessage(bus, contacts)
    for number, conversation in enumerate(("main", "phone")):
        message = inbound(number, "hello", conversation).model_copy(update={"trust": Trust.OWNER})
        await contacts.note(message)
        await bus.kv("sess").create(f"web.{message.key}", json.dumps({"v": 1, "cursor": 7 + number}).encode())
    stranger = inbound(5, "x", "theirs").model_copy(update={"trust": Trust.USER})
    await contacts.note(stranger)

    unknown = await tool.call({"to": "mallory@evil.example", "text": "x"}, context())
    assert unknown.failed
    assert "Known: web:phone" in unknown.text
    assert (await tool.call({"to": "web:theirs", "text": "x"}, context())).failed
    assert (await tool.call({"to": "web:main", "text": "to itself"}, context())).failed
    assert (await tool.call({"to": "web:phone", "text": "x"}, context(trust=Trust.GUEST))).failed

    for _ in range(2):  # the same call, made again after a crash
        sent = await tool.call({"to": "Web:Phone", "text": "buy milk"}, context(call="turn:c9"))
        assert (sent.failed, sent.text) == (False, "Sent to web:phone.")
    key = inbound(1, "x", "phone").key
    last = await StreamReader(bus, "CONVLOG").last(f"log.web.{key}")
    assert last is not None
    message = decode(OutboundMessage, last.data)
    assert (message.text, message.address.conversation, message.answered_seq) == ("buy milk", "phone", 8)
    provisioner = await bus_server.connect("provisioner")
    assert (await provisioner.jetstream_manager().stream_info("CONVLOG")).state.messages == 1


async def test_the_clock() -> None:
    tool = Clock(lambda: datetime(2026, 7, 1, 22, 30, tzinfo=UTC))
    assert (await tool.call({}, context())).text == "Wednesday, 2026-07-01 22:30:00 UTC (UTC+0000, UTC)"
    assert (await tool.call({"zone": "Europe/Berlin"}, context())).text.startswith("Thursday, 2026-07-02 00:30:00 CEST")
    for zone in ("Nowhere/Land", "../../etc/passwd", "/etc/passwd"):
        assert (await tool.call({"zone": zone}, context())).failed
