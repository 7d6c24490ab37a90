"""A link that says nothing is deaf after two pulses, and only once for each silence."""

from opencrust.channel.link import Link, LinkState


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_silence_of_two_pulses_is_deafness_and_a_sign_of_life_ends_it() -> None:
    clock = Clock()
    link = Link(10, clock)
    link.begin()
    link.alive()
    clock.now += 19
    assert not link.check()
    clock.now += 2
    assert link.check()
    assert (link.state, link.deaf_times) == (LinkState.DEAF, 1)
    assert not link.check(), "one silence is one alarm"
    link.alive()
    assert link.state is LinkState.CONNECTED
    assert link.reason == ""


def test_a_standby_is_never_deaf() -> None:
    clock = Clock()
    link = Link(1, clock)
    clock.now += 1000
    assert not link.check()


def test_an_attempt_that_never_answers_is_deaf_too() -> None:
    clock = Clock()
    link = Link(1, clock)
    link.begin()
    clock.now += 3
    assert link.check()


def test_a_refusal_is_kept_with_its_reason_until_the_platform_answers() -> None:
    link = Link(1, Clock())
    link.begin()
    link.down("the token is not valid", refused=True)
    assert link.facts()["link"] == "refused"
    assert link.facts()["link_reason"] == "the token is not valid"
    link.event()
    assert link.facts()["link"] == "connected"
    assert link.facts()["last_event_seconds"] == 0
