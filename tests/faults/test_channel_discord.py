"""The fault matrix for Discord, and what happens when one of its listeners dies."""

import asyncio
import itertools
from collections.abc import Callable
from typing import Any

import pytest

from channels import ChannelHouse, until
from faults.channel_matrix import LONG_ROWS, QUARTERS, ROWS, Platform, killed_in_turn, matrix, quarter_of
from harness import BusServer
from opencrust_sim.discord import BOT, GENERAL, GUILD, TOKEN, Channel, DiscordSimulator


class Discord(Platform):
    """The simulated Discord in the matrix.

    Discord has no acknowledgement of events. In its place: ``ack`` is a moment after an event was sent, before a cursor
    can be kept; ``acked`` a moment after it can be. Conversations are channels of a server: a private one that we never
    met cannot be found again after a gap, by nobody.
    """

    channel = "discord"
    idempotent = True

    def __init__(self) -> None:
        self.simulator = DiscordSimulator()
        self.simulator.rate = None
        for number in ("3001", "3002", "3003", "3004", "3005", "3009"):
            self.simulator.channels[number] = Channel(number, 0, GUILD)
        self.secrets = {"token": TOKEN}
        self._ends = itertools.cycle(["cut", "invalid", "reconnect", "invalid-resumable", "close"])
        self._tokens = 0
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> dict[str, Any]:
        await self.simulator.__aenter__()
        gateway = f"ws://127.0.0.1:{self.simulator.port}/"
        return {"api_base": f"{self.simulator.url}/api/v10", "options": {"gateway_url": gateway}}

    async def stop(self) -> None:
        await self.simulator.__aexit__(None, None, None)

    async def say(self, conversation: int, text: str, *, file: bytes | None = None) -> None:
        if not self.simulator.said:
            await until(lambda: self.simulator.connected > 0)
        files = {} if file is None else {"attachments": [self.simulator.attach("a.png", file, "image/png")]}
        await self.simulator.say(
            f"<@{BOT}> {text}", channel=f"30{conversation:02}", user=f"50{conversation:02}", **files
        )

    def shown(self) -> list[tuple[int, str]]:
        return [(int(channel[2:]), text) for channel, text in self.simulator.shown()]

    def at(self, moment: str, action: Callable[[], None]) -> None:
        match moment:
            case "fetch":
                self.simulator.when("GET /attachments/*", "before", action)
            case "ack" | "acked":
                self._soon(self._after_event(0.02 if moment == "ack" else 1.3, action))
            case "send" | "sent":
                self.simulator.when("POST *messages", "before" if moment == "send" else "after", action)

    async def _after_event(self, seconds: float, action: Callable[[], None]) -> None:
        await until(lambda: self.simulator.connected > 0)  # there is somebody to be killed
        known, waited = len(self.simulator.said), 0
        while len(self.simulator.said) == known and waited < 200:  # at the end of a row none may come any more
            await asyncio.sleep(0.005)
            waited += 1
        await asyncio.sleep(seconds)
        action()

    def trouble(self, kind: str, times: int) -> None:
        if kind == "session":
            self.simulator.refuse_resume = not self.simulator.refuse_resume
            self._soon(self.simulator.gateway_do(next(self._ends)))
        else:
            self.simulator.fault("POST *messages", {"cut_after_accept": "cut-after"}.get(kind, kind), times, after=0.2)

    async def odd(self) -> None:
        channel = "3001"
        for event, data in (
            ("MESSAGE_CREATE", {"id": "1", "channel_id": channel, "author": 7, "mentions": "x"}),
            ("MESSAGE_CREATE", {"id": None, "channel_id": channel}),
            ("MESSAGE_CREATE", {}),
            ("GUILD_CREATE", {"id": None, "channels": 5}),
            ("INTERACTION_CREATE", {"id": "1", "type": 99, "token": None}),
            ("A_KIND_OF_NEXT_YEAR", {"x": [1]}),
        ):
            await self.simulator.dispatch(event, data)

    async def again(self) -> None:
        await self.simulator.again()

    def rotate(self) -> str:
        self._tokens += 1
        self.simulator.token = f"another-token-{self._tokens}"
        self._soon(self.simulator.gateway_do("close", 4004))
        return self.simulator.token

    def _soon(self, work: Any) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


@pytest.mark.parametrize("quarter", range(QUARTERS))
async def test_nothing_is_lost_doubled_or_out_of_order_whatever_goes_wrong(bus_server: BusServer, quarter: int) -> None:
    await matrix(bus_server, Discord(), 4, quarter_of(ROWS, quarter), long=False)


@pytest.mark.long
@pytest.mark.timeout(1800)
async def test_the_same_with_a_thousand_messages(bus_server: BusServer) -> None:
    await matrix(bus_server, Discord(), 63, ROWS | LONG_ROWS, long=True)


@pytest.mark.long
@pytest.mark.timeout(300)
async def test_three_replicas_one_after_another_killed_lose_nothing(bus_server: BusServer) -> None:
    """300 messages while each of three replicas is killed in turn, with and without warning, and comes back."""
    discord = Discord()
    settings = await discord.start()
    try:
        async with ChannelHouse(bus_server, "discord", discord.secrets, **settings) as house:
            ready = [await asyncio.to_thread(house.adapter(start=False).start) for _ in range(3)]
            await until(lambda: discord.simulator.connected == 2)
            print(f"ready in {max(ready):.1f} s, {house.adapters[0].rss() >> 20} MiB")
            await killed_in_turn(house, lambda text: discord.simulator.say(f"<@{BOT}> {text}", channel=GENERAL))
    finally:
        await discord.stop()
