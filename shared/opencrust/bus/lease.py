"""Leases: who works on a conversation now. A hint for peace, no fence: the fence is the session's compare-and-set."""

import asyncio
import logging
from collections import OrderedDict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

from opencrust.bus import errors
from opencrust.bus.kv import KeyValue

if TYPE_CHECKING:
    from opencrust.bus.connection import Bus

log = logging.getLogger(__name__)

REMEMBERED = 10_000


class LeaseTaken(Exception):
    """Another worker holds it."""


class Leases:
    """Leases in the bucket ``lease``, each of ``ttl`` whole seconds, renewed three times in that while held."""

    def __init__(self, bus: "Bus", owner: str, ttl: int) -> None:
        self._keys = KeyValue(bus, "lease")
        self._owner = owner.encode()
        self._ttl = ttl
        self._holds = 0
        self._markers: OrderedDict[str, int] = OrderedDict()
        """Revisions of the markers that our own releases left: whoever writes over one needs not look first."""

    @asynccontextmanager
    async def hold(self, key: str) -> AsyncIterator[asyncio.Event]:
        """Hold the lease while the block runs. The event is set when it was lost to somebody else.

        Raises:
            LeaseTaken: another worker holds it.
        """
        self._holds += 1
        owner = self._owner + b":%d" % self._holds  # two tasks of one worker are two holders
        revision = await self._take(key, owner)
        held = _Held(self._keys, key, owner, self._ttl, revision)
        renewing = asyncio.create_task(held.renew())
        try:
            yield held.lost
        finally:
            renewing.cancel()
            with suppress(asyncio.CancelledError):
                await renewing
            marker = await held.release()
            if marker is not None:
                self._markers[key] = marker
                if len(self._markers) > REMEMBERED:
                    self._markers.popitem(last=False)

    async def _take(self, key: str, owner: bytes) -> int:
        marker = self._markers.pop(key, None)
        if marker is not None:
            with suppress(errors.WrongRevision):  # the marker is gone, or somebody took the lease since
                return await self._keys.update(key, owner, revision=marker, ttl=self._ttl)
        try:
            return await self._keys.create(key, owner, ttl=self._ttl)
        except errors.KeyExists:
            raise LeaseTaken(key) from None


class _Held:
    def __init__(self, keys: KeyValue, key: str, owner: bytes, ttl: int, revision: int) -> None:
        self.lost = asyncio.Event()
        self._keys = keys
        self._key = key
        self._owner = owner
        self._ttl = ttl
        self._revision = revision

    async def renew(self) -> None:
        while True:
            await asyncio.sleep(self._ttl / 3)
            try:
                self._revision = await self._keys.update(self._key, self._owner, revision=self._revision, ttl=self._ttl)
            except errors.WrongRevision:
                if not await self._again():
                    log.warning("lease of %s lost to another worker", self._key)
                    self.lost.set()
                    return
            except errors.BusError as error:
                log.warning("lease of %s not renewed: %s", self._key, error)

    async def _again(self) -> bool:
        """Take it anew where it is gone, or is ours still: a write was unsure while the bus was away."""
        try:
            entry = await self._keys.get(self._key)
            if entry is not None:
                self._revision = entry.revision
                return entry.value == self._owner
            self._revision = await self._keys.create(self._key, self._owner, ttl=self._ttl)
        except errors.BusError:
            return False
        return True

    async def release(self) -> int | None:
        """Give it up; the revision of the marker that is left, None where the lease will end by itself."""
        try:
            return await self._keys.delete(self._key, revision=self._revision, timed=True)
        except errors.WrongRevision:  # lost, or a renewal was cut off before it could tell its revision
            pass
        except errors.BusError:
            return None
        if await self._again():
            with suppress(errors.BusError):
                return await self._keys.delete(self._key, revision=self._revision, timed=True)
        return None
