"""Files that go along with messages: stored once under their SHA-256, given back to their owner alone, never shown in
place.

The bytes lie in the stream MEDIA. Who uploaded them, and what he called them, is in the bucket ``ledger`` under
``web.file.<owner>.<sha256>`` as long as the bytes are kept: a download needs that entry, and so does a message that
names the file, whose size and type are then ours and not the client's claim.
"""

import asyncio
import functools
import re
from collections.abc import Sequence
from typing import Annotated
from urllib.parse import quote, unquote

from aiohttp import web
from pydantic import BaseModel, StringConstraints, ValidationError

from opencrust.bus import Bus, subjects
from opencrust.bus.blobs import BlobError, Blobs
from opencrust.contracts import Attachment
from opencrust_gateway.conversations import CHANNEL
from opencrust_gateway.errors import ApiError
from opencrust_gateway.http import Given, documented, principal, told
from opencrust_gateway.limits import Limiter
from opencrust_gateway.settings import Limits

KEPT_SECONDS = 30 * 24 * 3600
"""As long as the stream keeps the bytes."""
AT_ONCE = 4
"""Files in memory at the same time."""
PLAIN = "application/octet-stream"
NAME_HEADER = "X-File-Name"
_SHA256 = re.compile(r"[0-9a-f]{64}")
_TYPE = re.compile(r"[a-z0-9][a-z0-9!#$&^_.+-]{0,62}/[a-z0-9][a-z0-9!#$&^_.+-]{0,62}")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]")
_FAMILIES = ("image/", "audio/", "video/", "text/", "font/", "message/", "application/vnd.")
_DOCUMENTS = frozenset(
    {
        PLAIN,
        "application/epub+zip",
        "application/gzip",
        "application/json",
        "application/ld+json",
        "application/msword",
        "application/pdf",
        "application/rtf",
        "application/toml",
        "application/x-7z-compressed",
        "application/x-bzip2",
        "application/x-ndjson",
        "application/x-tar",
        "application/xml",
        "application/yaml",
        "application/zip",
    }
)
_AS_IT_IS = ("image/png", "image/jpeg", "image/gif", "image/webp", "text/plain", "application/pdf")
"""Types that are told at the download. All others come as plain bytes: nothing in them is to run in a browser."""


class AttachmentRef(Given):
    """How a message names a file that was uploaded; only `sha256` is believed."""

    sha256: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
    name: Annotated[str, StringConstraints(max_length=255)] = ""
    media_type: Annotated[str, StringConstraints(max_length=127)] = ""
    size: int = 0


class Uploaded(BaseModel):
    """The reference to put into a message."""

    name: str
    media_type: str
    size: int
    sha256: str


class Attachments:
    """The handlers, and the check of what a message names."""

    def __init__(self, bus: Bus, limits: Limits) -> None:
        self._blobs = Blobs(bus, "MEDIA", functools.partial(subjects.media, CHANNEL))
        self._bucket = bus.kv("ledger")
        self._limits = limits
        self._room = asyncio.Semaphore(AT_ONCE)
        self._uploads = Limiter(limits.uploads)

    @documented(
        answer=Uploaded,
        status=201,
        media=PLAIN,
        takes_bytes=True,
        headers=((NAME_HEADER, "the file's name, percent-encoded"),),
    )
    async def upload(self, request: web.Request) -> web.StreamResponse:
        """POST /v1/attachments: store the body; the answer is the reference for a message."""
        owner = principal(request).owner
        if wait := self._uploads.take(owner, asyncio.get_running_loop().time()):
            raise ApiError(429, "rate_limited", "too many uploads", retry_after=max(1, round(wait)))
        name, media_type = file_name(request.headers.get(NAME_HEADER, "")), media_type_of(request.content_type)
        if request.headers.get("Content-Encoding", "identity") != "identity":
            raise ApiError(415, "unsupported_encoding", "send the file as it is", final=True)
        async with self._room:
            data = await self._body(request)
            digest = await self._blobs.put(data)
        file = Attachment(name=name, media_type=media_type, size=len(data), sha256=digest)
        await self._record(owner, file)
        return told(Uploaded(**file.model_dump()), status=201)

    @documented(media=PLAIN)
    async def download(self, request: web.Request) -> web.StreamResponse:
        """GET /v1/attachments/{sha256}: the file, to be saved and not shown."""
        file = await self._of(principal(request).owner, request.match_info["sha256"])
        if file is None:
            raise ApiError(404, "not_found", "there is no such file of yours, or no longer")
        async with self._room:
            try:
                data = await self._blobs.get(file.sha256, limit=max(self._limits.attachment, file.size))
            except BlobError:
                raise ApiError(404, "not_found", "the file is not kept any more") from None
        shown = file.media_type if file.media_type in _AS_IT_IS else PLAIN
        headers = {
            "Content-Disposition": f"attachment; filename*=UTF-8''{quote(file.name, safe='')}",
            "Cache-Control": "private, no-store",
        }
        return web.Response(body=data, content_type=shown, headers=headers)

    async def named(self, owner: str, refs: Sequence[AttachmentRef]) -> list[Attachment]:
        """The files that a message names, as they were uploaded by `owner`.

        Raises ApiError 400 for one that he did not upload, or that is not kept any more.
        """
        found = await asyncio.gather(*(self._of(owner, ref.sha256) for ref in refs))
        missing = [ref.sha256[:12] for ref, file in zip(refs, found, strict=True) if file is None]
        if missing:
            text = f"no such attachment of yours: {', '.join(missing)}…; upload it first, to POST /v1/attachments"
            raise ApiError(400, "unknown_attachment", text, final=True)
        return [file for file in found if file is not None]

    async def _body(self, request: web.Request) -> bytes:
        most = self._limits.attachment
        too_large = ApiError(413, "too_large", f"a file has at most {most} bytes", final=True)
        if (request.content_length or 0) > most:
            raise too_large
        data = bytearray()
        try:
            async with asyncio.timeout(self._limits.upload_time):
                async for piece in request.content.iter_any():
                    data += piece
                    if len(data) > most:
                        raise too_large
        except TimeoutError:
            seconds = self._limits.upload_time
            raise ApiError(408, "body_timeout", f"the file did not come within {seconds:g} s", final=True) from None
        if not data:
            raise ApiError(400, "empty_file", "there is nothing in this file", final=True)
        return bytes(data)

    async def _record(self, owner: str, file: Attachment) -> None:
        key = _key(owner, file.sha256)
        await self._bucket.put(key, file.model_dump_json().encode(), ttl=KEPT_SECONDS)

    async def _of(self, owner: str, digest: str) -> Attachment | None:
        if not _SHA256.fullmatch(digest):
            return None
        entry = await self._bucket.get(_key(owner, digest))
        try:
            return None if entry is None else Attachment.model_validate_json(entry.value)
        except ValidationError:
            return None


def file_name(shown: str) -> str:
    """A file's name from its header: percent-decoded, without folders, control characters and tricks of direction.

    Raises ApiError 400 for one that is too long or not UTF-8.
    """
    try:
        text = unquote(shown, errors="strict")
        text.encode()
    except UnicodeError:
        raise ApiError(400, "invalid_name", f"{NAME_HEADER} is the file's name in UTF-8, percent-encoded") from None
    name = _CONTROL.sub("", re.split(r"[/\\]", text)[-1]).strip(" .")
    if len(name) > 255:
        raise ApiError(400, "invalid_name", "a file's name has at most 255 characters")
    return name or "file"


def media_type_of(shown: str) -> str:
    """The type of a file, if it is a document, picture, sound or film. Raises ApiError 415 for a program."""
    media_type = shown.lower()
    if not _TYPE.fullmatch(media_type):
        raise ApiError(415, "unsupported_media_type", "Content-Type: what is it? For example image/png", final=True)
    if media_type not in _DOCUMENTS and not media_type.startswith(_FAMILIES):
        text = f"files of type {media_type} are not taken; documents, pictures, sound, video and archives are"
        raise ApiError(415, "unsupported_media_type", text, final=True)
    return media_type


def _key(owner: str, digest: str) -> str:
    return f"{CHANNEL}.file.{owner.encode().hex()}.{digest}"
