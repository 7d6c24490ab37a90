"""The bucket ``pairing``: strangers who wait, invitations, and the salt of their codes."""

import contextlib
import math
import secrets
from datetime import datetime
from typing import Generic, TypeVar

from opencrust.access.pairing import Invite, Request, locator
from opencrust.access.people import PersonId
from opencrust.bus import Bus, KeyExists, WrongRevision
from opencrust.bus.archive import Archive
from opencrust.contracts.base import ContractError, decode, encode

_SALT = "salt"
_PREFIX = "$KV.pairing."
_Waiting = TypeVar("_Waiting", bound=Request | Invite)


class Shelf(Generic[_Waiting]):
    """Records of one kind that expire by themselves. Every method raises BusError when the bus is away."""

    def __init__(self, bus: Bus, kind: str, model: type[_Waiting]) -> None:
        self._bucket = bus.kv("pairing")
        self._stream = Archive(bus, "KV_pairing")
        self._kind = kind
        self._model = model

    async def get(self, name: str, now: datetime) -> tuple[_Waiting | None, int]:
        """The live record, and the revision to compare with (0: there is none). A damaged one counts as none."""
        entry = await self._bucket.get(f"{self._kind}.{name}")
        if entry is None:
            return None, 0
        try:
            record = decode(self._model, entry.value)
        except ContractError:
            return None, entry.revision
        return (record if now < record.expires else None), entry.revision

    async def live(self, channel: str, now: datetime) -> list[tuple[_Waiting, int]]:
        """All live ones of a channel (``*``: of all), oldest first."""
        prefix = f"{_PREFIX}{self._kind}."
        found = []
        for subject in await self._stream.subjects(f"{prefix}{channel}.>"):
            record, revision = await self.get(subject.removeprefix(prefix), now)
            if record is not None:
                found.append((record, revision))
        return sorted(found, key=lambda pair: pair[0].created)

    async def put(self, name: str, record: _Waiting, *, revision: int, now: datetime) -> bool:
        """Write it over ``revision`` (0: nothing); False where somebody else wrote meanwhile."""
        ttl = max(1, math.ceil((record.expires - now).total_seconds()))
        try:
            if revision:
                await self._bucket.update(f"{self._kind}.{name}", encode(record), revision=revision, ttl=ttl)
            else:
                await self._bucket.create(f"{self._kind}.{name}", encode(record), ttl=ttl)
        except (KeyExists, WrongRevision):
            return False
        return True

    async def delete(self, name: str, revision: int | None = None) -> None:
        """Forget it; with a revision, only as it stood there. It may be gone already."""
        try:
            await self._bucket.delete(f"{self._kind}.{name}", revision=revision)
        except WrongRevision:
            return


def requests(bus: Bus) -> Shelf[Request]:
    """Strangers who wait, by :attr:`PersonId.key`."""
    return Shelf(bus, "request", Request)


def invites(bus: Bus) -> Shelf[Invite]:
    """Invitations, by :func:`invite_name`."""
    return Shelf(bus, "invite", Invite)


def request_name(person: PersonId) -> str:
    """The name of a person's request on its shelf."""
    return person.key


def invite_name(channel: str, digest: str) -> str:
    """The name of an invitation on its shelf."""
    return f"{channel}.{locator(digest)}"


async def salt(bus: Bus) -> bytes:
    """The salt of this house's codes, made when it is first needed. Raises BusError."""
    bucket = bus.kv("pairing")
    entry = await bucket.get(_SALT)
    if entry is None:
        with contextlib.suppress(KeyExists):  # another replica was faster: it is that one
            await bucket.create(_SALT, secrets.token_bytes(16))
        entry = await bucket.get(_SALT)
    if entry is None:
        raise RuntimeError("the salt of the pairing codes vanished while it was made")
    return entry.value
