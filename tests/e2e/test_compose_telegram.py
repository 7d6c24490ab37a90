"""``docker compose --profile telegram up --scale channel-telegram=3`` for real, against a simulated Telegram: set up by
the commands that docs/channels.md gives, a person is let in and answered, and the leading replica is killed.

In the long suite only, as test_compose.py.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import time
from collections.abc import Iterator
from typing import Any

import aiohttp
import pytest

from composed import Compose, composed, kill
from opencrust_sim.telegram import TOKEN

PROFILE = ("--profile", "telegram")
UP = (*PROFILE, "up", "--detach", "--wait", "--wait-timeout", "180", "--scale", "channel-telegram=3")
PERSON = 42

pytestmark = [pytest.mark.long, pytest.mark.timeout(900)]


class Person:
    """Somebody who writes to the bot, by the simulator's control API."""

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}/_sim"

    async def say(self, text: str, **more: Any) -> None:
        body = {"chat": PERSON, "user": PERSON, "text": text, **more}
        async with aiohttp.ClientSession() as session, session.post(f"{self.url}/say", json=body) as answer:
            assert answer.status == 200, await answer.text()

    async def texts(self) -> list[str]:
        """What the bot sent."""
        async with aiohttp.ClientSession() as session, session.get(f"{self.url}/messages") as answer:
            return [message["text"] for message in (await answer.json())["messages"]]

    async def reads(self, word: str, seconds: float = 60) -> float:
        """Wait for a message of the bot's with ``word``; the seconds that it took."""
        begin = time.monotonic()
        async with asyncio.timeout(seconds):
            while not any(word in text for text in await self.texts()):
                await asyncio.sleep(0.05)
        return time.monotonic() - begin


@pytest.fixture(scope="module")
def compose() -> Iterator[Compose]:
    with composed("telegram") as project:
        project("run", "--rm", "-T", "vault-cli", "vault", "set", "channel.telegram.token", "--stdin", stdin=TOKEN)
        add = ("channels", "add", "telegram", "--credential", "token=channel.telegram.token")
        project("run", "--rm", "-T", "cli", *add, "--api-base", "http://simulators:8901")
        project(*UP)
        yield project


@pytest.fixture
def person(compose: Compose) -> Person:
    return Person(compose.telegram_port)


def replicas(compose: Compose) -> list[dict[str, Any]]:
    status = json.loads(compose("run", "--rm", "-T", "cli", "channels", "status", "--json"))
    found: list[dict[str, Any]] = status["channels"][0]["replicas"]
    return found


def channel_containers(compose: Compose) -> list[dict[str, Any]]:
    ids = compose(*PROFILE, "ps", "--quiet", "channel-telegram").split()
    shown = subprocess.run(["docker", "inspect", *ids], capture_output=True, text=True, check=True).stdout
    found: list[dict[str, Any]] = json.loads(shown)
    return found


def leader(compose: Compose) -> dict[str, Any]:
    """The container of the replica that listens. A replica's name is made up when it starts; its log says it."""
    [leading] = [replica["instance"] for replica in replicas(compose) if replica["role"] == "leader"]
    for container in channel_containers(compose):
        logs = subprocess.run(["docker", "logs", container["Id"]], capture_output=True, text=True, check=True)
        if f"{leading} listens as leader" in logs.stdout + logs.stderr:
            return container
    raise AssertionError(f"no container's log says that {leading} listens")


def test_three_replicas_run_and_one_listens(compose: Compose) -> None:
    found = replicas(compose)
    assert len(found) == 3
    assert [replica["link"] for replica in found if replica["role"] == "leader"] == ["connected"]
    assert TOKEN not in compose(*PROFILE, "logs", "--no-color")


def test_a_channel_is_locked_down_and_has_its_own_certificate_alone(compose: Compose) -> None:
    for container in channel_containers(compose):
        host = container["HostConfig"]
        assert host["ReadonlyRootfs"]
        assert host["CapDrop"] == ["ALL"]
        assert not host["CapAdd"]
        assert "no-new-privileges:true" in host["SecurityOpt"]
        assert 0 < host["Memory"] == host["MemorySwap"]
        assert host["PidsLimit"] > 0
        assert container["Config"]["User"] == "10008:10008"
        assert [(m["Destination"], m["RW"]) for m in container["Mounts"]] == [("/identity", False)]
        status = subprocess.run(
            ["docker", "exec", container["Id"], "cat", "/proc/1/status"], capture_output=True, text=True, check=True
        ).stdout
        assert "CapEff:\t0000000000000000" in status
        resident = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS"))
        print(f"channel-telegram: {resident / 1024:.0f} MiB resident")


async def test_a_stranger_is_let_in_and_answered(compose: Compose, person: Person) -> None:
    await person.say("hello?")
    async with asyncio.timeout(30):
        while not await person.texts():
            await asyncio.sleep(0.1)
    [request] = json.loads(compose("run", "--rm", "-T", "cli", "pair", "list", "--json"))["requests"]
    compose("run", "--rm", "-T", "cli", "pair", "approve", request["id"], "--role", "operator")
    await person.say("please repeat bumblebee")
    await person.reads("bumblebee")


async def test_one_message_of_a_channel_is_one_trace(compose: Compose, person: Person) -> None:
    await person.say("traced dragonfly")
    await person.reads("dragonfly")
    query = f"http://127.0.0.1:{compose.query_port}/api/traces"
    async with aiohttp.ClientSession() as session, asyncio.timeout(30):
        while True:
            async with session.get(query, params={"service": "channel-telegram", "limit": "100"}) as answer:
                traces = (await answer.json())["data"]
            both = [t for t in traces if {"channel-telegram", "agent"} <= {s["processID"] for s in t["spans"]}]
            if both:
                break
            await asyncio.sleep(0.5)
    assert "dragonfly" not in json.dumps(both), "content in a trace"


@pytest.mark.parametrize("how", ["kill -9", "SIGTERM"])
async def test_another_takes_over_and_nothing_is_lost_or_answered_twice(
    compose: Compose, person: Person, how: str
) -> None:
    if os.geteuid() != 0:
        pytest.skip("kill -9 of a container's process needs root here")
    victim = await asyncio.to_thread(leader, compose)
    word = how.replace(" ", "").replace("-", "")
    if how == "SIGTERM":
        subprocess.run(["docker", "kill", "--signal", "TERM", victim["Id"]], check=True, capture_output=True)
    else:
        kill(victim)
    begin = time.monotonic()
    for number in range(5):
        await person.say(f"{word} number {number}.")
    await person.reads(f"{word} number 0.")
    took = time.monotonic() - begin
    print(f"{how}: answered by another replica after {took:.2f} s")
    assert took < (4.5 if how == "kill -9" else 1.5), "4 s and 0.5 s, and the answer itself"
    for number in range(5):
        await person.reads(f"{word} number {number}.")
    await asyncio.sleep(2)
    texts = await person.texts()
    assert [sum(f"{word} number {number}." in text for text in texts) for number in range(5)] == [1] * 5
    await asyncio.to_thread(compose, *UP)


async def test_messages_go_on_after_the_bus_and_the_vault_restart(compose: Compose, person: Person) -> None:
    for service in ("nats", "vault"):
        await asyncio.to_thread(compose, "restart", service)
        await person.say(f"after the restart of {service}")
        print(f"{service} restarted: answered after {await person.reads(f'after the restart of {service}'):.1f} s")


async def test_everything_is_there_after_down_and_up(compose: Compose, person: Person) -> None:
    await asyncio.to_thread(compose, *PROFILE, "down", "--timeout", "15")
    await asyncio.to_thread(compose, *UP)
    await person.say("after down and up")  # the simulator is new, too: it has forgotten what was said
    await person.reads("after down and up")
