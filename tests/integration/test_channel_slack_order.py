"""The order of a conversation on Slack, whatever happens to the connections that its events come by."""

import asyncio
import itertools
import signal
import socket
from collections.abc import AsyncIterator
from typing import Any

import pytest

from channels import ChannelHouse, until
from harness import BusServer
from opencrust.config import ChannelMode
from opencrust.config.channels import Webhook
from opencrust_sim.slack import APP_TOKEN, BOT_TOKEN, DIRECT, SIGNING_SECRET, SlackSimulator

SECRETS = {"bot_token": BOT_TOKEN, "app_token": APP_TOKEN}


@pytest.fixture
async def slack() -> AsyncIterator[SlackSimulator]:
    async with SlackSimulator() as simulator:
        simulator.retry = [0.0, 1.0, 3.0]
        simulator.ack_seconds = 1.0
        yield simulator


@pytest.fixture
async def house(bus_server: BusServer, slack: SlackSimulator) -> AsyncIterator[ChannelHouse]:
    async with ChannelHouse(bus_server, "slack", SECRETS, api_base=f"{slack.url}/api/") as house:
        yield house


class Talk:
    """One person writes numbers, one after another, in one private conversation."""

    def __init__(self, house: ChannelHouse, slack: SlackSimulator) -> None:
        self._house = house
        self._slack = slack
        self._numbers = itertools.count()
        self.said: list[str] = []

    async def say(self, count: int, pause: float, **more: Any) -> None:
        for _ in range(count):
            text = str(next(self._numbers))
            self.said.append(text)
            await self._slack.say(text, channel=DIRECT, **more)
            await asyncio.sleep(pause)

    async def heard(self) -> list[str]:
        """What came to the agent, once everything did."""

        async def all_there() -> bool:
            return {message.text for message in await self._house.received()} >= set(self.said)

        await until(all_there, 15)
        return [message.text for message in await self._house.received()]


async def listening(slack: SlackSimulator, count: int) -> None:
    await until(lambda: len(slack.connections) >= count)


@pytest.fixture
def talk(house: ChannelHouse, slack: SlackSimulator) -> Talk:
    return Talk(house, slack)


async def test_one_connection_is_slower_than_the_other(house: ChannelHouse, slack: SlackSimulator, talk: Talk) -> None:
    house.adapter()
    await listening(slack, 2)
    slack.connections[0].delay = 0.2
    await talk.say(60, 0.02)
    assert await talk.heard() == talk.said


async def test_the_process_stands_still_and_reads_both_at_once(
    house: ChannelHouse, slack: SlackSimulator, talk: Talk
) -> None:
    adapter = house.adapter()
    await listening(slack, 2)
    for _ in range(4):
        assert adapter.process is not None
        adapter.process.send_signal(signal.SIGSTOP)
        await talk.say(10, 0.01)
        adapter.process.send_signal(signal.SIGCONT)
        await asyncio.sleep(0.1)
    assert await talk.heard() == talk.said
    [facts] = await house.health()
    assert facts["connections_dead"] == 0


async def test_events_come_by_a_connection_that_is_being_opened(
    house: ChannelHouse, slack: SlackSimulator, talk: Talk
) -> None:
    house.adapter()
    await listening(slack, 2)
    await talk.say(30, 0.05)  # what may be looked up in doubt is used up
    for _ in range(3):
        slack.slow_links = [0.3]
        await slack.socket_do("warning", only=0)  # no gap: nothing is looked up for that
        await talk.say(12, 0.05)
        slack.slow_links = []
    assert await talk.heard() == talk.said


@pytest.mark.parametrize("trouble", ["silence", "ghost", "cut"])
async def test_a_connection_fails_while_the_other_goes_on(
    house: ChannelHouse, slack: SlackSimulator, talk: Talk, trouble: str
) -> None:
    house.adapter()
    await listening(slack, 2)
    await talk.say(10, 0.02)
    await slack.socket_do(trouble, only=0)
    await talk.say(10, 0.2)
    assert await talk.heard() == talk.said


async def test_what_a_killed_one_had_comes_before_what_is_new(
    house: ChannelHouse, slack: SlackSimulator, talk: Talk
) -> None:
    """What it did not acknowledge comes again a second later, after what was written since."""
    adapter = house.adapter()
    await listening(slack, 2)
    await talk.say(5, 0.02)
    assert adapter.process is not None
    adapter.process.send_signal(signal.SIGSTOP)
    await talk.say(5, 0.02)
    adapter.kill()
    adapter.start(ready=False)
    await listening(slack, 1)
    await talk.say(20, 0.05)
    assert await talk.heard() == talk.said


async def test_a_photo_and_a_question_to_two_replicas(house: ChannelHouse, slack: SlackSimulator, talk: Talk) -> None:
    """Whoever has the photo fetches it for a while; the other one has the question."""
    house.adapter()
    house.adapter()
    await listening(slack, 4)
    for _ in range(4):
        slack.fault("GET /files/*", "slow", after=0.5)
        photo = slack.attach("a.png", b"\x89PNG\r\n\x1a\ndata", "image/png")
        await talk.say(1, 0.05, files=[photo], subtype="file_share")
        await talk.say(1, 0.3)
    assert await talk.heard() == talk.said


async def test_over_http_a_photo_that_takes_long_stays_before_the_question(
    bus_server: BusServer, slack: SlackSimulator
) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    webhook = Webhook(public_url=f"http://127.0.0.1:{port}", port=port)
    secrets = {"bot_token": BOT_TOKEN, "signing_secret": SIGNING_SECRET}
    settings: dict[str, Any] = {"mode": ChannelMode.WEBHOOK, "webhook": webhook, "api_base": f"{slack.url}/api/"}
    async with ChannelHouse(bus_server, "slack", secrets, **settings) as house:
        house.adapter()
        slack.request_url = f"http://127.0.0.1:{port}/slack/events"
        talk = Talk(house, slack)
        for _ in range(3):
            slack.fault("GET /files/*", "slow", after=0.4)
            photo = slack.attach("a.png", b"\x89PNG\r\n\x1a\ndata", "image/png")
            await talk.say(1, 0.05, files=[photo], subtype="file_share")
            await talk.say(3, 0.05)
        assert await talk.heard() == talk.said


async def test_one_of_two_replicas_is_told_to_stop(house: ChannelHouse, slack: SlackSimulator, talk: Talk) -> None:
    adapters = [house.adapter(), house.adapter()]
    await listening(slack, 4)
    await talk.say(6, 0.2)
    stopping = asyncio.create_task(asyncio.to_thread(adapters[0].kill, signal.SIGTERM))
    await talk.say(8, 0.2)
    await stopping
    assert await talk.heard() == talk.said


async def test_one_of_two_replicas_is_killed(house: ChannelHouse, slack: SlackSimulator, talk: Talk) -> None:
    adapters = [house.adapter(), house.adapter()]
    await listening(slack, 4)
    assert adapters[0].process is not None
    await talk.say(3, 0.2)
    adapters[0].process.send_signal(signal.SIGSTOP)  # it has events in hand
    await talk.say(4, 0.2)
    adapters[0].kill()
    await talk.say(4, 0.2)
    assert await talk.heard() == talk.said
