"""What is believed of a file that somebody sent, and how often it is asked for."""

import asyncio
from typing import Any

import pytest

from opencrust.channel.adapter import FileTooLarge, LinkError, RemoteFile
from opencrust.channel.media import PLAIN_BYTES, Media, safe_name, safe_type

PNG = b"\x89PNG\r\n\x1a\n...."


@pytest.mark.parametrize(
    ("name", "kept"),
    [
        ("report.pdf", "report.pdf"),
        ("../../etc/passwd", "passwd"),
        ("C:\\temp\\x.exe", "x.exe"),
        ("..", "file"),
        ("", "file"),
        (".bashrc", "bashrc"),
        ("a\u202egnp.exe\n", "agnp.exe"),
        ("x" * 999, "x" * 200),
    ],
)
def test_a_name_is_a_name(name: str, kept: str) -> None:
    assert safe_name(name) == kept


@pytest.mark.parametrize(
    ("claimed", "data", "believed"),
    [
        ("image/png", PNG, "image/png"),
        ("IMAGE/PNG; charset=x", PNG, "image/png"),
        ("image/png", b"<svg>", PLAIN_BYTES),
        ("image/svg+xml", b"<svg>", PLAIN_BYTES),
        ("text/html", b"<p>", PLAIN_BYTES),
        ("application/xhtml+xml", b"", PLAIN_BYTES),
        ("application/pdf", b"%PDF", "application/pdf"),
        ("audio/ogg", b"OggS", "audio/ogg"),
        ("image/heic", b"....", PLAIN_BYTES),
        ("nonsense", b"", PLAIN_BYTES),
        ("a/b\r\nSet-Cookie: x", b"", PLAIN_BYTES),
    ],
)
def test_a_type_is_believed_where_it_can_do_no_harm(claimed: str, data: bytes, believed: str) -> None:
    assert safe_type(claimed, data) == believed


class Nowhere:
    """A bus that nothing may be stored on in this test."""


@pytest.mark.parametrize(
    ("error", "asked", "says"),
    [
        (LinkError("gone", refused=True), 1, "could not be fetched"),
        (LinkError("not now"), 3, "could not be fetched"),
        (FileTooLarge("x"), 1, "more than 1 MB"),
    ],
)
async def test_a_file_that_cannot_be_had_is_named_in_the_message(
    error: Exception, asked: int, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = 0

    async def fetch(file: RemoteFile, limit: int) -> bytes:
        nonlocal calls
        calls += 1
        raise error

    async def at_once(seconds: float) -> None:
        return None

    monkeypatch.setattr(asyncio, "sleep", at_once)
    bus: Any = Nowhere()
    bus.service = "channel-telegram"
    media = Media(bus, "telegram", fetch, 2**20)
    taken = await media.take(RemoteFile("F", "a.txt", "text/plain"))
    assert isinstance(taken, str)
    assert says in taken
    assert calls == asked


async def test_a_file_that_says_it_is_too_large_is_not_even_asked_for() -> None:
    async def fetch(file: RemoteFile, limit: int) -> bytes:
        raise AssertionError

    bus: Any = Nowhere()
    bus.service = "channel-telegram"
    taken = await Media(bus, "telegram", fetch, 2**20).take(RemoteFile("F", "a.txt", "text/plain", 2**20 + 1))
    assert taken == "[a.txt was not taken: it has more than 1 MB]"
