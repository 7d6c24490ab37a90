"""A key-value bucket, by direct reads and compare-and-set writes alone: no stream or consumer rights needed."""

import re
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from opencrust.bus import errors
from opencrust.bus.message import KV_OPERATION
from opencrust.bus.reader import StreamReader

if TYPE_CHECKING:
    from opencrust.bus.connection import Bus

MARKER_SECONDS = 60
"""Longer than any lease, so that none outlives its marker."""
_KEY = re.compile(r"[-/_=a-zA-Z0-9]+(\.[-/_=a-zA-Z0-9]+)*")


@dataclass(frozen=True, slots=True)
class Entry:
    """A key's value and the revision to compare with."""

    key: str
    value: bytes
    revision: int


class KeyValue:
    """One bucket. Keys are dot-separated tokens of ``[-/_=a-zA-Z0-9]``."""

    def __init__(self, bus: "Bus", bucket: str) -> None:
        self._bus = bus
        self._bucket = bucket
        self._reader = StreamReader(bus, f"KV_{bucket}")

    async def get(self, key: str) -> Entry | None:
        """The entry; None where the key was never written, was deleted or has expired."""
        entry, _ = await self.look(key)
        return entry

    async def create(self, key: str, value: bytes, *, ttl: int | None = None) -> int:
        """Write a key that does not exist; it lives ``ttl`` seconds (None: for ever). Returns its revision.

        Raises:
            KeyExists: it exists.
        """
        try:
            return await self._write(key, value, last=0, ttl=ttl)
        except errors.WrongRevision:
            entry, last = await self.look(key)
            if entry is not None:
                raise errors.KeyExists(f"{self._bucket}: {key} exists") from None
        try:  # over the marker of a deletion
            return await self._write(key, value, last=last, ttl=ttl)
        except errors.WrongRevision:
            raise errors.KeyExists(f"{self._bucket}: {key} exists") from None

    async def update(self, key: str, value: bytes, *, revision: int, ttl: int | None = None) -> int:
        """Write a key whose revision is ``revision``. Returns the new one.

        Raises:
            WrongRevision: somebody wrote since.
        """
        return await self._write(key, value, last=revision, ttl=ttl)

    async def put(self, key: str, value: bytes, *, ttl: int | None = None) -> int:
        """Write a key whatever it holds; it lives ``ttl`` seconds (None: for ever). Returns its revision."""
        return await self._write(key, value, last=None, ttl=ttl)

    async def delete(self, key: str, *, revision: int | None = None, timed: bool = False) -> int:
        """Delete a key; with ``revision``, only if nobody wrote since: of two that consume it, one wins.

        Two markers take its place. The second is gone after :data:`MARKER_SECONDS`: a bucket would fill up with markers
        of keys that are used once. The first is for the server's end without a shutdown: it then reads its files anew,
        and they say nothing of messages that a newer one of their key replaced. What it takes for the last one is the
        first marker, not the value, which would be there again.

        Args:
            timed: the value had a time to live of at most :data:`MARKER_SECONDS`: one marker is enough.

        Returns the revision of the marker that stands now.

        Raises:
            WrongRevision: somebody wrote, or deleted, since.
        """
        marker = await self._mark(key, revision, MARKER_SECONDS if timed else None)
        if not timed:
            with suppress(errors.BusError):  # it is deleted: written again since, or a marker that stays
                marker = await self._mark(key, marker, MARKER_SECONDS)
        return marker

    async def _mark(self, key: str, last: int | None, ttl: int | None) -> int:
        headers = {KV_OPERATION: "DEL"}
        stored = await self._bus.publish_stored(self._subject(key), b"", headers=headers, expect_last=last, ttl=ttl)
        return stored.seq

    async def look(self, key: str) -> tuple[Entry | None, int]:
        """The entry, and the revision that a write must name: a deletion's marker has one too; 0 for nothing."""
        stored = await self._reader.last(self._subject(key))
        if stored is None:
            return None, 0
        if KV_OPERATION in stored.headers or "Nats-Marker-Reason" in stored.headers:
            return None, stored.seq
        return Entry(key, stored.data, stored.seq), stored.seq

    async def _write(self, key: str, value: bytes, *, last: int | None, ttl: int | None = None) -> int:
        return (await self._bus.publish_stored(self._subject(key), value, expect_last=last, ttl=ttl)).seq

    def _subject(self, key: str) -> str:
        if not _KEY.fullmatch(key):
            raise ValueError("a key is dot-separated tokens of [-/_=a-zA-Z0-9]")
        return f"$KV.{self._bucket}.{key}"
