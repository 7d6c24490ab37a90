"""The Slack channel as a process, on a real bus with a real vault, against a simulated Slack."""

import asyncio
import signal
import socket
from collections.abc import AsyncIterator
from datetime import timedelta

import aiohttp
import pytest

from channels import ChannelHouse, until
from harness import BusServer
from opencrust.config import ChannelMode
from opencrust.config.channels import Webhook
from opencrust.contracts import ApprovalCard, CardDecided, CardOutcome, InboundMessage
from opencrust.contracts.messages import now
from opencrust_sim.slack import APP_TOKEN, BOT, BOT_TOKEN, DIRECT, GENERAL, SIGNING_SECRET, TEAM, SlackSimulator

SECRETS = {"bot_token": BOT_TOKEN, "app_token": APP_TOKEN}


@pytest.fixture
async def slack() -> AsyncIterator[SlackSimulator]:
    async with SlackSimulator() as simulator:
        simulator.retry = [0.0, 1.0, 5.0]
        yield simulator


@pytest.fixture
async def house(bus_server: BusServer, slack: SlackSimulator) -> AsyncIterator[ChannelHouse]:
    async with ChannelHouse(bus_server, "slack", SECRETS, api_base=f"{slack.url}/api/") as house:
        yield house


def echo(message: InboundMessage) -> str:
    return f"You wrote: {message.text}"


async def connected(slack: SlackSimulator, count: int = 2) -> None:
    await until(lambda: len(slack.connections) >= count)


async def has(house: ChannelHouse, *wanted: str) -> bool:
    return [message.text for message in await house.received()] == list(wanted)


async def count(house: ChannelHouse, number: int) -> bool:
    return len(await house.received()) == number


async def settled(house: ChannelHouse, number: int) -> bool:
    return len(await house.receipts()) == number and await house.waiting() == 0


def said(slack: SlackSimulator, channel: str = GENERAL) -> list[str]:
    return [m["text"] for m in slack.channels[channel] if m["user"] == BOT]


async def test_a_message_comes_in_once_and_its_answer_goes_out(house: ChannelHouse, slack: SlackSimulator) -> None:
    adapter = house.adapter()
    await house.agent(echo)
    await connected(slack)
    asked = await slack.say(f"<@{BOT}> hi &amp; <https://x.org|there>")
    await slack.say("not to us")
    await slack.say("in private", channel=DIRECT)
    await until(lambda: said(slack, DIRECT) == ["You wrote: in private"] and len(said(slack)) == 1)
    assert said(slack) == ["You wrote: hi &amp; there (https://x.org)"]
    [first, second] = sorted(await house.received(), key=lambda message: message.conversation)
    assert (first.account, first.conversation, first.thread, first.is_group) == (TEAM, GENERAL, asked["ts"], True)
    assert (second.conversation, second.thread, second.is_group) == (DIRECT, None, False)
    assert slack.channels[GENERAL][-1]["thread_ts"] == asked["ts"]
    await until(lambda: all(delivery.acked.is_set() for delivery in slack.deliveries))
    assert {delivery.attempts for delivery in slack.deliveries} == {1}
    [facts] = await house.health()
    assert (facts["link"], facts["connections"]) == ("connected", 2)
    assert adapter.rss() < 80 * 1024 * 1024


async def test_each_event_on_every_connection_is_one_message(house: ChannelHouse, slack: SlackSimulator) -> None:
    slack.everywhere = True
    house.adapter()
    house.adapter()
    await connected(slack, 4)
    for number in range(10):
        await slack.say(f"<@{BOT}> {number}")
    await until(lambda: has(house, *map(str, range(10))))


@pytest.mark.parametrize("moment", ["refresh_requested", "warning", "cut"])
async def test_connections_come_and_go(house: ChannelHouse, slack: SlackSimulator, moment: str) -> None:
    house.adapter()
    await connected(slack)
    for number in range(20):
        if number in (5, 12):
            await slack.socket_do(moment)
        await slack.say(str(number), channel=DIRECT)
        await asyncio.sleep(0.02)
    await until(lambda: count(house, 20), 20)
    assert {m.text for m in await house.received()} == set(map(str, range(20)))


async def test_a_dead_connection_is_left_within_two_seconds(house: ChannelHouse, slack: SlackSimulator) -> None:
    house.adapter()
    await connected(slack)
    await slack.socket_do("silence")
    dead = list(slack.connections)
    took = await until(lambda: any(connection not in dead for connection in slack.connections), 6)
    assert took < 2  # and by then a new one stands
    await slack.say("hello", channel=DIRECT)
    await until(lambda: has(house, "hello"))
    [facts] = await house.health()
    assert facts["connections_dead"] >= 1


async def test_three_replicas_and_two_die(house: ChannelHouse, slack: SlackSimulator) -> None:
    adapters = [house.adapter() for _ in range(3)]
    await connected(slack, 6)
    for number in range(30):
        await slack.say(f"<@{BOT}> {number}")
        if number == 10:
            adapters[0].kill()
        if number == 20:
            adapters[1].kill(signal.SIGTERM)
        await asyncio.sleep(0.02)
    await until(lambda: count(house, 30), 20)


async def test_buttons_and_commands(house: ChannelHouse, slack: SlackSimulator) -> None:
    house.adapter()
    await connected(slack)
    delivery = slack.command("/opencrust", "how are you")
    await until(delivery.acked.is_set)
    assert delivery.answer == {"response_type": "ephemeral", "text": "✓"}
    slack.command("/opencrust", "status")
    await until(lambda: has(house, "how are you", "/status"))
    [message, _] = await house.received()
    expires = now() + timedelta(hours=1)
    card = ApprovalCard(id="abcdefgh23456722", tool="send_mail", lines=["to: <!channel>"], expires=expires)
    await house.reply(message, "I would do this:", id="re:1:0", approval=card)
    await until(lambda: len(slack.channels[GENERAL]) == 2)
    question = slack.channels[GENERAL][-1]
    assert "<!channel>" not in str(question)
    slack.press(question["ts"], 1, user="U9")
    await until(lambda: count(house, 3))
    decision = (await house.received())[-1]
    assert (decision.text, decision.sender.user) == ("/deny abcdefgh23456722", "U9")
    for _ in range(2):  # told again, it changes nothing
        told = CardDecided(card=card, outcome=CardOutcome.DENIED, where="on Slack")
        await house.reply(message, "", id="card:1", decided=told)
    await until(lambda: question["text"].endswith("Denied on Slack."))
    assert question["blocks"] == []
    assert "<!channel>" not in str(question)
    assert len(slack.channels[GENERAL]) == 2


async def test_files_come_in_and_go_out(house: ChannelHouse, slack: SlackSimulator) -> None:
    house.adapter()
    await connected(slack)
    picture = b"\x89PNG\r\n\x1a\n" + b"data"
    await slack.say("look", channel=DIRECT, subtype="file_share", files=[slack.attach("a.png", picture, "image/png")])
    voice = slack.attach("audio.m4a", b"data", "audio/mp4", subtype="slack_audio")
    await slack.say("", channel=DIRECT, subtype="file_share", files=[voice])
    await until(lambda: count(house, 2))
    [first, second] = await house.received()
    assert [(a.name, a.media_type, a.size) for a in first.attachments] == [("a.png", "image/png", len(picture))]
    assert second.attachments[0].name == "voice-note-audio.m4a"
    await house.reply(first, "here", id="re:1:0", attachments=first.attachments)
    await until(lambda: len(slack.channels[DIRECT]) == 4)
    assert slack.channels[DIRECT][-1]["files"][0]["size"] == len(picture)


@pytest.mark.parametrize("fault", ["429", "503", "html", "cut", "cut-after", "200"])
async def test_a_send_that_goes_wrong_is_shown_once(house: ChannelHouse, slack: SlackSimulator, fault: str) -> None:
    house.adapter()
    await connected(slack)
    await house.agent(echo)
    slack.fault("POST *chat.postMessage", fault, after=1, error="fatal_error")
    await slack.say("hi", channel=DIRECT)
    await until(lambda: settled(house, 1))
    assert said(slack, DIRECT) == ["You wrote: hi"]
    [receipt] = await house.receipts()
    assert receipt.state == "sent"
    [facts] = await house.health()
    assert facts["unknown"] == 0


async def test_malformed_and_unknown_events_do_not_end_the_link(house: ChannelHouse, slack: SlackSimulator) -> None:
    house.adapter()
    await connected(slack)
    slack.event({"type": "message", "channel": 5, "user": None})
    slack.event({"type": "message"}, event_id=7)
    slack.event({"type": "never_heard_of"})
    slack.deliver("never_heard_of", {"a": 1}, False)
    slack.deliver("interactive", {"type": "view_submission"}, True)
    await slack.say("hi", channel=DIRECT, files="odd", attachments=[None], thread_ts=4)
    await until(lambda: has(house, "hi"))
    await until(lambda: all(delivery.acked.is_set() for delivery in slack.deliveries))


async def test_a_new_token_is_taken_up_within_five_seconds(house: ChannelHouse, slack: SlackSimulator) -> None:
    house.adapter()
    await connected(slack)
    slack.app_token, slack.bot_token = "xapp-another", "xoxb-another"
    await slack.socket_do("cut")
    await slack.say("missed", channel=DIRECT)
    await asyncio.sleep(0.5)
    await asyncio.to_thread(house.put_secret, "bot_token", "xoxb-another")
    await asyncio.to_thread(house.put_secret, "app_token", "xapp-another")
    assert await until(lambda: has(house, "missed")) < 5


async def test_signed_calls_over_http(bus_server: BusServer, slack: SlackSimulator) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    webhook = Webhook(public_url=f"http://127.0.0.1:{port}", port=port)
    secrets = {"bot_token": BOT_TOKEN, "signing_secret": SIGNING_SECRET}
    settings = {"mode": ChannelMode.WEBHOOK, "webhook": webhook, "api_base": f"{slack.url}/api"}
    async with ChannelHouse(bus_server, "slack", secrets, **settings) as house:
        house.adapter()
        slack.request_url = f"http://127.0.0.1:{port}/slack/events"
        await until(lambda: _reachable(slack.request_url))
        await slack.say(f"<@{BOT}> one")
        await until(lambda: has(house, "one"))
        delivery = slack.command("/opencrust", "status")
        await until(delivery.acked.is_set)
        assert "ephemeral" in delivery.answer
        body = '{"type": "url_verification", "challenge": "abc"}'
        old, forged = slack.signed(body, at=1_000_000), {**slack.signed(body), "X-Slack-Signature": "v0=00"}
        async with aiohttp.ClientSession() as session:
            for headers, status in ((old, 401), (forged, 401), ({}, 401), (slack.signed(body), 200)):
                async with session.post(slack.request_url, data=body, headers=headers) as answer:
                    assert (answer.status, await answer.text() == "abc") == (status, status == 200)


async def _reachable(url: str) -> bool:
    try:
        async with aiohttp.ClientSession() as session, session.post(url) as answer:
            return answer.status == 401
    except aiohttp.ClientError:
        return False
