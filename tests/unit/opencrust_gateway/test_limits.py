import pytest

from opencrust_gateway import limits
from opencrust_gateway.limits import Ceiling, Limiter, Rate, address_key


def test_a_burst_and_then_the_rate() -> None:
    limiter = Limiter(Rate(burst=3, per_second=2))
    assert [limiter.take("a", 0.0) for _ in range(4)] == [0.0, 0.0, 0.0, 0.5]
    assert limiter.take("a", 0.49) > 0
    assert limiter.take("a", 0.5) == 0.0


def test_a_refused_try_costs_nothing() -> None:
    limiter = Limiter(Rate(burst=1, per_second=1))
    assert limiter.take("a", 0.0) == 0.0
    for _ in range(100):
        assert limiter.take("a", 0.9) > 0
    assert limiter.take("a", 1.0) == 0.0


def test_addresses_do_not_share() -> None:
    limiter = Limiter(Rate(burst=1, per_second=1))
    assert limiter.take("a", 0.0) == limiter.take("b", 0.0) == 0.0


def test_memory_is_bounded_and_the_longest_untouched_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MAX_KEYS", 3)
    limiter = Limiter(Rate(burst=1, per_second=0.001))
    for key in ("a", "b", "c", "a", "d"):
        limiter.take(key, 0.0)
    assert limiter.take("a", 0.0) > 0
    assert limiter.take("b", 0.0) == 0.0


@pytest.mark.parametrize(
    ("peername", "key"),
    [
        (("192.0.2.7", 5000), "192.0.2.7"),
        (("::ffff:192.0.2.7", 5000, 0, 0), "192.0.2.7"),
        (("2001:db8:1:2:3:4:5:6", 1, 0, 0), "2001:db8:1:2::/64"),
        (("2001:db8:1:2:ffff::1", 1, 0, 0), "2001:db8:1:2::/64"),
        (("fe80::1%eth0", 1, 0, 2), "fe80::/64"),
        ("", "local"),
        (None, "local"),
        ((), "local"),
    ],
)
def test_one_host_has_one_budget(peername: object, key: str) -> None:
    """GHSA-5847-rm3g-23mw: IPv4-mapped IPv6 doubled the budget."""
    assert address_key(peername) == key


def test_a_ceiling_holds_per_key_and_in_total() -> None:
    ceiling = Ceiling(most=2, total=3)
    assert [ceiling.enter("a") for _ in range(3)] == [True, True, False]
    assert [ceiling.enter("b") for _ in range(2)] == [True, False]
    ceiling.leave("a")
    assert ceiling.enter("b")
    assert not ceiling.enter("a")
