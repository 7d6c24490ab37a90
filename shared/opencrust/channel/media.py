"""Files that came with a message: fetched once, counted, stored by their hash, and named in the message.

The platform's word on name and type is taken for what it is: a name is cut down to a name, a type that a browser would
run (HTML, SVG, scripts) becomes a type that it only saves, and an image must begin as one.
"""

import asyncio
import functools
import logging
import re
import unicodedata
from collections.abc import Awaitable, Callable
from typing import Final

from opencrust.bus import Bus, subjects
from opencrust.bus.blobs import Blobs
from opencrust.channel.adapter import FileTooLarge, LinkError, RemoteFile
from opencrust.contracts import Attachment

log = logging.getLogger(__name__)

Fetch = Callable[[RemoteFile, int], Awaitable[bytes]]

PLAIN_BYTES: Final = "application/octet-stream"
_ATTEMPTS: Final = 3
_PAUSE: Final = 0.5
_TYPE: Final = re.compile(r"[a-z0-9][a-z0-9!#$&^_.+-]{0,62}/[a-z0-9][a-z0-9!#$&^_.+-]{0,62}")
_RUNS: Final = re.compile(r"(html|svg|xml|javascript|ecmascript|x-sh|x-msdownload)")
_IMAGES: Final = {
    "image/png": (b"\x89PNG\r\n\x1a\n",),
    "image/jpeg": (b"\xff\xd8\xff",),
    "image/gif": (b"GIF87a", b"GIF89a"),
    "image/webp": (b"RIFF",),
}


class Media:
    """One channel's files.

    Args:
        limit: most bytes that one file may have.
    """

    def __init__(self, bus: Bus, channel: str, fetch: Fetch, limit: int) -> None:
        self._blobs = Blobs(bus, "MEDIA", functools.partial(subjects.media, channel))
        self._fetch = fetch
        self._limit = limit

    async def take(self, file: RemoteFile) -> Attachment | str:
        """Store it. A text says why it could not be taken, for the agent and the person: a file that cannot be had
        must not keep the words beside it.

        Raises:
            BusError: it is not stored; do the whole message again.
        """
        name = safe_name(file.name)
        if file.size is not None and file.size > self._limit:
            return _too_large(name, self._limit)
        try:
            data = await self._fetched(file)
        except FileTooLarge:
            return _too_large(name, self._limit)
        except LinkError as error:
            log.warning("a file of a message was not taken: %s", error)
            return f"[{name} could not be fetched: {error}]"
        media_type = safe_type(file.media_type, data)
        return Attachment(name=name, media_type=media_type, size=len(data), sha256=await self._blobs.put(data))

    async def load(self, attachment: Attachment, limit: int) -> bytes:
        """The bytes of a file that goes out.

        Raises:
            BlobError: they are not there, or too many.
            BusError: the bus is away.
        """
        return await self._blobs.get(attachment.sha256, limit=limit)

    async def _fetched(self, file: RemoteFile) -> bytes:
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                return await self._fetch(file, self._limit)
            except LinkError as error:
                if error.refused or attempt == _ATTEMPTS:
                    raise
                await asyncio.sleep(min(max(error.after, _PAUSE * attempt), 5.0))
        raise AssertionError("unreachable")


def safe_name(name: str) -> str:
    """A name without folders, control characters and leading dots; ``file`` where nothing is left."""
    last = re.split(r"[/\\]", name)[-1]
    shown = "".join(c for c in last if unicodedata.category(c)[0] != "C").strip().lstrip(".").strip()
    return shown[:200] or "file"


def safe_type(claimed: str, data: bytes) -> str:
    """The claimed media type, where it may be believed; else plain bytes."""
    media_type = claimed.partition(";")[0].strip().lower()
    if not _TYPE.fullmatch(media_type) or _RUNS.search(media_type):
        return PLAIN_BYTES
    if media_type.startswith("image/") and not data.startswith(_IMAGES.get(media_type, (b"\x00never",))):
        return PLAIN_BYTES
    return media_type


def _too_large(name: str, limit: int) -> str:
    return f"[{name} was not taken: it has more than {limit // (1024 * 1024)} MB]"
