"""What a server may write into its socket, and what discord.py is given of it."""

import json
import zlib
from typing import Any

import pytest

from opencrust_channel_discord.socket import DEFAULT_INTERVAL, DEFAULT_RESUME, MAX_FRAME, Unpacker, interval, needed

FRAME = json.dumps({"op": 0, "t": "X", "d": "ä" * 500})


def stream(*texts: str) -> list[bytes]:
    packer = zlib.compressobj()
    return [packer.compress(text.encode()) + packer.flush(zlib.Z_SYNC_FLUSH) for text in texts]


def test_one_stream_over_all_messages() -> None:
    unpacker = Unpacker()
    assert [unpacker.feed(piece) for piece in stream(FRAME, "{}", FRAME)] == [FRAME, "{}", FRAME]


def test_a_message_in_pieces() -> None:
    [whole] = stream(FRAME)
    unpacker = Unpacker()
    assert [unpacker.feed(piece) for piece in (whole[:1], whole[1:-4], whole[-4:])] == [None, None, FRAME]


def test_each_message_packed_for_itself() -> None:
    unpacker = Unpacker()
    assert [unpacker.feed(zlib.compress(text.encode())) for text in (FRAME, "{}")] == [FRAME, "{}"]


@pytest.mark.parametrize("data", [b"no zlib", zlib.compress(b"\xff\xfe"), zlib.compress(b" " * (MAX_FRAME + 1))])
def test_what_is_no_text_breaks_the_stream(data: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - of whatever reads it
        Unpacker().feed(data)


@pytest.mark.parametrize(
    ("given", "expected"),
    [(41250, 41250), (500.5, 500.5), (1, 100), (0, DEFAULT_INTERVAL), (-5, DEFAULT_INTERVAL), ("9", DEFAULT_INTERVAL),
     (None, DEFAULT_INTERVAL), (True, DEFAULT_INTERVAL), (10**12, DEFAULT_INTERVAL)],
)  # fmt: skip
def test_an_interval_is_never_none_nor_nothing(given: Any, expected: float) -> None:
    assert interval(given) == expected


@pytest.mark.parametrize(
    ("frame", "expected"),
    [
        ({"op": 0, "t": "RESUMED", "d": None}, {"op": 0, "s": 5, "d": {}, "t": "RESUMED"}),
        ({"op": 0, "t": None, "d": 7}, {"op": 0, "s": 5, "d": {}, "t": "UNKNOWN"}),
        ({"op": 9}, {"op": 9, "s": 5, "d": False}),
        ({"op": 9, "d": 1}, {"op": 9, "s": 5, "d": False}),
        ({"op": 9, "d": True}, {"op": 9, "s": 5, "d": True}),
        ({"op": 10, "d": None}, {"op": 10, "s": 5, "d": {"heartbeat_interval": DEFAULT_INTERVAL}}),
        ({"op": 11}, {"op": 11, "s": 5, "d": None}),
        ({"op": 0, "t": "READY"}, {"op": 0, "s": 5, "t": "READY",
                                   "d": {"session_id": "", "resume_gateway_url": DEFAULT_RESUME}}),
        ({"op": 0, "t": "READY", "d": {"session_id": 7, "resume_gateway_url": "wss://there"}},
         {"op": 0, "s": 5, "t": "READY", "d": {"session_id": "7", "resume_gateway_url": "wss://there"}}),
    ],
)  # fmt: skip
def test_discord_py_gets_what_it_reads(frame: dict[str, Any], expected: dict[str, Any]) -> None:
    assert needed(frame, 5) == expected
