"""Large bytes on the bus: attachments and plugins, in parts, under the SHA-256 of the whole.

The name is the content, so storing twice keeps one, and whoever reads checks what he got: a part that was changed,
dropped or exchanged is found, whoever could write the stream.
"""

import hashlib
import secrets
from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING

from opencrust.bus.archive import Archive
from opencrust.bus.message import TIME, StoredMessage
from opencrust.bus.reader import StreamReader

if TYPE_CHECKING:
    from opencrust.bus.connection import Bus

PART = 512 * 1024
"""Bytes in one part; the bus takes 1 MiB in a message."""
COUNT = "OpenCrust-Parts"
"""Header of every part: how many there are."""

Subject = Callable[[str, int], str]
"""From SHA-256 (hex) and part number to subject."""


class BlobError(Exception):
    """The bytes are not there, or are not what their name says."""


class Blobs:
    """Blobs below one subject.

    Args:
        stream: keeps those subjects.
        subject: names a part; for attachments ``functools.partial(subjects.media, channel)``.
    """

    def __init__(self, bus: "Bus", stream: str, subject: Subject) -> None:
        self._bus = bus
        self._subject = subject
        self._reader = StreamReader(bus, stream)
        self._archive = Archive(bus, stream)

    async def put(self, data: bytes) -> str:
        """Store; returns the SHA-256 in hex. The first part is stored last, so what can be found is whole.

        Raises:
            BusError: not stored, or not sure to be; doing it again is safe.
        """
        digest = hashlib.sha256(data).hexdigest()
        # Its own message ids: with the parts' names the server would drop, for two minutes, what was removed meanwhile.
        # What is stored twice takes the place of the first: these streams keep one message a subject.
        again = secrets.token_hex(8)
        parts = [data[at : at + PART] for at in range(0, len(data), PART)] or [b""]
        for number in reversed(range(len(parts))):
            subject = self._subject(digest, number)
            headers = {COUNT: str(len(parts))}
            await self._bus.publish_stored(subject, parts[number], message_id=f"{subject}.{again}", headers=headers)
        return digest

    async def get(self, digest: str, *, limit: int) -> bytes:
        """The bytes of ``digest``, at most ``limit`` of them.

        Raises:
            BlobError: none such, more than ``limit`` bytes, or damaged.
            BusError: the bus is away.
        """
        first = await self._part(digest, 0)
        count = first.headers.get(COUNT, "")
        if not count.isascii() or not count.isdigit() or not 0 < int(count) <= limit // PART + 1:
            raise BlobError(f"{digest[:12]}… has more than {limit} bytes, or is damaged")
        data = first.data + b"".join([(await self._part(digest, n)).data for n in range(1, int(count))])
        if len(data) > limit:
            raise BlobError(f"{digest[:12]}… has {len(data)} bytes; {limit} are allowed")
        if hashlib.sha256(data).hexdigest() != digest:
            raise BlobError(f"{digest[:12]}… is damaged: its bytes are not those that its name says")
        return data

    async def remove(self, digest: str) -> None:
        """Remove the bytes of ``digest``, if they are there. Needs Purge.

        Raises:
            BusError: not removed, or not sure to be; doing it again is safe.
        """
        await self._archive.purge(self._subject(digest, 0).removesuffix("0") + "*")

    async def stored(self) -> dict[str, int]:
        """What there is: each blob's hash, and one of its parts. Needs Inspect."""
        return {name.split(".")[-2]: int(name.split(".")[-1]) for name in await self._archive.subjects()}

    async def stored_at(self, digest: str, part: int = 0) -> datetime | None:
        """When a part was stored; None: it is not there. Storing it again counts anew."""
        stored = await self._reader.last(self._subject(digest, part))
        return None if stored is None else datetime.fromisoformat(stored.headers[TIME])

    async def _part(self, digest: str, number: int) -> StoredMessage:
        stored = await self._reader.last(self._subject(digest, number))
        if stored is None:
            raise BlobError(f"{digest[:12]}… is not there, or no longer")
        return stored
