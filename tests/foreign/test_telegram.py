"""Telegram's adapter before a server that nobody wrote for it: odd, but legal by the documentation."""

import asyncio
import time
from collections.abc import AsyncIterator
from email.utils import formatdate
from typing import Any

import pytest
from aiohttp import web

from channels import ChannelHouse, until
from foreign.telegram import TOKEN, ForeignTelegram, refusal
from harness import BusServer


@pytest.fixture
async def server() -> AsyncIterator[ForeignTelegram]:
    async with ForeignTelegram() as telegram:
        yield telegram


@pytest.fixture
async def house(bus_server: BusServer, server: ForeignTelegram) -> AsyncIterator[ChannelHouse]:
    async with ChannelHouse(
        bus_server, "telegram", {"token": TOKEN}, api_base=server.url, options={"poll_seconds": 1}
    ) as house:
        yield house


async def came(house: ChannelHouse, *wanted: str) -> None:
    async def all_there() -> bool:
        return sorted(message.text for message in await house.received()) == sorted(wanted)

    try:
        await until(all_there)
    except AssertionError:
        assert sorted(message.text for message in await house.received()) == sorted(wanted)


async def test_missing_fields_unknown_kinds_and_every_letter(house: ChannelHouse, server: ForeignTelegram) -> None:
    house.adapter()
    server.updates += [
        {"update_id": 1},
        {"update_id": 2, "something_new": {"a": 1}},
        {"update_id": 3, "message": {"message_id": 3, "date": 1, "chat": {"id": -7, "type": "channel"}, "text": "x"}},
        {"update_id": 4, "callback_query": {"id": "4", "from": {"id": 5}, "chat_instance": "1"}},
        {"update_id": 5, "message": {"message_id": 5}},
        {"update_id": 6, "message": None, "my_chat_member": {}},
    ]
    server.say("bare", 7)
    server.say(
        "𝔘 ☃ \u202e\ufeff مرحبا", 8, entities=[{"type": "mention", "offset": 1, "length": 9**9}, {"type": "new"}]
    )
    server.say("huge", 9, user=2**52 - 1)
    server.say("no name", 10, **{"from": {"id": 5}})
    server.say("", 11, text=None, caption="captioned", photo=[{"file_id": "gone", "file_unique_id": "g"}])
    server.say("odd", 12, reply_to_message={}, entities="none", forward_origin={"type": "new"}, message_thread_id=9)
    server.say("after it", 13)
    await until(lambda: _count(house, 6))
    texts = [message.text for message in await house.received()]
    assert {"bare", "huge", "no name", "after it"} <= set(texts)
    assert any("مرحبا" in text for text in texts)
    assert any("captioned" in text for text in texts)
    await until(lambda: not server.updates)


async def _count(house: ChannelHouse, count: int) -> bool:
    return len(await house.received()) >= count


async def test_numbers_that_jump_and_numbers_that_begin_anew(house: ChannelHouse, server: ForeignTelegram) -> None:
    house.adapter()
    server.say("one", 10)
    server.say("a jump", 2**31 - 1)
    await came(house, "one", "a jump")
    await until(lambda: not server.updates)
    polls = len(server.polls)
    await until(lambda: len(server.polls) > polls + 1)
    server.say("anew, lower", 3)
    await came(house, "one", "a jump", "anew, lower")


@pytest.mark.parametrize("answer", ['{"ok":true}', '{"ok":true,"result":null}', '{"ok":true,"result":{}}', "{}", "1"])
async def test_a_poll_that_is_answered_with_nothing_ends_nothing(
    house: ChannelHouse, server: ForeignTelegram, answer: str
) -> None:
    server.answers["getUpdates"] += [web.Response(text=answer, content_type="application/json") for _ in range(2)]
    house.adapter()
    server.say("hi", 1)
    await came(house, "hi")


async def test_a_server_that_repeats_what_is_confirmed_is_asked_once_a_second(bus_server: BusServer) -> None:
    async with (
        ForeignTelegram(remembers=True) as server,
        ChannelHouse(bus_server, "telegram", {"token": TOKEN}, api_base=server.url) as house,
    ):
        house.adapter()
        server.say("one", 1)
        await came(house, "one")
        await asyncio.sleep(2.5)
        begin = len(server.polls)
        await asyncio.sleep(2)
        assert 1 <= len(server.polls) - begin <= 3
        server.say("two", 2)
        await came(house, "one", "two")


def _limits() -> list[Any]:
    soon = formatdate(time.time() + 2.5, usegmt=True)
    return [
        (lambda: refusal(429, "Too Many Requests: retry after 1", retry_after=1), 0.9),
        (lambda: refusal(429, "Too Many Requests"), 0.4),
        (lambda: web.Response(status=429, text="slow down", headers={"Retry-After": "1"}), 0.9),
        (lambda: web.Response(status=429, headers={"Retry-After": soon}), 1.0),
    ]


@pytest.mark.parametrize("number", range(4))
async def test_a_limit_is_respected_however_it_is_said(
    house: ChannelHouse, server: ForeignTelegram, number: int
) -> None:
    house.adapter()
    await house.agent(lambda message: message.text)
    answer, least = _limits()[number]
    server.answers["sendMessage"].append(answer())
    asked = time.monotonic()
    server.say("hi", 1)
    await until(lambda: bool(server.sent))
    assert time.monotonic() - asked >= least
    assert [sent["text"] for sent in server.sent] == ["hi"]


async def test_a_group_that_moved_is_followed(house: ChannelHouse, server: ForeignTelegram) -> None:
    house.adapter()
    await house.agent(lambda message: message.text)
    moved = refusal(400, "Bad Request: group chat was upgraded to a supergroup chat", migrate_to_chat_id=-1001234567890)
    server.answers["sendMessage"].append(moved)
    server.say("/first", 1, chat={"id": -44, "type": "group"})
    await until(lambda: len(server.sent) == 1)
    server.say("/second", 2, chat={"id": -44, "type": "group"})
    await until(lambda: len(server.sent) == 2)
    assert [sent["chat_id"] for sent in server.sent] == [-1001234567890, -1001234567890]


async def test_a_send_that_is_answered_without_a_message_is_sent(house: ChannelHouse, server: ForeignTelegram) -> None:
    house.adapter()
    await house.agent(lambda message: message.text)
    server.answers["sendMessage"].append(web.json_response({"ok": True}))
    server.say("hi", 1)
    await until(lambda: _receipts(house))
    assert [receipt.state for receipt in await house.receipts()] == ["sent"]
    assert server.sent == []


async def _receipts(house: ChannelHouse) -> bool:
    return len(await house.receipts()) == 1
