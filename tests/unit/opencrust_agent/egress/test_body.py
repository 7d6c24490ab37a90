"""Bodies: decoded, cut, broken."""

import gzip
import tracemalloc
import zlib
from collections.abc import AsyncIterator

import pytest

from opencrust_agent.egress import EgressError
from opencrust_agent.egress.body import read

TEXT = b"some text, repeated. " * 500
GZIP = gzip.compress(TEXT, mtime=0)


async def chunks(data: bytes, size: int = 1000) -> AsyncIterator[bytes]:
    for at in range(0, len(data), size):
        yield data[at : at + size]


def raw_deflate(data: bytes) -> bytes:
    maker = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return maker.compress(data) + maker.flush()


@pytest.mark.parametrize(
    ("encoding", "data"),
    [("", TEXT), ("identity", TEXT), ("gzip", GZIP), ("GZIP", GZIP),
     ("deflate", zlib.compress(TEXT)), ("deflate", raw_deflate(TEXT))],
)  # fmt: skip
@pytest.mark.parametrize("size", [1, 7, 100_000])
async def test_decoded(encoding: str, data: bytes, size: int) -> None:
    assert await read(chunks(data, size), encoding, 1 << 20) == (TEXT, False)
    assert await read(chunks(data, size), encoding, 100) == (TEXT[:100], True)


async def test_a_bomb_costs_what_the_limit_costs() -> None:
    bomb = gzip.compress(bytes(200 << 20), 9)
    tracemalloc.start()
    try:
        body, cut = await read(chunks(bomb, 65536), "gzip", 1 << 20)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert (len(body), cut) == (1 << 20, True)
    assert peak < 8 << 20


@pytest.mark.parametrize(
    ("encoding", "data"),
    [("br", b"x"), ("gzip, gzip", b"x"), ("gzip", b"not gzip"), ("gzip", GZIP[:-20])],
)
async def test_what_cannot_be_decoded_is_no_answer(encoding: str, data: bytes) -> None:
    with pytest.raises(EgressError):
        await read(chunks(data), encoding, 1 << 20)


async def test_an_empty_body_of_any_encoding() -> None:
    assert await read(chunks(b""), "gzip", 10) == (b"", False)
