"""How fast a platform may be called."""

from opencrust.channel.limits import Limits


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_places_of_a_conversation_are_a_gap_apart() -> None:
    limits = Limits(1.0, 0, Clock())
    assert [round(limits.reserve("a"), 3) for _ in range(3)] == [0, 1, 2]
    assert limits.reserve("b") == 0


def test_the_accounts_rate_holds_over_all_conversations() -> None:
    limits = Limits(0, 10.0, Clock())
    assert [round(limits.reserve(name), 3) for name in "abc"] == [0, 0.1, 0.2]


def test_what_the_platform_said_is_remembered_until_it_is_over() -> None:
    clock = Clock()
    limits = Limits(0, 0, clock)
    limits.pause("a", 5)
    assert (limits.wait("a"), limits.wait("b")) == (5, 0)
    limits.pause("b", 3, everywhere=True)
    assert (limits.wait("a"), limits.wait("b"), limits.wait("c")) == (5, 3, 3)
    limits.pause("a", 1)
    assert limits.wait("a") == 5, "a shorter word does not shorten a longer one"
    clock.now += 6
    assert limits.wait("a") == 0
