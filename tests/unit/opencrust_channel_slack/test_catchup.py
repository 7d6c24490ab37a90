"""When a conversation is read before an event, and when it is not."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, cast

import pytest

from opencrust.channel.adapter import InEvent, Runtime
from opencrust.channel.link import Link
from opencrust.config import ChannelSettings
from opencrust.credentials import Secret
from opencrust_channel_slack.api import Api, Refusal
from opencrust_channel_slack.catchup import Budget, CatchUp, place_in_time
from opencrust_channel_slack.events import Me


class Slack:
    """What conversations.history shows."""

    def __init__(self) -> None:
        self.began = int(time.time())
        self.messages: list[dict[str, Any]] = []
        self.calls: list[str] = []
        self.refusal: Refusal | None = None

    async def call(self, method: str, **where: Any) -> Mapping[str, Any]:
        self.calls.append(method)
        if self.refusal is not None:
            raise self.refusal
        return {"messages": [m for m in self.messages if float(m["ts"]) > float(where["oldest"])]}

    def say(self, number: int) -> str:
        stamp = f"{self.began}.{number:06d}"
        self.messages.append({"type": "message", "user": "U1", "text": str(number), "ts": stamp})
        return stamp


@pytest.fixture
def slack() -> Slack:
    return Slack()


@pytest.fixture
def heard() -> list[str]:
    return []


@pytest.fixture
def missed(slack: Slack, heard: list[str]) -> CatchUp:
    kept: dict[str, str] = {}

    async def read(name: str) -> str | None:
        return kept.get(name)

    async def keep(name: str, value: str) -> None:
        kept[name] = value

    async def bury(id: str, reason: str, event: object) -> None: ...

    async def secret(name: str) -> Secret:
        raise AssertionError

    async def hand(event: InEvent) -> None:
        heard.append(event.text)

    runtime = Runtime(ChannelSettings(name="slack"), secret, Link(5), read, keep, bury)
    return CatchUp(runtime, cast(Api, slack), Me("T1", "U0"), hand)


async def arrives(missed: CatchUp, stamp: str) -> None:
    await missed.before("D1", stamp)
    missed.handed("D1", stamp, f"D1:{stamp}")


async def test_after_a_gap_a_place_is_read_once_and_in_doubt_again(
    missed: CatchUp, slack: Slack, heard: list[str]
) -> None:
    missed.begin()
    first, second = slack.say(1), slack.say(2)
    await arrives(missed, second)
    assert heard == ["1", "2"]
    await arrives(missed, first)
    assert len(slack.calls) == 1  # the look showed it already
    missed._doubted_until = 0.0
    await arrives(missed, slack.say(3))
    assert len(slack.calls) == 1
    missed.doubt()
    lost, after = slack.say(4), slack.say(5)
    await arrives(missed, after)
    assert (heard[-2:], len(slack.calls)) == (["4", "5"], 2)
    await arrives(missed, lost)
    assert len(slack.calls) == 2


async def test_killed_between_its_first_steps_a_place_is_read_all_the_same(
    missed: CatchUp, slack: Slack, heard: list[str]
) -> None:
    """It was met, and what came first in it was not handed on: what is new does not overtake that."""
    missed.begin()
    missed._doubted_until = 0.0
    await missed.cursors.meet("D1")
    slack.say(1)
    works: list[Callable[[], Awaitable[None]]] = []
    reading = asyncio.create_task(missed.read_again(lambda place, work: works.append(work)))
    await asyncio.sleep(0.01)
    await works[0]()
    await reading
    await arrives(missed, slack.say(2))
    assert heard[0] == "1"


async def test_looks_in_doubt_are_few(missed: CatchUp, slack: Slack) -> None:
    missed.begin()
    for number in range(1, 100):
        await arrives(missed, slack.say(number))
    assert 10 <= len(slack.calls) <= 20


async def test_a_refusal_for_long_does_not_hold_up_what_is_live(missed: CatchUp, slack: Slack) -> None:
    missed.begin()
    slack.refusal = Refusal(429, "ratelimited", 30)
    began = time.monotonic()
    await arrives(missed, slack.say(1))
    assert time.monotonic() - began < 1
    slack.refusal = None
    await arrives(missed, slack.say(2))
    assert len(slack.calls) == 2  # it is asked again


async def test_without_the_scope_it_is_not_asked_again_for_such_places(missed: CatchUp, slack: Slack) -> None:
    missed.begin()
    slack.refusal = Refusal(200, "missing_scope")
    for number in range(5):
        await arrives(missed, slack.say(number))
    assert len(slack.calls) == 1
    await missed.before("C1", slack.say(9))
    assert len(slack.calls) == 2


async def test_a_time_far_ahead_moves_no_cursor(missed: CatchUp, slack: Slack, heard: list[str]) -> None:
    missed.begin()
    await arrives(missed, slack.say(1))
    missed.handed("D1", "99999999999999.000000", "x")
    missed.doubt()
    await arrives(missed, slack.say(2))
    assert heard[-1] == "2"


def test_a_budget() -> None:
    clock = [0.0]
    budget = Budget(2, 60, lambda: clock[0])
    assert [budget.take() for _ in range(3)] == [True, True, False]
    assert budget.wait() == pytest.approx(1)
    clock[0] = 1.5
    assert [budget.take(), budget.take()] == [True, False]
    clock[0] = 100
    assert [budget.take() for _ in range(3)] == [True, True, False]


@pytest.mark.parametrize("stamp", [None, "", "abc", "²", "9" * 40, "1e9", "nan", "-1.5", 5.5])
def test_what_is_no_time_is_none(stamp: object) -> None:
    assert place_in_time(stamp) <= (5, 500_000_000)
