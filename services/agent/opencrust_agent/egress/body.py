"""Reading an answer's body: decoded as it comes, and never more of it than was asked for."""

import zlib
from collections.abc import AsyncIterator

from opencrust_agent.egress.errors import EgressError

ENCODINGS = "gzip, deflate"
_WINDOW = {"gzip": 16 + zlib.MAX_WBITS, "x-gzip": 16 + zlib.MAX_WBITS, "deflate": zlib.MAX_WBITS}
_STEP = 64 * 1024


async def read(chunks: AsyncIterator[bytes], encoding: str, limit: int) -> tuple[bytes, bool]:
    """At most ``limit`` bytes of the decoded body, and whether there was more.

    A bomb is decoded in steps and dropped at the limit: a gigabyte of zeros costs what the limit costs.

    Raises:
        EgressError: an encoding that was not asked for, or a broken one.
    """
    name = encoding.strip().lower() or "identity"
    if name == "identity":
        return await _plain(chunks, limit)
    if name not in _WINDOW:
        raise EgressError("the answer is compressed in a way that was not asked for")
    decoder = None
    pending = b""
    decoded = bytearray()
    async for chunk in chunks:
        pending += chunk
        if decoder is None and len(pending) >= 2:
            decoder = zlib.decompressobj(
                _WINDOW[name] if name != "deflate" or _has_header(pending) else -zlib.MAX_WBITS
            )
        while decoder is not None and pending and not decoder.eof:
            try:
                decoded += decoder.decompress(pending, _STEP)
            except zlib.error:
                raise EgressError("the answer's compression is broken") from None
            pending = decoder.unconsumed_tail
            if len(decoded) > limit:
                return bytes(decoded[:limit]), True
        if decoder is not None and decoder.eof:
            return bytes(decoded), False
    if decoder is not None or pending:
        raise EgressError("the answer broke off")
    return b"", False


def _has_header(data: bytes) -> bool:
    """Some servers send deflate without its zlib header (RFC 1950 §2.2 says what one looks like)."""
    return data[0] & 0x0F == 8 and int.from_bytes(data[:2]) % 31 == 0


async def _plain(chunks: AsyncIterator[bytes], limit: int) -> tuple[bytes, bool]:
    body = bytearray()
    async for chunk in chunks:
        body += chunk
        if len(body) > limit:
            return bytes(body[:limit]), True
    return bytes(body), False
