"""Discord's adapter before a server that nobody wrote for it: odd, but legal by the documentation."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import pytest

from channels import ChannelHouse, until
from foreign.discord import BOT, GUILD, PRIVATE, ROOM, ForeignDiscord
from harness import BusServer

House = Callable[..., AbstractAsyncContextManager[ChannelHouse]]


@pytest.fixture
def house(bus_server: BusServer) -> House:
    @asynccontextmanager
    async def start(server: ForeignDiscord, replicas: int = 1) -> AsyncIterator[ChannelHouse]:
        async with ChannelHouse(bus_server, "discord", {"token": "foreign"}, api_base=f"{server.url}/api") as house:
            for _ in range(replicas):
                house.adapter()
            await until(lambda: len(server.sockets) == min(replicas, 2))
            yield house

    return start


async def texts(house: ChannelHouse) -> list[str]:
    return [message.text for message in await house.received()]


async def came(house: ChannelHouse, *wanted: str, seconds: float = 10.0) -> None:
    async def all_there() -> bool:
        return await texts(house) == list(wanted)

    try:
        await until(all_there, seconds)
    except AssertionError:
        assert await texts(house) == list(wanted)


@pytest.mark.parametrize(
    "ready",
    [
        {"resume_gateway_url": None},
        {"resume_gateway_url": "", "application": None, "guilds": None, "user": None, "v": "10"},
        {"session_id": None, "private_channels": [None, 7, {}], "shard": "0"},
        {"resume_gateway_url": "gateway.example", "session_id": 12345678901234567890},
    ],
)
async def test_a_ready_with_little_in_it_begins_a_session(house: House, ready: dict[str, Any]) -> None:
    async with ForeignDiscord(ready=ready) as server, house(server) as here:
        await server.say("one")
        await came(here, "one")
        await server.drop()
        await server.say("two")  # to nobody: it is found by its channel
        await until(lambda: bool(server.sockets))
        await server.say("three")
        await came(here, "one", "two", "three")
        assert server.identified + server.resumed == 2


async def test_frames_that_cannot_be_read_are_kept_and_end_nothing(house: House) -> None:
    async with ForeignDiscord(ready={}) as server, house(server) as here:
        for frame in ("no JSON", "[1, 2]", '"text"', {"op": "0"}, {"d": {}}, {"op": None}):
            await server.frame(frame)
        for frame in ({"op": 99, "d": "?"}, {"op": 11, "d": 5}, {"op": 0}, {"op": 0, "t": 7, "s": "x", "d": [1]}):
            await server.frame(frame)
        await server.say("lost its author", author=None)
        await server.say("lost its id", id=None)
        await server.event("MESSAGE_CREATE", ["no", "object"])
        await server.event("INTERACTION_CREATE", {"id": "7", "type": 3, "data": {"custom_id": "approve:x"}})
        await server.event("GUILD_CREATE", {"id": GUILD, "channels": "none", "roles": [None, 5]})
        await server.event("CHANNEL_UPDATE", {"id": None})
        await server.event("SOMETHING_NEW", {"a": 1})
        await server.say("still here")
        await came(here, "still here")
        assert server.identified == 1

        await until(lambda: _letters(here, 6 + 4))


async def _letters(house: ChannelHouse, count: int) -> bool:
    manager = (await house.server.connect("provisioner")).jetstream_manager()
    return (await manager.stream_info("DLQ")).state.messages == count


async def test_ids_and_fields_of_every_legal_kind(house: House) -> None:
    huge = "9223372036854775807"
    async with ForeignDiscord(ready={}) as server, house(server) as here:
        await server.event("GUILD_CREATE", {"id": GUILD, "unavailable": True})
        await server.event("GUILD_CREATE", {"id": int(GUILD), "channels": [{"id": int(ROOM), "type": 0}]})
        await server.say("text", channel=PRIVATE, mentions=None)
        await server.say("numbers", id=int(server.snowflake()), author={"id": 4, "username": None}, member={})
        await server.say("huge", channel=huge, author={"id": huge})
        await server.say("a ☃ 𝔘\u202e\u0000 b", attachments=[{"id": "1"}], flags="0", embeds=None, timestamp="never")
        await server.say("answers", type=19, message_reference={"channel_id": ROOM}, referenced_message=None)
        await until(lambda: _count(here, 5))
        found = await here.received()
        assert sorted(m.text.split()[0] for m in found) == ["a", "answers", "huge", "numbers", "text"]
        assert {m.text: m.is_group for m in found}["text"] is False
        assert {m.text: m.conversation for m in found}["huge"] == huge


async def _count(house: ChannelHouse, count: int) -> bool:
    return len(await house.received()) == count


@pytest.mark.parametrize("refusal", ["op9", "op9-resumable", 4007, 4009])
async def test_a_server_that_refuses_every_resume_loses_nothing(house: House, refusal: str | int) -> None:
    async with ForeignDiscord(ready={}, refusal=refusal) as server, house(server) as here:
        await server.say("one")
        await server.say("private one", channel=PRIVATE)
        await until(lambda: _count(here, 2))
        await server.drop()
        await server.say("two")
        await server.say("private two", channel=PRIVATE)
        await until(lambda: _count(here, 4), 20)
        assert server.identified == 2
        assert server.resumed <= 3
        assert [m.text for m in await here.received() if m.is_group] == ["one", "two"]
        assert [m.text for m in await here.received() if not m.is_group] == ["private one", "private two"]


@pytest.mark.parametrize("status", [404, 405])
async def test_a_server_without_history_is_heard_all_the_same(house: House, status: int) -> None:
    async with ForeignDiscord(ready={}) as server:
        server.history = status
        async with house(server) as here:
            await server.say("one")
            await server.say("two")
            await came(here, "one", "two")


async def test_every_event_on_every_connection_comes_once(house: House) -> None:
    async with ForeignDiscord(ready={}) as server, house(server, 3) as here:
        for number in range(20):
            await server.say(str(number))
            await server.event("MESSAGE_CREATE", {"guild_id": GUILD, **server.messages[ROOM][-1]})
        await came(here, *map(str, range(20)))


async def test_a_server_that_acknowledges_no_heartbeat_loses_nothing(house: House) -> None:
    async with ForeignDiscord(ready={}, interval=500, acks=False) as server, house(server) as here:
        for number in range(8):
            await server.say(str(number))
            await asyncio.sleep(0.4)
        await came(here, *map(str, range(8)))


async def test_a_sent_message_is_known_by_an_answer_that_says_only_its_id(house: House) -> None:
    async with ForeignDiscord(ready={"application": None}) as server, house(server) as here:
        await here.agent(lambda message: f"re {message.text}")
        await server.say("hi")
        await until(lambda: bool(server.posted))
        [body] = server.posted
        assert (body["content"], len(body["nonce"]) <= 25, body["enforce_nonce"]) == ("re hi", True, True)
        assert BOT not in body["content"]
        await until(lambda: _receipts(here, 1))
        assert [receipt.state for receipt in await here.receipts()] == ["sent"]


async def _receipts(house: ChannelHouse, count: int) -> bool:
    return len(await house.receipts()) == count
