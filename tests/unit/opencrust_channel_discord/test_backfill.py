"""Reading what was missed, where reading fails: what is live goes on, and nothing is passed over."""

import asyncio
from collections.abc import Mapping
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any, cast

import pytest

from opencrust_channel_discord import backfill
from opencrust_channel_discord.backfill import Backfill
from opencrust_channel_discord.catchup import Place, Places
from opencrust_channel_discord.rest import NoAnswer, Refusal


class Rest:
    """Answers with what is set: a list of ids, or an exception."""

    def __init__(self) -> None:
        self.answer: list[int] | Exception = []
        self.asked: list[str] = []

    async def get(self, path: str, *, after: str, limit: int) -> Any:
        self.asked.append(after)
        if isinstance(self.answer, Exception):
            raise self.answer
        now = datetime.now(UTC).isoformat()
        return [{"id": str(number), "timestamp": now} for number in self.answer if number > int(after)]


class Work:
    """Does at once what is put."""

    def __init__(self) -> None:
        self.done: list[asyncio.Task[None]] = []

    def put(self, key: str, work: Any) -> None:
        self.done.append(asyncio.ensure_future(work()))


@pytest.fixture
def kept() -> dict[str, str]:
    return {}


@pytest.fixture
def rest() -> Rest:
    return Rest()


@pytest.fixture
def handed() -> list[str]:
    return []


@pytest.fixture
async def gaps(kept: dict[str, str], rest: Rest, handed: list[str], monkeypatch: pytest.MonkeyPatch) -> Backfill:
    async def read(name: str) -> str | None:
        return kept.get(name)

    async def keep(name: str, value: str) -> None:
        kept[name] = value

    async def hand_on(place: Place, message: Mapping[str, Any]) -> None:
        handed.append(str(message["id"]))

    monkeypatch.setattr(backfill, "PATIENCE", 0.2)
    monkeypatch.setattr(backfill, "WALL_PATIENCE", 0.2)
    monkeypatch.setattr(backfill, "LOOK_AGAIN", 0.1)
    runtime = SimpleNamespace(cursor=read, keep=keep)
    made = Backfill(cast(Any, runtime), cast(Any, rest), Places(), cast(Any, Work()), hand_on)
    await made.start()
    made.begin_session()
    return made


@pytest.mark.parametrize(
    "failure",
    [Refusal(500), Refusal(429, after=9.0), Refusal(403, foreign=True), Refusal(405, foreign=True),
     NoAnswer("cut", sent=True)],
)  # fmt: skip
async def test_what_cannot_be_read_now_is_read_later_from_where_it_was(
    gaps: Backfill, rest: Rest, handed: list[str], failure: Exception
) -> None:
    place = Place("7", "1")
    gaps.cursors.advance("7", "10")
    rest.answer = failure
    await gaps.catch_up(place, "13")
    gaps.handed_on(place, "13")  # it goes on, and the cursor stays
    rest.answer = [11, 12, 13]
    async with asyncio.timeout(5):
        while handed != ["11", "12", "13"]:
            await asyncio.sleep(0.02)
    assert rest.asked[-1] == "10"
    gaps.handed_on(place, "14")
    assert await gaps.cursors.get("7", "0") == "14"


@pytest.mark.parametrize("refusal", [Refusal(403, 50001), Refusal(404, 10003), Refusal(400)])
async def test_where_we_may_not_read_nothing_is_waited_for(
    gaps: Backfill, rest: Rest, handed: list[str], refusal: Refusal
) -> None:
    place = Place("7", "1")
    rest.answer = refusal
    await gaps.catch_up(place)
    gaps.handed_on(place, "5")
    assert (rest.asked, handed, await gaps.cursors.get("7", "0")) == (["0"], [], "5")
    await gaps.catch_up(place)
    assert rest.asked == ["0"], "once in a session"


async def test_ids_that_tell_no_time_are_read_from_the_first_on(gaps: Backfill, rest: Rest, handed: list[str]) -> None:
    rest.answer = [3, 4]
    await gaps.catch_up(Place("9", None), "4")
    assert handed == ["3", "4"]
