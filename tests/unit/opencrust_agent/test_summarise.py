"""When a summary is due, what it covers, and that a model which fails at it costs nothing."""

import asyncio
from collections.abc import AsyncGenerator

import pytest

from opencrust.contracts import SessionView, Summary, Turn
from opencrust.contracts.messages import now
from opencrust_agent.compose import in_summary
from opencrust_agent.models import Completion, ErrorKind, Event, ModelError, Request, Usage, assistant
from opencrust_agent.summarise import due, summarised


class Scribe:
    """Summarises everything in the same words."""

    provider = model = "scribe"

    def __init__(self, *, fails: bool = False, supports_tools: bool = True) -> None:
        self.supports_tools = supports_tools
        self.requests: list[Request] = []
        self._fails = fails

    async def stream(self, request: Request) -> AsyncGenerator[Event, None]:
        self.requests.append(request)
        if self._fails:
            raise ModelError(ErrorKind.SERVER, "no")
        yield Completion(assistant("They spoke of \u202epears."), "stop", Usage(), "scribe", "scribe")


def session(turns: int, size: int = 100, summary: Summary | None = None) -> SessionView:
    view = SessionView(tainted=True, vouched=["bob@example.org"], summary=summary)
    for seq in range(1, turns + 1):
        text = f"q{seq} ".ljust(size // 2, "x")
        turn = Turn(seq=seq, message_id=str(seq), user="a", text=text, reply_id=f"re:{seq}:0", reply=text, at=now())
        view = view.with_turn(turn, [])
    return view


def test_nothing_is_due_below_seventy_per_cent() -> None:
    assert due(session(7), 1_000) == []


def test_above_it_the_older_ones_are_until_thirty_five_per_cent_are_left() -> None:
    assert [turn.seq for turn in due(session(8), 1_000)] == [1, 2, 3, 4, 5]


def test_many_short_turns_are_due_before_they_are_dropped_uncounted() -> None:
    assert [turn.seq for turn in due(session(29, 10), 48_000)] == list(range(1, 16))


def test_what_the_summary_tells_is_not_counted_again() -> None:
    assert due(session(8, summary=Summary(text="s", upto=5)), 1_000) == []


async def test_it_is_made_marked_and_remembered_and_decides_nothing() -> None:
    before, scribe = session(8, summary=Summary(text="Before that: apples.", upto=0)), Scribe()
    after = await summarised(scribe, before, history=1_000, boundary="0" * 16, stop=asyncio.Event())
    assert after.summary == Summary(text="They spoke of pears.", upto=5)
    assert [turn.seq for turn in after.turns if not in_summary(turn, after)] == [6, 7, 8]
    asked = scribe.requests[0].messages[0].text
    assert asked.startswith("<<0000000000000000 source=conversation>>\nBefore that: apples.")
    assert "q5" in asked
    assert "q6" not in asked
    assert after.model_copy(update={"summary": before.summary}) == before


@pytest.mark.parametrize("scribe", [Scribe(fails=True), Scribe(supports_tools=False)])
async def test_without_one_the_session_stays_as_it_is(scribe: Scribe) -> None:
    before = session(8)
    assert await summarised(scribe, before, history=1_000, boundary="0" * 16, stop=asyncio.Event()) == before


async def test_a_stop_ends_it_at_once() -> None:
    class Slow(Scribe):
        async def stream(self, request: Request) -> AsyncGenerator[Event, None]:
            await asyncio.sleep(60)
            yield Completion(assistant("late"), "stop", Usage(), "scribe", "scribe")

    before, stop = session(8), asyncio.Event()
    asyncio.get_running_loop().call_later(0.05, stop.set)
    async with asyncio.timeout(1):
        assert await summarised(Slow(), before, history=1_000, boundary="0" * 16, stop=stop) == before
