"""Servers that do not wait, and such that repeat what is confirmed, neither make the poll spin nor read all anew."""

import asyncio
from typing import Any, cast

import pytest

from opencrust.channel.link import Link
from opencrust_channel_telegram.api import Answer, BotApi
from opencrust_channel_telegram.polling import poll


class Forgetless:
    """A server that answers at once, and gives everything from ``offset`` on, confirmed or not."""

    def __init__(self, numbers: list[int], *, deaf: bool = False) -> None:
        self.numbers = numbers
        self.deaf = deaf
        self.calls = 0

    async def call(self, method: str, parameters: dict[str, Any], **_: object) -> Answer:
        self.calls += 1
        await asyncio.sleep(0)
        begin = 0 if self.deaf else parameters.get("offset", 0)
        return Answer(True, [{"update_id": number} for number in self.numbers if number >= begin], 200)


@pytest.mark.parametrize("deaf", [False, True])
async def test_a_server_that_neither_waits_nor_forgets_is_not_called_in_a_rush(deaf: bool) -> None:
    server, stop, taken = Forgetless([1, 2, 3], deaf=deaf), asyncio.Event(), []

    async def take(update: Any) -> None:
        taken.append(update["update_id"])

    polling = asyncio.create_task(
        poll(cast(BotApi, server), Link(5), take, stop, seconds=25, allowed=[], webhook_removed=lambda: None)
    )
    await asyncio.sleep(1.2)
    stop.set()
    polling.cancel()
    await asyncio.gather(polling, return_exceptions=True)
    assert taken[:3] == [1, 2, 3]
    assert len(taken) <= 9
    assert server.calls <= 10
