"""Retry and fallback with scripted models and no real time."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing

import pytest

from opencrust_agent.models import (
    AllModelsFailed,
    Attempt,
    BreakerPolicy,
    Chain,
    Completion,
    ErrorKind,
    Event,
    Message,
    ModelError,
    Request,
    Reset,
    RetryPolicy,
    Text,
    TextDelta,
    Usage,
    user,
)

ASK = Request("", (user("hi"),))
OK = "ok"


class Scripted:
    """Each call plays the next item: an error, or text to answer; an error with partial=True comes after a delta."""

    supports_tools = True

    def __init__(self, name: str, *plays: ModelError | str) -> None:
        self.provider = name
        self.model = f"{name}-1"
        self.plays = list(plays)
        self.calls = 0
        self.closed = 0

    async def stream(self, request: Request) -> AsyncGenerator[Event, None]:
        self.calls += 1
        try:
            yield Attempt(1, self.provider, self.model)
            play = self.plays.pop(0)
            if isinstance(play, str):
                yield TextDelta(play)
                message = Message("assistant", (Text(play),), self.provider)
                yield Completion(message, "stop", Usage(), self.provider, self.model)
                return
            if play.partial:
                yield TextDelta("half an ans")
            raise play
        finally:
            self.closed += 1


class World:
    """A clock that only moves by sleeping."""

    def __init__(self) -> None:
        self.now = 0.0
        self.slept: list[float] = []

    def clock(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds

    def chain(
        self, *models: Scripted, policy: RetryPolicy | None = None, breakers: BreakerPolicy | None = None
    ) -> Chain:
        return Chain(models, policy, breakers, clock=self.clock, sleep=self.sleep, jitter=lambda: 1.0)


@pytest.fixture
def world() -> World:
    return World()


def error(kind: ErrorKind = ErrorKind.SERVER, *, partial: bool = False, retry_after: float | None = None) -> ModelError:
    return ModelError(kind, "x", partial=partial, retry_after=retry_after)


async def play(chain: Chain) -> list[Event]:
    return [event async for event in chain.stream(ASK)]


def shown(events: Sequence[Event]) -> str:
    """What a screen shows in the end."""
    text = ""
    for event in events:
        match event:
            case TextDelta(piece):
                text += piece
            case Reset():
                text = ""
    return text


async def test_the_first_model_answers(world: World) -> None:
    first, second = Scripted("a", OK), Scripted("b")
    events = await play(world.chain(first, second))
    assert [type(event) for event in events] == [Attempt, TextDelta, Completion]
    assert (first.calls, second.calls, world.slept) == (1, 0, [])


async def test_retry_with_growing_pauses_then_fallback(world: World) -> None:
    first, second = Scripted("a", error(), error(), error()), Scripted("b", OK)
    events = await play(world.chain(first, second))
    attempts = [event for event in events if isinstance(event, Attempt)]
    assert [(a.number, a.provider) for a in attempts] == [(1, "a"), (2, "a"), (3, "a"), (4, "b")]
    assert attempts[0].after is None
    assert all(a.after is not None and a.after.kind is ErrorKind.SERVER for a in attempts[1:])
    assert world.slept == [0.5, 1.0]
    assert shown(events) == OK


async def test_a_half_answer_is_taken_back(world: World) -> None:
    events = await play(world.chain(Scripted("a", error(ErrorKind.TRUNCATED, partial=True), OK)))
    assert [type(e).__name__ for e in events] == ["Attempt", "TextDelta", "Reset", "Attempt", "TextDelta", "Completion"]
    assert shown(events) == OK


async def test_a_half_answer_is_taken_back_even_when_nothing_follows(world: World) -> None:
    seen: list[Event] = []

    async def watch() -> None:
        async for event in world.chain(Scripted("a", error(ErrorKind.REFUSED, partial=True))).stream(ASK):
            seen.append(event)

    with pytest.raises(ModelError):
        await watch()
    assert shown(seen) == ""


async def test_retry_after_is_waited_for(world: World) -> None:
    await play(world.chain(Scripted("a", error(ErrorKind.RATE_LIMIT, retry_after=7), OK)))
    assert world.slept == [7]


async def test_a_long_retry_after_goes_on_to_the_next_and_rests_the_first(world: World) -> None:
    first, second = Scripted("a", error(ErrorKind.RATE_LIMIT, retry_after=90)), Scripted("b", OK, OK)
    chain = world.chain(first, second)
    await play(chain)
    assert world.slept == []
    assert chain.snapshot()[0]["state"] == "open"
    assert chain.snapshot()[0]["retry_in"] == 90
    await play(chain)
    assert (first.calls, second.calls) == (1, 2)


async def test_a_timeout_goes_on_at_once_but_is_retried_on_the_last(world: World) -> None:
    first, second = Scripted("a", error(ErrorKind.TIMEOUT)), Scripted("b", error(ErrorKind.TIMEOUT), OK)
    await play(world.chain(first, second))
    assert (first.calls, second.calls) == (1, 2)


@pytest.mark.parametrize("kind", [ErrorKind.AUTH, ErrorKind.BAD_REQUEST, ErrorKind.CONTEXT_WINDOW])
async def test_what_a_retry_cannot_mend_goes_to_the_next(world: World, kind: ErrorKind) -> None:
    first, second = Scripted("a", error(kind)), Scripted("b", OK)
    await play(world.chain(first, second))
    assert (first.calls, world.slept) == (1, [])


async def test_a_refusal_is_final(world: World) -> None:
    second = Scripted("b", OK)
    with pytest.raises(ModelError) as caught:
        await play(world.chain(Scripted("a", error(ErrorKind.REFUSED)), second))
    assert caught.value.kind is ErrorKind.REFUSED
    assert second.calls == 0


async def test_all_fail(world: World) -> None:
    chain = world.chain(Scripted("a", *[error()] * 3), Scripted("b", error(ErrorKind.AUTH)))
    with pytest.raises(AllModelsFailed) as caught:
        await play(chain)
    assert [e.kind for e in caught.value.errors] == ["server"] * 3 + ["auth"]
    assert caught.value.kind is ErrorKind.AUTH


async def test_an_open_breaker_skips_and_a_probe_returns(world: World) -> None:
    first, second = Scripted("a", *[error()] * 3, OK), Scripted("b", OK, OK)
    chain = world.chain(first, second, breakers=BreakerPolicy(threshold=3))
    await play(chain)
    events = await play(chain)
    assert first.calls == 3
    attempt = events[0]
    assert isinstance(attempt, Attempt)
    assert attempt.after is not None
    assert "resting" in str(attempt.after)
    world.now += 31
    assert chain.snapshot()[0]["state"] == "half_open"
    await play(chain)
    assert (first.calls, chain.snapshot()[0]["state"]) == (4, "closed")


async def test_when_all_rest_it_says_for_how_long(world: World) -> None:
    chain = world.chain(Scripted("a", error(ErrorKind.AUTH)))
    with pytest.raises(ModelError):
        await play(chain)
    with pytest.raises(ModelError, match="asked again in 30 s") as caught:
        await play(chain)
    assert caught.value.retry_after == 30


async def test_no_attempt_begins_after_the_deadline(world: World) -> None:
    first = Scripted("a", *[error(retry_after=15)] * 9)
    policy = RetryPolicy(attempts=9, deadline=40)
    with pytest.raises(AllModelsFailed):
        await play(world.chain(first, policy=policy, breakers=BreakerPolicy(threshold=99)))
    assert first.calls == 3


async def test_leaving_early_closes_the_model_and_blames_nobody(world: World) -> None:
    first = Scripted("a", *[error(ErrorKind.AUTH)], OK, OK)
    chain = world.chain(first)
    with pytest.raises(ModelError):
        await play(chain)
    world.now += 30
    async with aclosing(chain.stream(ASK)) as events:
        async for event in events:
            if isinstance(event, TextDelta):
                break
    assert first.closed == 2
    assert chain.snapshot()[0]["state"] == "half_open"
    assert shown(await play(chain)) == OK


async def test_cancelling_a_pause(world: World) -> None:
    chain = Chain([Scripted("a", error(retry_after=15), OK)])
    task = asyncio.ensure_future(play(chain))
    await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_model_that_just_stops_is_a_failure(world: World) -> None:
    class Mute(Scripted):
        async def stream(self, request: Request) -> AsyncGenerator[Event, None]:
            self.calls += 1
            yield Attempt(1, self.provider, self.model)

    with pytest.raises(AllModelsFailed, match="without a completion"):
        await play(world.chain(Mute("a")))


async def test_chains_nest(world: World) -> None:
    inner = world.chain(Scripted("a", error(ErrorKind.TRUNCATED, partial=True), error(), error()))
    events = await play(Chain([inner, Scripted("b", OK)], RetryPolicy(attempts=1)))
    numbers = [event.number for event in events if isinstance(event, Attempt)]
    assert numbers == [1, 2, 3, 4]
    assert shown(events) == OK


def test_an_empty_chain() -> None:
    with pytest.raises(ValueError, match="at least one"):
        Chain([])
