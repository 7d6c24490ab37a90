from opencrust_vault.rate import Buckets, Limit

LIMIT = Limit(per_second=2.0, burst=4.0)


def test_a_burst_then_a_rate() -> None:
    buckets = Buckets()
    assert [buckets.take("a", LIMIT, 0.0) for _ in range(5)] == [True] * 4 + [False]
    assert [buckets.take("a", LIMIT, 1.0) for _ in range(3)] == [True, True, False]
    assert buckets.take("b", LIMIT, 1.0), "another key has its own"


def test_it_never_holds_more_than_a_burst() -> None:
    buckets = Buckets()
    buckets.take("a", LIMIT, 0.0)
    assert [buckets.take("a", LIMIT, 1000.0) for _ in range(5)] == [True] * 4 + [False]


def test_a_charge_makes_a_bounded_debt() -> None:
    buckets = Buckets()
    for _ in range(10):
        buckets.charge("a", LIMIT, 0.0, 100.0)
    assert not buckets.take("a", LIMIT, 2.0)
    assert buckets.take("a", LIMIT, 2.6)


def test_its_memory_is_bounded() -> None:
    buckets = Buckets()
    for number in range(10_000):
        buckets.take(number, LIMIT, 0.0)
    assert len(buckets._levels) <= 4096
