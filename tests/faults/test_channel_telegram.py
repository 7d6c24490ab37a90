"""The fault matrix for Telegram, and how fast another replica takes over."""

import asyncio
import signal
import time
from collections.abc import Callable
from typing import Any

import pytest

from channels import ChannelHouse, until
from faults.channel_matrix import LONG_ROWS, QUARTERS, ROWS, Platform, killed_in_turn, matrix, quarter_of
from harness import BusServer
from opencrust_sim.telegram import TOKEN, TelegramSimulator


class Telegram(Platform):
    """The Bot API simulator in the matrix."""

    channel = "telegram"

    def __init__(self) -> None:
        self.simulator = TelegramSimulator()
        self.secrets = {"token": TOKEN}
        self._tokens = 0

    async def start(self) -> dict[str, Any]:
        await self.simulator.start()
        return {"api_base": self.simulator.url, "options": {"poll_seconds": 1}}

    async def stop(self) -> None:
        await self.simulator.stop()

    async def say(self, conversation: int, text: str, *, file: bytes | None = None) -> None:
        files = None if file is None else {"photo": file}
        await self.simulator.say(text, chat=conversation, user=conversation, files=files)

    def shown(self) -> list[tuple[int, str]]:
        return [(sent.chat, text) for sent, text in zip(self.simulator.sent, self.simulator.texts(), strict=True)]

    def at(self, moment: str, action: Callable[[], None]) -> None:
        method, phase = {
            "fetch": ("getFile", "before"),
            "ack": ("getUpdates", "before"),
            "acked": ("getUpdates", "after"),
            "send": ("sendMessage", "before"),
            "sent": ("sendMessage", "after"),
        }[moment]

        def strike(parameters: dict[str, Any]) -> bool:
            confirms = int(parameters.get("offset") or 0) > self.simulator.confirmed
            if method == "getUpdates" and phase == "before" and not confirms:
                self.simulator.when(method, phase, strike)  # a poll that acknowledges nothing
                return False
            action()
            return True

        self.simulator.when(method, phase, strike)

    def trouble(self, kind: str, times: int) -> None:
        if kind == "session":
            self.simulator.fault("getUpdates", "cut", times)
        else:
            more = {"retry_after": 0.2} if kind == "429" else {}
            self.simulator.fault("sendMessage", {"html": "html502"}.get(kind, kind), times, **more)

    async def odd(self) -> None:
        for update in (
            {"message": {"message_id": 1, "date": 1}},
            {"message": "text"},
            {"message": {"message_id": "x", "from": {"id": 1}, "chat": {"id": 1}, "date": 1, "text": "x"}},
            {"poll": {"id": "1"}},
            {"a_kind_of_next_year": {"x": [1]}},
        ):
            await self.simulator.push(update)

    async def again(self) -> None:
        await self.simulator.again()

    def rotate(self) -> str:
        self._tokens += 1
        token = f"987654321:simulated-token-number-{self._tokens}-0123456789"
        self.simulator.rotate(token)
        return token


@pytest.mark.parametrize("quarter", range(QUARTERS))
async def test_nothing_is_lost_doubled_or_out_of_order_whatever_goes_wrong(bus_server: BusServer, quarter: int) -> None:
    await matrix(bus_server, Telegram(), 4, quarter_of(ROWS, quarter), long=False)


@pytest.mark.long
@pytest.mark.timeout(1800)
async def test_the_same_with_a_thousand_messages(bus_server: BusServer) -> None:
    await matrix(bus_server, Telegram(), 63, ROWS | LONG_ROWS, long=True)


@pytest.mark.parametrize(("number", "within"), [(signal.SIGKILL, 4.0), (signal.SIGTERM, 0.5)])
async def test_another_replica_takes_over(bus_server: BusServer, number: signal.Signals, within: float) -> None:
    telegram = Telegram()
    settings = await telegram.start()
    try:
        async with ChannelHouse(bus_server, "telegram", telegram.secrets, **settings) as house:
            for _ in range(3):
                await asyncio.to_thread(house.adapter)

            async def settled() -> bool:
                roles = sorted(str(facts["role"]) for facts in await house.health())
                return roles == ["leader", "standby", "standby"]

            await until(settled)
            assert house.adapters[0].rss() <= 80 * 1024 * 1024
            polls = telegram.simulator.polls
            leader = await house.leader()
            begin = time.monotonic()
            assert leader.process is not None
            leader.process.send_signal(number)
            await telegram.simulator.say("still there?", chat=3, user=3)
            await until(lambda: telegram.simulator.polls > polls + 1 and telegram.simulator.pending() == 0, 10, 0.005)
            took = time.monotonic() - begin
            print(f"{number.name}: the next replica had the message after {took:.2f} s")
            assert took <= within
            assert [message.text for message in await house.received()] == ["still there?"]
    finally:
        await telegram.stop()


@pytest.mark.long
@pytest.mark.timeout(300)
async def test_three_replicas_one_after_another_killed_lose_nothing(bus_server: BusServer) -> None:
    """300 messages of one conversation while each of three replicas is killed in turn, and comes back."""
    telegram = Telegram()
    settings = await telegram.start()
    try:
        async with ChannelHouse(bus_server, "telegram", telegram.secrets, **settings) as house:
            for _ in range(3):
                await asyncio.to_thread(house.adapter)
            await killed_in_turn(house, lambda text: telegram.simulator.say(text, chat=3, user=3))
            await until(lambda: telegram.simulator.pending() == 0)
    finally:
        await telegram.stop()
