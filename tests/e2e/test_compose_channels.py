"""``docker compose --profile discord up --scale channel-discord=3`` for real, and Slack the same, against simulators:
set up by the commands that docs/channels.md gives, a person is let in and answered, and replicas are killed.

In the long suite only, as test_compose.py; Telegram has a file of its own.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import aiohttp
import pytest

from composed import Compose, composed, kill
from opencrust_sim import discord, slack

pytestmark = [pytest.mark.long, pytest.mark.timeout(900)]


@dataclass(frozen=True)
class Channel:
    """One platform in compose, and somebody who writes to the bot there, by the simulator's control API."""

    name: str
    tokens: dict[str, str]
    api_base: str
    private: str
    project: Compose

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{getattr(self.project, f'{self.name}_port')}/_sim"

    def up(self) -> None:
        scale = f"channel-{self.name}=3"
        up = ("up", "--detach", "--wait", "--wait-timeout", "180")
        self.project("--profile", self.name, *up, "--scale", scale)

    def containers(self) -> list[dict[str, Any]]:
        ids = self.project("--profile", self.name, "ps", "--quiet", f"channel-{self.name}").split()
        shown = subprocess.run(["docker", "inspect", *ids], capture_output=True, text=True, check=True).stdout
        found: list[dict[str, Any]] = json.loads(shown)
        return found

    def replicas(self) -> list[dict[str, Any]]:
        status = json.loads(self.project("run", "--rm", "-T", "cli", "channels", "status", "--json"))
        return [r for channel in status["channels"] if channel["name"] == self.name for r in channel["replicas"]]

    async def say(self, text: str) -> None:
        body = {"text": text, "channel": self.private}
        async with aiohttp.ClientSession() as session, session.post(f"{self.url}/say", json=body) as answer:
            assert answer.status == 200, await answer.text()

    async def texts(self) -> list[str]:
        """What the bot's messages read now."""
        async with aiohttp.ClientSession() as session, session.get(f"{self.url}/chat") as answer:
            lines = (await answer.json())["lines"]
        return [line["text"] for line in lines if line["who"] == "crust" and line["place"] == self.private]

    async def reads(self, *words: str, seconds: float = 60) -> None:
        """Wait for a message of the bot's with each of ``words``."""
        async with asyncio.timeout(seconds):
            while not _each_in(words, await self.texts()):
                await asyncio.sleep(0.1)


def _each_in(words: tuple[str, ...], texts: list[str]) -> bool:
    return all(any(word in text for text in texts) for word in words)


@pytest.fixture(scope="module")
def compose() -> Iterator[Compose]:
    with composed("discord", "slack") as project:
        yield project


@pytest.fixture(scope="module", params=["discord", "slack"])
def channel(compose: Compose, request: pytest.FixtureRequest) -> Channel:
    """Set up as docs/channels.md says."""
    made = {
        "discord": Channel(
            "discord", {"token": discord.TOKEN}, "http://simulators:8911/api/v10", discord.DIRECT, compose
        ),
        "slack": Channel(
            "slack",
            {"bot_token": slack.BOT_TOKEN, "app_token": slack.APP_TOKEN},
            "http://simulators:8912/api/",
            slack.DIRECT,
            compose,
        ),
    }[request.param]
    credentials = []
    for key, token in made.tokens.items():
        name = f"channel.{made.name}.{key}"
        compose("run", "--rm", "-T", "vault-cli", "vault", "set", name, "--stdin", stdin=token)
        credentials += ["--credential", f"{key}={name}"]
    compose("run", "--rm", "-T", "cli", "channels", "add", made.name, *credentials, "--api-base", made.api_base)
    made.up()
    return made


async def test_a_stranger_is_let_in_and_answered_by_three_replicas(channel: Channel) -> None:
    async with asyncio.timeout(60):
        while sum(replica["link"] == "connected" for replica in await asyncio.to_thread(channel.replicas)) < 2:
            await asyncio.sleep(0.5)
    assert len(await asyncio.to_thread(channel.replicas)) == 3
    await channel.say("hello?")
    async with asyncio.timeout(30):
        while not await channel.texts():
            await asyncio.sleep(0.1)
    requests = json.loads(channel.project("run", "--rm", "-T", "cli", "pair", "list", "--json"))["requests"]
    [request] = [r for r in requests if r["person"]["channel"] == channel.name]
    channel.project("run", "--rm", "-T", "cli", "pair", "approve", request["id"], "--role", "operator")
    await channel.say("please repeat bumblebee")
    await channel.reads("bumblebee")
    logs = channel.project("--profile", channel.name, "logs", "--no-color")
    assert not [token for token in channel.tokens.values() if token in logs]


async def test_each_replica_may_be_killed_and_nothing_is_lost_or_answered_twice(channel: Channel) -> None:
    if os.geteuid() != 0:
        pytest.skip("kill -9 of a container's process needs root here")
    words = [f"number {number}." for number in range(12)]
    for number, word in enumerate(words):
        if number % 4 == 2:
            kill((await asyncio.to_thread(channel.containers))[number // 4])  # Docker starts it again
        await channel.say(f"please repeat {word}")
        await asyncio.sleep(0.2)
    await channel.reads(*words, seconds=90)
    await asyncio.sleep(2)
    texts = await channel.texts()
    assert [sum(f"repeat {word}" in text for text in texts) for word in words] == [1] * len(words)


async def test_messages_go_on_after_the_bus_and_the_vault_restart(channel: Channel) -> None:
    for service in ("nats", "vault"):
        await asyncio.to_thread(channel.project, "restart", service)
        await channel.say(f"please repeat after the restart of {service}")
        await channel.reads(f"after the restart of {service}")


async def test_everything_is_there_after_down_and_up(channel: Channel) -> None:
    await asyncio.to_thread(channel.project, "--profile", channel.name, "down", "--timeout", "15")
    await asyncio.to_thread(channel.up)
    await channel.say("after down and up")  # the simulator is new, too: it has forgotten what was said
    await channel.reads("after down and up")
