"""Slack's adapter before a server that nobody wrote for it: odd, but legal by the documentation; some of it is not."""

import asyncio
import json
import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from channels import ChannelHouse, until
from foreign.slack import ANN, BOT, FOR_APP, FOR_BOT, PRIVATE, ROOM, ForeignSlack, envelope, signed
from harness import BusServer
from opencrust.config import ChannelMode
from opencrust.config.channels import Webhook

SECRETS = {"bot_token": FOR_BOT, "app_token": FOR_APP}
NOW = int(time.time())


@asynccontextmanager
async def before(bus: BusServer, server: ForeignSlack, **settings: Any) -> AsyncIterator[ChannelHouse]:
    """A house whose Slack is ``server``."""
    async with server, ChannelHouse(bus, "slack", SECRETS, api_base=f"{server.url}/api/", **settings) as house:
        house.adapter()
        yield house


async def came(house: ChannelHouse, *wanted: str) -> None:
    async def all_there() -> bool:
        return [message.text for message in await house.received()] == list(wanted)

    try:
        await until(all_there)
    except AssertionError:
        assert [message.text for message in await house.received()] == list(wanted)


async def acknowledged(server: ForeignSlack, *numbers: str) -> None:
    await until(lambda: {str(frame.get("envelope_id")) for _, frame in server.acked} >= set(numbers))


async def test_missing_fields_unknown_kinds_and_every_letter(bus_server: BusServer) -> None:
    server = ForeignSlack()
    say = server.message
    async with before(bus_server, server) as house:
        await until(lambda: len(server.open) == 2)
        odd: list[Any] = [
            {},
            {"type": "message"},
            {"type": "reaction_added", "item": {"channel": PRIVATE, "ts": "1.1"}, "user": ANN},
            {"type": "a_kind_of_next_year", "channel": PRIVATE, "ts": f"{NOW}.000001"},
            say("no user", f"{NOW}.000002", user=None),
            say("no time", "", ts=None),
            say("bot's", f"{NOW}.000003", bot_id="B1"),
            say("edited", f"{NOW}.000004", subtype="message_changed"),
            {"type": "message", "channel": {"id": PRIVATE}, "user": ANN, "ts": 5, "text": ["a"]},
        ]
        for number, event in enumerate(odd):
            await server.send(envelope(f"odd{number}", event), to=number % 2)
        good = [
            say("bare", f"{NOW}.000010"),
            say("𝔘 ☃ \u202e مرحبا &lt;b&gt;", f"{NOW}.000011", blocks="none", client_msg_id=5, team={}),
            say("huge", f"{NOW}.000012", user="U" + "9" * 60, event_ts=10**40, user_profile="x"),
            say("files", f"{NOW}.000013", files=[None, {}, {"url_private": 5}], attachments={"a": 1}),
            say("far ahead", "99999999999.000000"),
            say("after it", f"{NOW}.000015", thread_ts=None, parent_user_id=[]),
        ]
        for number, event in enumerate(good):
            await server.send({**envelope(f"good{number}", event), "of_next_year": {"a": [1]}}, to=0)
            await acknowledged(server, f"good{number}")
        await came(house, "bare", "𝔘 ☃ \u202e مرحبا <b>", "huge", "files", "far ahead", "after it")
        await acknowledged(server, *(f"odd{number}" for number in range(len(odd))))
        await server.send(envelope("late", say("a name", f"{NOW}.000016", channel=ROOM, text=f"<@{BOT}> still here")))
        await until(lambda: _count(house, 7))


async def _count(house: ChannelHouse, count: int) -> bool:
    return len(await house.received()) == count


async def test_what_cannot_be_read_is_buried_then_acknowledged(bus_server: BusServer) -> None:
    server = ForeignSlack()
    async with before(bus_server, server) as house:
        await until(lambda: len(server.open) == 2)
        await server.send(envelope("e1", server.message("odd", f"{NOW}.000001", subtype=[])), to=0)
        await server.send({"type": "events_api", "envelope_id": "e2", "payload": "text"}, to=0)
        await server.send({"type": "slash_commands", "envelope_id": "e3"}, to=0)
        await server.send('{"type": "events_api", "envelope_id":', to=0)
        await server.send('{"a":' * 100_000, to=0)
        await server.send(envelope("e4", server.message("good", f"{NOW}.000002")), to=0)
        await acknowledged(server, "e1", "e2", "e3", "e4")
        await came(house, "good")

        async def buried() -> bool:
            return [facts["in_buried"] for facts in await house.health()] == [5]

        await until(buried)


async def test_no_hello_and_signs_of_life_of_every_kind(bus_server: BusServer) -> None:
    server = ForeignSlack(hello=False)
    async with before(bus_server, server) as house:
        await until(lambda: len(server.open) == 2)
        for number in server.open:
            await server.send("Ping from applink-7", to=number)
            await server.send('"a string"', to=number)
            await server.sockets[number].send_bytes(b"\x00\xff")
            await server.sockets[number].ping(b"Ping from applink-7")
        await until(lambda: server.pongs.count(b"Ping from applink-7") == 2)
        await server.send(envelope("e1", server.message("hi", f"{NOW}.000001")), to=1)
        await came(house, "hi")
        assert len(server.sockets) == 2


async def test_each_event_by_every_connection_and_again(bus_server: BusServer) -> None:
    """Each copy is acknowledged over the connection that it came by."""
    server = ForeignSlack()
    async with before(bus_server, server, options={"connections": 3}) as house:
        await until(lambda: len(server.open) == 3)
        for number in range(10):
            event = server.message(str(number), f"{NOW}.{number:06d}")
            for attempt in range(3):
                for to in server.open:
                    sent = envelope(f"e{number}-{attempt}-{to}", event, retry_attempt=attempt, retry_reason="timeout")
                    await server.send(sent, to=to)
        await came(house, *map(str, range(10)))
        await until(lambda: len(server.acked) == 90)
        assert all(str(frame["envelope_id"]).endswith(f"-{by}") for by, frame in server.acked)


@pytest.mark.parametrize("reason", ["warning", "refresh_requested", "link_disabled", None])
async def test_the_next_connection_stands_before_the_last_one_ends(bus_server: BusServer, reason: str | None) -> None:
    server = ForeignSlack()
    async with before(bus_server, server, options={"connections": 1}) as house:
        await until(lambda: server.open == [0])
        await server.send({"type": "disconnect", "reason": reason}, to=0)
        await server.send(envelope("by0", server.message("one", f"{NOW}.000001")), to=0)
        await until(lambda: server.open == [0, 1])
        await server.send(envelope("by1", server.message("two", f"{NOW}.000002")), to=1)
        await server.send(envelope("by0", server.message("three", f"{NOW}.000003")), to=0)
        await came(house, "one", "two", "three")
        await until(lambda: [(by, f["envelope_id"]) for by, f in server.acked] == [(0, "by0"), (1, "by1"), (0, "by0")])
        await server.sockets[0].close()
        await asyncio.sleep(0.5)
        assert server.open == [1]
        assert len(server.sockets) == 2


GOODBYE = '{"type": "disconnect"}'
FULL = '{"type": "disconnect", "reason": "too_many_websockets"}'


@pytest.mark.parametrize("first", [["close"], [FULL, "close"], [GOODBYE]])
async def test_a_server_that_ends_every_connection_is_not_stormed(bus_server: BusServer, first: list[str]) -> None:
    server = ForeignSlack(first=first)
    async with before(bus_server, server, options={"connections": 1}) as house:
        await until(lambda: len(server.sockets) >= 2)
        await asyncio.sleep(1.3)
        assert len(server.sockets) <= 4
        assert len(server.open) <= 3
        server.first = []
        await until(lambda: bool(server.open), 10)
        await server.send(envelope("e", server.message("hi", f"{NOW}.000001")), to=server.open[-1])
        await came(house, "hi")


async def test_walls_redirects_and_nonsense_in_place_of_answers(bus_server: BusServer) -> None:
    """The tokens go nowhere else, and it connects when Slack is back."""
    server = ForeignSlack()
    wall = "<html><body>Please sign in</body></html>"

    def walls() -> list[web.Response]:
        return [
            web.Response(status=302, headers={"Location": "/elsewhere"}),
            web.Response(status=307, headers={"Location": "/elsewhere"}),
            web.Response(text=wall, content_type="text/html"),
            web.Response(status=403, text=wall, content_type="text/html"),
            web.json_response({"ok": False, "error": "ratelimited"}, status=429, headers={"Retry-After": "soon"}),
            web.json_response([]),
            web.json_response({"ok": True}),
        ]

    server.answers["auth.test"].extend(walls()[:1])
    server.answers["apps.connections.open"].extend([*walls(), web.json_response({"ok": True, "url": "http://x/"})])
    async with before(bus_server, server) as house:
        await until(lambda: len(server.open) == 2, 20)
        await server.send(envelope("e", server.message("hi", f"{NOW}.000001")), to=0)
        await came(house, "hi")
        assert server.strangers == []


@pytest.mark.parametrize(
    "wall",
    [
        {"status": 302, "headers": {"Location": "/elsewhere"}},
        {"text": "<html>Please sign in</html>", "content_type": "text/html"},
        {"status": 403, "text": "<html>Forbidden</html>", "content_type": "text/html"},
    ],
)
async def test_a_wall_that_stays_is_named(bus_server: BusServer, wall: dict[str, Any]) -> None:
    server = ForeignSlack()
    server.answers["apps.connections.open"].extend(web.Response(**wall) for _ in range(50))
    async with before(bus_server, server) as house:

        async def named() -> bool:
            return any("in Slack's place" in line for line in house.adapters[0].log.read_text().splitlines())

        await until(named)
        assert server.strangers == []
        server.answers.clear()
        await until(lambda: len(server.open) == 2)


async def test_commands_that_carry_no_id_of_their_own(bus_server: BusServer) -> None:
    server = ForeignSlack()
    async with before(bus_server, server) as house:
        await until(lambda: len(server.open) == 2)
        said = {"command": "/opencrust", "text": "status", "user_id": ANN, "channel_id": PRIVATE}
        for number in ("c1", "c2", "c2"):
            sent = {"type": "slash_commands", "envelope_id": number, "payload": said, "accepts_response_payload": True}
            await server.send(sent, to=0)
        await came(house, "/status", "/status")
        await until(lambda: len(server.acked) == 3)
        assert server.acked[0][1]["payload"]["response_type"] == "ephemeral"


async def test_the_same_over_http(bus_server: BusServer) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    now = int(time.time())  # not when this file was read: a signature of five minutes ago is refused
    url = f"http://127.0.0.1:{port}/slack/events"
    secret = "8f742231b10e8888abcd99yyyzzz85a5"
    webhook = Webhook(public_url=f"http://127.0.0.1:{port}", port=port)
    settings: dict[str, Any] = {"mode": ChannelMode.WEBHOOK, "webhook": webhook}
    server = ForeignSlack()
    secrets = {"bot_token": FOR_BOT, "signing_secret": secret}
    async with (
        server,
        ChannelHouse(bus_server, "slack", secrets, api_base=f"{server.url}/api/", **settings) as house,
        aiohttp.ClientSession() as session,
    ):
        house.adapter()

        async def post(body: str, kind: str = "application/json", stamp: int = now, **headers: str) -> int:
            given = {"Content-Type": kind, **signed(secret, stamp, body), **headers}
            async with session.post(url, data=body, headers=given) as answer:
                return answer.status

        async def answers() -> bool:
            try:
                return await post("{}") == 200
            except aiohttp.ClientError:
                return False

        await until(answers)

        def event(words: str, number: int, **more: Any) -> str:
            return json.dumps({"type": "event_callback", "event": server.message(words, f"{now}.{number:06d}", **more)})

        async def taken() -> bool:
            return await post(event("one", 1)) == 200

        await until(taken)
        assert await post(event("one", 1), **{"X-Slack-Retry-Num": "1", "X-Slack-Retry-Reason": "http_timeout"}) == 200
        assert await post(event("odd", 2, subtype=[])) == 200  # buried
        for odd in ("[]", "{", '"x"', '{"event": 5}', "", '{"type": "app_rate_limited"}'):
            assert await post(odd) == 200
        form, command = (
            "application/x-www-form-urlencoded",
            f"command=%2Fopencrust&text=status&user_id={ANN}&channel_id=D1",
        )
        for stamp in (now, now + 1, now + 1):
            assert await post(command, form, stamp) == 200
        assert await post("payload=%7B", form) == 200
        await came(house, "one", "/status", "/status")
        [facts] = await house.health()
        assert facts["in_buried"] == 1
