from opencrust_vault.replay import Freshness, ReplayCache

CERTIFICATE, NONCE = b"c" * 32, b"n" * 16


def test_each_request_once() -> None:
    cache = ReplayCache(0.0)
    assert cache.check(CERTIFICATE, NONCE, 100.0, 100.0) is Freshness.FRESH
    assert cache.check(CERTIFICATE, NONCE, 100.0, 101.0) is Freshness.REPLAYED
    assert cache.check(b"d" * 32, NONCE, 100.0, 101.0) is Freshness.FRESH, "nonces are counted by certificate"


def test_a_nonce_is_remembered_for_as_long_as_its_request_could_be_fresh() -> None:
    cache = ReplayCache(0.0)
    assert cache.check(CERTIFICATE, NONCE, 130.0, 100.0) is Freshness.FRESH, "signed with a clock 30 s ahead"
    assert cache.check(CERTIFICATE, NONCE, 130.0, 159.9) is Freshness.REPLAYED
    assert cache.check(CERTIFICATE, NONCE, 130.0, 160.1) is Freshness.CLOCK


def test_outside_the_window_or_before_the_start() -> None:
    cache = ReplayCache(90.0)
    for signed_at, now in ((100.0, 130.5), (130.5, 100.0), (89.9, 95.0)):
        assert cache.check(CERTIFICATE, NONCE, signed_at, now) is Freshness.CLOCK


def test_full_means_refused_until_room_is_made_by_time() -> None:
    cache = ReplayCache(0.0, capacity=2)
    for number in range(2):
        assert cache.check(CERTIFICATE, bytes([number] * 16), 100.0, 100.0) is Freshness.FRESH
    assert cache.check(CERTIFICATE, NONCE, 100.0, 100.0) is Freshness.FULL
    assert cache.check(CERTIFICATE, bytes(16), 100.0, 100.0) is Freshness.REPLAYED
    assert cache.check(CERTIFICATE, NONCE, 161.0, 161.0) is Freshness.FRESH
