"""The Telegram channel as a process, on a real bus with a real vault, against a simulated Bot API."""

from collections.abc import AsyncIterator

import pytest

from channels import ChannelHouse, until
from harness import BusServer
from opencrust.contracts import InboundMessage
from simulators.telegram import BOT_ID, BOT_NAME, TOKEN, TelegramSimulator


@pytest.fixture
async def telegram() -> AsyncIterator[TelegramSimulator]:
    async with TelegramSimulator() as simulator:
        yield simulator


@pytest.fixture
async def house(bus_server: BusServer, telegram: TelegramSimulator) -> AsyncIterator[ChannelHouse]:
    async with ChannelHouse(
        bus_server, "telegram", {"token": TOKEN}, api_base=telegram.url, options={"poll_seconds": 1}
    ) as house:
        yield house


def echo(message: InboundMessage) -> str:
    return f"You wrote: {message.text}"


async def test_a_message_comes_in_and_its_answer_goes_out(house: ChannelHouse, telegram: TelegramSimulator) -> None:
    ready = house.adapter(start=False).start()
    assert ready < 6
    await house.agent(echo)
    await telegram.say("Hello, *you*", chat=7, user=7, name="Ann")
    await until(lambda: len(telegram.sent) == 1)
    assert telegram.texts(7) == ["You wrote: Hello, you"]
    [message] = await house.received()
    assert (message.account, message.conversation, message.sender.user) == (str(BOT_ID), "7", "7")
    assert message.sender.display_name == "Ann"
    assert message.trust == "guest"
    await until(lambda: telegram.pending() == 0)
    [receipt] = await house.receipts()
    assert (receipt.state, receipt.platform_id, receipt.attempts) == ("sent", str(telegram.sent[0].id), 1)
    [facts] = await house.health()
    assert facts["role"] == "leader"
    assert facts["link"] == "connected"
    assert facts["bot"] == BOT_NAME
