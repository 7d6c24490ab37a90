"""A stranger comes in, from his first message to the answer, with real parts at every step.

Telegram's simulated Bot API, the channel's own process, the gateway's pairing desk, the real bus and vault. The agent
alone is a stand-in.
"""

import asyncio
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest

from channels import ChannelHouse, until
from harness import BusServer
from opencrust.access.desk import InviteWish, PersonChange
from opencrust.access.people import ChannelPolicy, DmPolicy, PersonId, Role
from opencrust_gateway.pairing import Desk, Wire
from opencrust_sim.telegram import BOT_ID, TOKEN, TelegramSimulator

CODE = re.compile(r"[0-9A-HJKMNP-TV-Z]{4}-[0-9A-HJKMNP-TV-Z]{4}")
BOSS, ANNA = 1, 42


@dataclass
class Paired:
    house: ChannelHouse
    telegram: TelegramSimulator
    desk: Desk

    async def told(self, chat: int, words: str, seconds: float = 10) -> str:
        """The text to `chat` that contains `words`, once it is there."""
        found: list[str] = []

        def there() -> bool:
            found[:] = [text for text in self.telegram.texts(chat) if words in text]
            return bool(found)

        await until(there, seconds)
        return found[-1]

    async def say(self, text: str, user: int) -> None:
        await self.telegram.say(text, chat=user, user=user, name="Anna" if user == ANNA else "Boss")


@pytest.fixture
async def paired(bus_server: BusServer) -> AsyncIterator[Paired]:
    """A channel in pairing mode, where the operator has redeemed an invitation."""
    async with (
        TelegramSimulator() as telegram,
        ChannelHouse(
            bus_server, "telegram", {"token": TOKEN}, api_base=telegram.url, options={"poll_seconds": 1}
        ) as house,
    ):
        gateway = await bus_server.connect("gateway")
        desk = Desk(gateway)
        await Wire(gateway, desk).start()
        await desk.set_policy("telegram", ChannelPolicy(), by="test")
        house.adapter()
        await house.agent(lambda message: f"{message.trust}: {message.text}")
        found = Paired(house, telegram, desk)
        code, _ = await desk.invite(InviteWish(channel="telegram", role=Role.OPERATOR, name="Boss"), by="test")
        await found.say(f"/pair {code.lower()}", BOSS)
        await found.told(BOSS, "Welcome")
        yield found


async def test_a_stranger_is_offered_a_code_approved_by_the_operator_on_telegram_answered_and_blocked(
    paired: Paired,
) -> None:
    await paired.say("am I the boss?", BOSS)
    await paired.told(BOSS, "owner: am I the boss?")
    await paired.say("hello?", ANNA)
    code = CODE.search(await paired.told(ANNA, "Give the operator this code"))
    assert code is not None
    notice = await paired.told(BOSS, "A stranger asks to speak with me: Anna (42) on telegram")
    assert code[0] not in notice
    await paired.say(f"/pair approve {code[0]}", ANNA)  # by himself: not his to say
    await asyncio.sleep(0.5)
    assert [entry.name for entry in await paired.desk.people() if entry.active] == ["Boss"]
    await paired.say(f"/pair approve {code[0]}", BOSS)
    await paired.told(BOSS, "Anna may write to me now")
    await paired.told(ANNA, "Welcome")
    await paired.say("hello again", ANNA)
    await paired.told(ANNA, "user: hello again")
    person = PersonId(channel="telegram", account=str(BOT_ID), user=str(ANNA))
    await paired.desk.change(person.key, PersonChange(blocked=True), by="test", operators=True)
    await asyncio.sleep(1)  # every change holds within a second
    before = len(paired.telegram.texts(ANNA))
    await paired.say("still there?", ANNA)
    await paired.say("anybody?", BOSS)
    await paired.told(BOSS, "owner: anybody?")
    assert len(paired.telegram.texts(ANNA)) == before
    assert [message.text for message in await paired.house.received()] == ["am I the boss?", "hello again", "anybody?"]


async def test_where_strangers_are_dropped_in_silence_an_invitation_still_lets_in(paired: Paired) -> None:
    await paired.desk.set_policy("telegram", ChannelPolicy(dm=DmPolicy.ALLOWLIST), by="test")
    code, _ = await paired.desk.invite(InviteWish(channel="telegram"), by="test")
    await asyncio.sleep(1)
    for text in ("hello?", "/pair 0000-0000", "/start"):
        await paired.say(text, ANNA)
    await asyncio.sleep(1)
    assert paired.telegram.texts(ANNA) == []
    await paired.say(f"/pair {code}", ANNA)
    await paired.told(ANNA, "Welcome")
