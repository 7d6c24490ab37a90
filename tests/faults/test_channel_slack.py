"""The fault matrix for Slack, and what happens when some of its listeners die."""

import asyncio
import itertools
import signal
from collections.abc import Callable
from typing import Any

import pytest

from channels import ChannelHouse, until
from faults.channel_matrix import LONG_ROWS, QUARTERS, ROWS, Platform, matrix, quarter_of
from harness import BusServer
from opencrust_sim.slack import APP_TOKEN, BOT_TOKEN, SlackSimulator


class Slack(Platform):
    """The simulated Slack in the matrix."""

    channel = "slack"
    rotates = "bot_token"
    idempotent = True  # not by a key: what is doubtful is looked up by its metadata

    def __init__(self) -> None:
        self.simulator = SlackSimulator()
        self.simulator.retry = [0.0, 1.0, 5.0, 20.0]
        self.secrets = {"bot_token": BOT_TOKEN, "app_token": APP_TOKEN}
        self._ends = itertools.cycle(["cut", "refresh_requested", "warning", "silence"])
        self._tokens = 0
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> dict[str, Any]:
        await self.simulator.__aenter__()
        return {"api_base": f"{self.simulator.url}/api/"}

    async def stop(self) -> None:
        await self.simulator.__aexit__(None, None, None)

    async def say(self, conversation: int, text: str, *, file: bytes | None = None) -> None:
        files = {} if file is None else {"files": [self.simulator.attach("a.png", file, "image/png")]}
        more = {**files, "subtype": "file_share"} if files else {}
        await self.simulator.say(text, channel=f"D{conversation}", user=f"U{conversation}", **more)

    def shown(self) -> list[tuple[int, str]]:
        return [(int(channel[1:]), text) for channel, text in self.simulator.shown()]

    def at(self, moment: str, action: Callable[[], None]) -> None:
        match moment:
            case "fetch":
                self.simulator.when("GET /files/*", "before", action)
            case "ack" | "acked":
                self.simulator.on_ack.append(("before" if moment == "ack" else "after", action))
            case "send" | "sent":
                self.simulator.when("POST *chat.postMessage", "before" if moment == "send" else "after", action)

    def trouble(self, kind: str, times: int) -> None:
        if kind == "session":
            self._soon(self.simulator.socket_do(next(self._ends)))
        else:
            kind = {"cut_after_accept": "cut-after"}.get(kind, kind)
            self.simulator.fault("POST *chat.postMessage", kind, times, after=1)

    async def odd(self) -> None:
        self.simulator.event({"type": "message", "channel": 5, "user": None})
        self.simulator.event({"type": "message"}, event_id=7)
        self.simulator.event({"type": "a_kind_of_next_year", "x": [1]})
        self.simulator.deliver("a_kind_of_next_year", {"a": 1}, False)
        self.simulator.deliver("interactive", {"type": "view_submission"}, True)

    async def again(self) -> None:
        self.simulator.again()

    def rotate(self) -> str:
        self._tokens += 1
        self.simulator.bot_token = f"xoxb-another-{self._tokens}"
        return self.simulator.bot_token

    def _soon(self, work: Any) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


@pytest.mark.parametrize("quarter", range(QUARTERS))
async def test_nothing_is_lost_doubled_or_out_of_order_whatever_goes_wrong(bus_server: BusServer, quarter: int) -> None:
    await matrix(bus_server, Slack(), 4, quarter_of(ROWS, quarter), long=False)


@pytest.mark.long
@pytest.mark.timeout(1800)
async def test_the_same_with_a_thousand_messages(bus_server: BusServer) -> None:
    await matrix(bus_server, Slack(), 63, ROWS | LONG_ROWS, long=True)


@pytest.mark.long
@pytest.mark.timeout(300)
async def test_three_replicas_one_after_another_killed_lose_nothing(bus_server: BusServer) -> None:
    """300 messages while each of three replicas is killed in turn; and how long Slack waits for its acknowledgements.
    How many change places is counted: twenty a second are more than Slack lets us look up."""
    slack = Slack()
    settings = await slack.start()
    try:
        async with ChannelHouse(bus_server, "slack", slack.secrets, **settings) as house:
            ready = [await asyncio.to_thread(house.adapter(start=False).start) for _ in range(3)]
            await until(lambda: len(slack.simulator.connections) == 6)
            print(f"ready in {max(ready):.1f} s, {house.adapters[0].rss() >> 20} MiB")
            for number in range(300):
                await slack.simulator.say(str(number), channel="D1")
                if number % 30 == 20:
                    adapter = house.adapters[number // 30 % 3]
                    adapter.kill(signal.SIGTERM if number % 60 == 20 else signal.SIGKILL)
                    asyncio.get_running_loop().call_later(1.0, lambda one=adapter: one.start(ready=False))
                await asyncio.sleep(0.05)

            async def all_there() -> bool:
                return sorted(int(m.text) for m in await house.received()) == list(range(300))

            await until(all_there, 30)
            await until(lambda: all(adapter.process is not None for adapter in house.adapters))
            order = [int(message.text) for message in await house.received()]
            took = sorted(d.took for d in slack.simulator.deliveries if d.took is not None and d.attempts == 1)
            p99 = took[int(len(took) * 0.99) - 1]
            print(f"acknowledged: p50 {took[len(took) // 2] * 1000:.0f} ms, p99 {p99 * 1000:.0f} ms")
            print(f"out of order: {sum(a > b for a, b in itertools.pairwise(order))} of {len(order)}")
            assert p99 <= 0.3
    finally:
        await slack.stop()


@pytest.mark.long
@pytest.mark.timeout(300)
async def test_at_the_pace_of_a_person_three_replicas_keep_the_order(bus_server: BusServer) -> None:
    """A message every 3 seconds in pairs half a second apart, while each of three replicas is killed in turn."""
    slack = Slack()
    settings = await slack.start()
    try:
        async with ChannelHouse(bus_server, "slack", slack.secrets, **settings) as house:
            for _ in range(3):
                await asyncio.to_thread(house.adapter)
            await until(lambda: len(slack.simulator.connections) == 6)
            for number in range(40):
                await slack.simulator.say(str(number), channel="D1")
                if number % 8 == 4:
                    adapter = house.adapters[number // 8 % 3]
                    adapter.kill(signal.SIGTERM if number % 16 == 4 else signal.SIGKILL)
                    asyncio.get_running_loop().call_later(1.0, lambda one=adapter: one.start(ready=False))
                await asyncio.sleep(0.5 if number % 2 else 5.5)

            async def all_there() -> bool:
                return len(await house.received()) == 40

            await until(all_there, 30)
            assert [int(message.text) for message in await house.received()] == list(range(40))
    finally:
        await slack.stop()


@pytest.mark.long
@pytest.mark.timeout(300)
async def test_dead_connections_are_left_within_two_seconds_twenty_times(bus_server: BusServer) -> None:
    """All sockets fall silent, again and again: each time another one stands within two seconds."""
    slack = Slack()
    settings = await slack.start()
    simulator = slack.simulator
    try:
        async with ChannelHouse(bus_server, "slack", slack.secrets, **settings) as house:
            await asyncio.to_thread(house.adapter)
            await until(lambda: len(simulator.connections) == 2)
            noticed, again = [], []
            for _ in range(20):
                dead = list(simulator.connections)
                await simulator.socket_do("silence")
                began = asyncio.get_running_loop().time()
                noticed.append(await until(lambda dead=dead: any(c not in simulator.connections for c in dead), 8))
                await until(lambda dead=dead: len([c for c in simulator.connections if c not in dead]) == 2, 8)
                again.append(asyncio.get_running_loop().time() - began)
                await asyncio.sleep(1.2)
            for what, took in (("noticed", sorted(noticed)), ("all connections again", sorted(again))):
                print(f"silent: {what}: p50 {took[10]:.2f} s, max {took[-1]:.2f} s")
            assert max(noticed) <= 2
            [facts] = await house.health()
            assert facts["connections_dead"] == 40
    finally:
        await slack.stop()
