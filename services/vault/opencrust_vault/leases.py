"""Who holds a copy of what, as far as the vault knows.

A lease on a static credential cannot be taken back from somebody who has read it. It bounds how long a client may use
its copy, and tells whom to notify. Taking access away for good means rotating the credential at its provider.
"""

import secrets
from dataclasses import dataclass

CAPACITY = 10_000


@dataclass(frozen=True, slots=True)
class HeldLease:
    """One hand-out. Times in seconds since the epoch."""

    id: str
    service: str
    name: str
    version: int
    purpose: str
    granted: float
    not_after: float


class Leases:
    """The leases that have not run out, in memory; the audit log is the record of all that ever were."""

    def __init__(self) -> None:
        self._held: dict[str, HeldLease] = {}

    def grant(self, service: str, name: str, version: int, purpose: str, *, now: float, not_after: float) -> HeldLease:
        """Note a hand-out."""
        if len(self._held) >= CAPACITY:
            self._prune(now)
        while len(self._held) >= CAPACITY:
            self._held.pop(next(iter(self._held)))
        lease = HeldLease(secrets.token_hex(8), service, name, version, purpose, now, not_after)
        self._held[lease.id] = lease
        return lease

    def active(self, now: float) -> list[HeldLease]:
        """Those that still run, oldest first."""
        self._prune(now)
        return list(self._held.values())

    def holders(self, name: str, now: float) -> set[str]:
        """The services that hold a copy of a secret."""
        return {lease.service for lease in self.active(now) if lease.name == name}

    def revoke(self, lease_id: str) -> HeldLease | None:
        """Forget a lease; returns it, so that its holder can be told."""
        return self._held.pop(lease_id, None)

    def _prune(self, now: float) -> None:
        self._held = {lease_id: lease for lease_id, lease in self._held.items() if lease.not_after > now}
