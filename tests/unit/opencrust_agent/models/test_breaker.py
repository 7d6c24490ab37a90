"""The circuit breaker's states, on a clock of its own."""

import pytest

from opencrust_agent.models import BreakerPolicy, ErrorKind, ModelError
from opencrust_agent.models.breaker import Breaker


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def fail(breaker: Breaker, kind: ErrorKind = ErrorKind.SERVER, times: int = 1) -> None:
    for _ in range(times):
        assert breaker.admit()
        breaker.failed(ModelError(kind, "x"))


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def breaker(clock: Clock) -> Breaker:
    return Breaker(BreakerPolicy(threshold=3, rest=10, max_rest=25), clock)


def test_it_opens_after_failures_in_a_row(breaker: Breaker, clock: Clock) -> None:
    fail(breaker, times=2)
    assert breaker.admit()
    breaker.succeeded()
    fail(breaker, times=2)
    assert breaker.state == "closed"
    fail(breaker)
    assert breaker.state == "open"
    assert not breaker.admit()
    assert breaker.rests_for == 10
    assert breaker.snapshot() == {
        "state": "open",
        "failures": 3,
        "open_for": 0.0,
        "retry_in": 10.0,
        "last_error": "server",
        "calls": 6,
        "answers": 1,
    }


def test_one_probe_decides(breaker: Breaker, clock: Clock) -> None:
    fail(breaker, times=3)
    clock.now += 10
    assert breaker.state == "half_open"
    assert breaker.admit()
    assert not breaker.admit(), "a second probe beside the first"
    breaker.failed(ModelError(ErrorKind.TIMEOUT, "x"))
    assert breaker.rests_for == 20
    assert breaker.open_for == 10
    clock.now += 20
    fail(breaker)
    assert breaker.open_for == 30, "a failed probe is no new beginning"
    assert breaker.rests_for == 25, "the rest has a ceiling"
    clock.now += 25
    assert breaker.admit()
    breaker.succeeded()
    assert breaker.state == "closed"
    assert breaker.open_for == 0
    fail(breaker, times=3)
    assert breaker.rests_for == 10, "the rest starts over"
    clock.now += 1
    assert breaker.open_for == 1


def test_an_abandoned_probe_makes_room_for_another(breaker: Breaker, clock: Clock) -> None:
    fail(breaker, times=3)
    clock.now += 10
    assert breaker.admit()
    breaker.abandoned()
    assert breaker.admit()


@pytest.mark.parametrize("kind", [ErrorKind.BAD_REQUEST, ErrorKind.CONTEXT_WINDOW, ErrorKind.REFUSED])
def test_who_refuses_a_request_is_alive(breaker: Breaker, clock: Clock, kind: ErrorKind) -> None:
    fail(breaker, kind, times=20)
    assert breaker.state == "closed"
    fail(breaker, times=3)
    clock.now += 10
    fail(breaker, kind)
    assert breaker.state == "closed"


def test_a_refused_key_opens_at_once(breaker: Breaker) -> None:
    fail(breaker, ErrorKind.AUTH)
    assert breaker.state == "open"


def test_a_pause_that_was_asked_for(breaker: Breaker, clock: Clock) -> None:
    breaker.rest(60)
    clock.now += 59
    assert not breaker.admit()
    clock.now += 1
    assert breaker.admit()


def test_a_late_failure_does_not_shorten_a_rest(breaker: Breaker) -> None:
    assert breaker.admit()
    breaker.rest(60)
    breaker.failed(ModelError(ErrorKind.AUTH, "x"))
    assert breaker.rests_for == 60
