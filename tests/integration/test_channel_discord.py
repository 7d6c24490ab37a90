"""The Discord channel as a process, on a real bus with a real vault, against a simulated Discord."""

import asyncio
import signal
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from channels import ChannelHouse, until
from harness import BusServer
from opencrust.contracts import ApprovalCard, CardDecided, CardOutcome, InboundMessage
from opencrust.contracts.messages import now
from opencrust_sim.discord import BOT, DIRECT, GENERAL, TOKEN, Channel, DiscordSimulator

HI = f"<@{BOT}> hi"


@pytest.fixture
async def discord() -> AsyncIterator[DiscordSimulator]:
    async with DiscordSimulator() as simulator:
        simulator.rate = None
        yield simulator


@pytest.fixture
async def house(bus_server: BusServer, discord: DiscordSimulator) -> AsyncIterator[ChannelHouse]:
    options = {"gateway_url": f"ws://127.0.0.1:{discord.port}/"}
    async with ChannelHouse(
        bus_server, "discord", {"token": TOKEN}, api_base=f"{discord.url}/api/v10", options=options
    ) as house:
        yield house


def echo(message: InboundMessage) -> str:
    return f"You wrote: {message.text}"


async def connected(discord: DiscordSimulator, count: int = 1) -> None:
    await until(lambda: discord.connected >= count)


async def texts(house: ChannelHouse) -> list[str]:
    return [message.text for message in await house.received()]


async def has(house: ChannelHouse, *wanted: str) -> bool:
    return await texts(house) == list(wanted)


def said(discord: DiscordSimulator, channel: str = GENERAL) -> list[str]:
    return [m["content"] for m in discord.channels[channel].messages if m["author"]["id"] == BOT]


async def test_a_message_comes_in_and_its_answer_goes_out(house: ChannelHouse, discord: DiscordSimulator) -> None:
    adapter = house.adapter(start=False)
    assert adapter.start() < 15  # 3 on a calm machine: measured in the long suite
    await house.agent(echo)
    await connected(discord)
    asked = await discord.say(HI)
    await discord.say("not to us", user="4001")
    await discord.say("in private", channel=DIRECT)
    await until(lambda: said(discord) == ["You wrote: hi"] and said(discord, DIRECT) == ["You wrote: in private"])
    [first, second] = await house.received()
    assert (first.account, first.conversation, first.sender.user, first.is_group) == (BOT, GENERAL, "4000", True)
    assert (second.conversation, second.is_group) == (DIRECT, False)
    [answer] = [m for m in discord.channels[GENERAL].messages if m["author"]["id"] == BOT]
    assert answer["message_reference"]["message_id"] == asked["id"]
    assert answer["allowed_mentions"] == {"parse": [], "replied_user": False}
    receipts = await house.receipts()
    assert {receipt.state for receipt in receipts} == {"sent"}
    [facts] = await house.health()
    assert (facts["role"], facts["link"], facts["sessions"]) == ("leader", "connected", 1)
    assert adapter.rss() < 80 * 1024 * 1024


async def test_what_is_written_while_nobody_listens_is_fetched(house: ChannelHouse, discord: DiscordSimulator) -> None:
    adapter = house.adapter()
    await connected(discord)
    await discord.say("before", channel=DIRECT)
    await until(lambda: has(house, "before"))
    adapter.kill()
    await discord.restart()
    for number in range(5):
        await discord.say(f"<@{BOT}> {number}")
        await discord.say(f"private {number}", channel=DIRECT)
    adapter.start()
    await until(lambda: _count(house, 11))
    found = await house.received()
    assert [m.text for m in found if m.is_group] == ["0", "1", "2", "3", "4"]
    assert [m.text for m in found if not m.is_group] == ["before", *(f"private {n}" for n in range(5))]


async def _count(house: ChannelHouse, count: int) -> bool:
    return len(await house.received()) == count


async def test_private_conversations_are_caught_up_however_many_they_are(
    house: ChannelHouse, discord: DiscordSimulator
) -> None:
    numbers = [str(5000 + number) for number in range(40)]
    for number in numbers:
        discord.channels[number] = Channel(number, 1, None)
    adapter = house.adapter()
    await connected(discord)
    for number in numbers:
        await discord.say(f"before {number}", channel=number)
    await until(lambda: _count(house, 40))
    adapter.kill()
    await discord.restart()
    for number in numbers:
        await discord.say(f"meanwhile {number}", channel=number)
    adapter.start()
    await until(lambda: _count(house, 80))
    found = sorted(message.text for message in await house.received())
    assert found == sorted([f"{when} {number}" for when in ("before", "meanwhile") for number in numbers])
    assert not any(message.is_group for message in await house.received())


async def test_every_resume_refused_loses_nothing(house: ChannelHouse, discord: DiscordSimulator) -> None:
    house.adapter()
    await connected(discord)
    discord.refuse_resume = True
    await discord.say("<@1000> one")
    await until(lambda: has(house, "one"))
    await discord.gateway_do("cut")
    await discord.say("<@1000> two")
    await discord.say("<@1000> three")
    await until(lambda: has(house, "one", "two", "three"), 20)


async def test_malformed_and_unknown_events_do_not_end_the_link(house: ChannelHouse, discord: DiscordSimulator) -> None:
    house.adapter()
    await connected(discord)
    await discord.dispatch("MESSAGE_CREATE", {"id": "1", "channel_id": GENERAL, "author": 7, "mentions": "x"})
    await discord.dispatch("MESSAGE_CREATE", {})
    await discord.dispatch("GUILD_CREATE", {"id": None, "channels": 5})
    await discord.dispatch("NEVER_HEARD_OF", {"a": 1})
    await discord.dispatch("INTERACTION_CREATE", {"id": "1", "type": 99})
    await discord.say(HI, timestamp="yesterday", flags="odd", attachments=[{"url": None}], member="none")
    await until(lambda: has(house, "hi"))
    assert discord.identifies == 1


async def test_slash_commands_and_buttons(house: ChannelHouse, discord: DiscordSimulator) -> None:
    house.adapter()
    await until(lambda: len(discord.commands) == 8)
    asked = await discord.command("ask", {"text": "how are you"})
    await until(lambda: discord.interactions[asked]["answers"])
    assert discord.interactions[asked]["answers"][0]["data"]["flags"] == 64
    [message] = await house.received()
    assert message.text == "how are you"
    card = ApprovalCard(
        id="abcdefgh23456722", tool="send_mail", lines=["to: @everyone"], expires=now() + timedelta(hours=1)
    )
    await house.reply(message, "I would do this:", id="re:1:0", approval=card)
    await until(lambda: len(discord.channels[GENERAL].messages) == 2)
    question = discord.channels[GENERAL].messages[-1]
    assert "@everyone" not in question["content"]
    pressed = await discord.press(question["id"], 0, user="4321")
    await until(lambda: discord.interactions[pressed]["answers"] == [{"type": 6}])
    decision = (await house.received())[-1]
    assert (decision.text, decision.sender.user) == ("/approve abcdefgh23456722", "4321")
    await house.reply(message, "", id="card:1", decided=CardDecided(card=card, outcome=CardOutcome.DENIED))
    await until(lambda: question["content"].endswith("Denied."))
    assert (question["components"], question["embeds"]) == ([], [])
    assert len(discord.channels[GENERAL].messages) == 2


async def test_files_come_in_and_go_out(house: ChannelHouse, discord: DiscordSimulator) -> None:
    house.adapter()
    await connected(discord)
    picture = b"\x89PNG\r\n\x1a\n" + b"data"
    await discord.say(
        "look", channel=DIRECT, attachments=[discord.attach("a.png", picture, "image/png")], author=_person("9")
    )
    await discord.say(
        "", channel=DIRECT, flags=8192, attachments=[discord.attach("voice-message.ogg", b"OggS", "audio/ogg")]
    )
    await until(lambda: _count(house, 2))
    [first, second] = await house.received()
    assert [(a.name, a.media_type, a.size) for a in first.attachments] == [("a.png", "image/png", len(picture))]
    assert second.attachments[0].name.startswith("voice-note-")
    await house.reply(first, "here", id="re:1:0", attachments=first.attachments)
    await until(lambda: len(discord.channels[DIRECT].messages) == 4)
    sent = discord.channels[DIRECT].messages[-1]["attachments"][0]
    assert (sent["filename"], sent["size"]) == ("a.png", len(picture))


def _person(number: str) -> dict[str, str]:
    return {"id": number, "username": "bob"}


async def test_a_long_answer_is_cut_well_and_comes_in_order(house: ChannelHouse, discord: DiscordSimulator) -> None:
    house.adapter()
    await connected(discord)
    code = "\n".join(f"line {number}" for number in range(500))
    await house.agent(lambda message: f"Look:\n\n```text\n{code}\n```")
    await discord.say(HI)
    await until(lambda: "line 499" in "".join(said(discord)))
    assert all(len(text) <= 2000 and text.count("```") == 2 for text in said(discord))
    seen = [line for text in said(discord) for line in text.splitlines() if line.startswith("line ")]
    assert seen == code.splitlines()


@pytest.mark.parametrize("fault", ["429", "503", "html", "cut", "cut-after"])
async def test_a_send_that_goes_wrong_is_shown_once(house: ChannelHouse, discord: DiscordSimulator, fault: str) -> None:
    house.adapter()
    await connected(discord)
    await house.agent(echo)
    discord.fault("POST *messages", fault, after=0.2)
    await discord.say(HI)
    await until(lambda: _settled(house, 1))
    assert said(discord) == ["You wrote: hi"]
    [receipt] = await house.receipts()
    assert receipt.state == "sent"


async def _settled(house: ChannelHouse, count: int) -> bool:
    return len(await house.receipts()) == count and await house.waiting() == 0


async def test_a_deaf_link_is_noticed_within_two_intervals(house: ChannelHouse, discord: DiscordSimulator) -> None:
    discord.heartbeat = 500
    house.adapter()
    await connected(discord)
    await discord.say("<@1000> one")
    await until(lambda: has(house, "one"))
    await discord.gateway_do("silence")
    await discord.say("<@1000> two")
    took = await until(lambda: has(house, "one", "two"))
    assert took < 4
    [facts] = await house.health()
    assert facts["deaf_times"] == 1


async def test_a_new_token_is_taken_up_within_five_seconds(house: ChannelHouse, discord: DiscordSimulator) -> None:
    house.adapter()
    await connected(discord)
    discord.token = "another-token"
    await discord.gateway_do("close", 4004)
    await discord.say("<@1000> missed")
    await asyncio.sleep(0.5)
    await asyncio.to_thread(house.put_secret, "token", "another-token")
    assert await until(lambda: has(house, "missed")) < 5


async def test_twins_listen_and_one_may_die(house: ChannelHouse, discord: DiscordSimulator) -> None:
    adapters = [house.adapter() for _ in range(3)]
    await connected(discord, 2)
    for number in range(30):
        await discord.say(f"<@1000> {number}")
        if number == 10:
            adapters[0].kill()
        if number == 20:
            adapters[1].kill(signal.SIGTERM)
        await asyncio.sleep(0.02)
    await until(lambda: has(house, *map(str, range(30))), 20)
