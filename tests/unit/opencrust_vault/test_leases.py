from opencrust_vault import leases
from opencrust_vault.leases import Leases


def test_a_lease_is_held_until_it_runs_out() -> None:
    held = Leases()
    lease = held.grant("agent", "a", 1, "chat", now=100.0, not_after=200.0)
    held.grant("gateway", "b", 1, "chat", now=100.0, not_after=150.0)
    assert held.holders("a", 199.0) == {"agent"}
    assert held.holders("b", 199.0) == set()
    assert held.active(199.0) == [lease]
    assert held.active(200.0) == []


def test_a_revoked_lease_is_gone_and_names_its_holder() -> None:
    held = Leases()
    lease = held.grant("agent", "a", 1, "chat", now=100.0, not_after=200.0)
    assert held.revoke(lease.id) == lease
    assert held.revoke(lease.id) is None
    assert held.active(100.0) == []


def test_the_oldest_make_room() -> None:
    held = Leases()
    first = held.grant("agent", "a", 1, "chat", now=0.0, not_after=10.0**9)
    for _ in range(leases.CAPACITY):
        held.grant("agent", "b", 1, "chat", now=1.0, not_after=10.0**9)
    assert len(held.active(2.0)) == leases.CAPACITY
    assert held.revoke(first.id) is None
