"""What `opencrust status` says of providers, from what agents say of their circuit breakers."""

from datetime import UTC, datetime

import pytest

from opencrust.bus.survey import Report
from opencrust_agent.models import BreakerPolicy, ErrorKind, ModelError
from opencrust_agent.models.breaker import Breaker
from opencrust_cli.provider_checks import WHY, lines, standings

NOW = datetime(2026, 5, 1, 12, 0, 30, tzinfo=UTC)


def agent(*providers: object, number: int = 1, service: str = "agent") -> Report:
    return Report(service, f"r{number}", "1.0", True, 9.0, {"providers": list(providers)})


def told(state: str = "open", **more: object) -> dict[str, object]:
    known = {"provider": "lab", "model": "m", "state": state, "failures": 5, "calls": 9, "answers": 4}
    return {**known, "open_for": 20.0, "retry_in": 10.0, "last_error": "server", **more}


def said(*reports: Report) -> list[str]:
    return lines(standings(reports), NOW)


def test_who_answers_is_not_spoken_of() -> None:
    assert said(agent(told("closed", open_for=0.0, retry_in=0.0), {"provider": "demo", "label": "Demo"})) == []


def test_since_when_why_and_until_when() -> None:
    assert said(agent(told())) == [
        "provider lab: out of use since 12:00:10: errors of its own; tried again at 12:00:40"
    ]
    assert said(agent(told("half_open", retry_in=0.0, last_error="auth"))) == [
        "provider lab: out of use since 12:00:10: it refuses the key; tried again with the next message"
    ]
    assert "since 2026-04-30 12:00:30" in said(agent(told(open_for=86_400.0)))[0]
    assert "it asked for a pause" in said(agent(told(last_error=None)))[0]


def test_agents_have_breakers_of_their_own() -> None:
    reports = agent(told()), agent(told("closed"), number=2), agent(told(open_for=5.0, retry_in=25.0), number=3)
    assert said(*reports) == [
        "provider lab: out of use since 12:00:10, for 2 of 3 agents: errors of its own; tried again at 12:00:55"
    ]


@pytest.mark.parametrize("nonsense", [{"provider": 5}, told("ajar"), told(retry_in=1e300), told(open_for="x"), "lab"])
def test_what_cannot_be_read_is_left_out(nonsense: object) -> None:
    assert standings([agent(nonsense), agent(told(), service="channel-telegram")]) == []


def test_a_name_is_no_command_to_the_terminal() -> None:
    assert "\x1b" not in said(agent(told(provider="\x1b[2J")))[0]


def test_a_real_breaker_is_read_and_every_reason_has_words() -> None:
    for kind in ErrorKind:
        breaker = Breaker(BreakerPolicy(threshold=1), lambda: 100.0)
        breaker.failed(ModelError(kind, "x"))
        (standing,) = standings([agent({"provider": "lab", "model": "m", **breaker.snapshot()})])
        assert standing.state == breaker.state
        assert standing.retry_in == breaker.rests_for
        assert breaker.state == "closed" or str(kind) in WHY
