"""The event stream parser against the WHATWG standard's rules and at every way to cut the bytes."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opencrust_agent.models.sse import EventTooLarge, ServerSentEvent, SSEParser


def parse(data: bytes) -> list[ServerSentEvent]:
    return SSEParser().feed(data)


@pytest.mark.parametrize(
    ("stream", "events"),
    [
        (b"data: a\n\n", [("", b"a")]),
        (b"data:a\n\n", [("", b"a")]),
        (b"data:  a\n\n", [("", b" a")]),
        (b"data: a\ndata: b\n\n", [("", b"a\nb")]),
        (b"event: x\ndata: a\n\ndata: b\n\n", [("x", b"a"), ("", b"b")]),
        (b"data\n\n", [("", b"")]),
        (b"event: x\n\ndata: b\n\n", [("", b"b")]),  # an event without data is dropped, its name too
        (b": comment\n\ndata: a\n: other\n\n", [("", b"a")]),
        (b"id: 1\nretry: 5\nother: x\ndata: a\n\n", [("", b"a")]),
        (b"data: a\r\n\r\ndata: b\r\rdata: c\n\n", [("", b"a"), ("", b"b"), ("", b"c")]),
        (b"\xef\xbb\xbfdata: a\n\n", [("", b"a")]),
        (b"data: a\n\ndata: unfinished\n", [("", b"a")]),
        (b" data: a\n\n", []),
    ],
)
def test_the_standard(stream: bytes, events: list[tuple[str, bytes]]) -> None:
    assert parse(stream) == events


LINE = st.sampled_from([b"data: x", b"data:", b"event: e", b": c", b"data: \xf0\x9f\x99\x82", b"", b"junk", b"id: 1"])
END = st.sampled_from([b"\n", b"\r", b"\r\n"])


@given(st.lists(st.tuples(LINE, END)), st.data())
def test_cutting_the_bytes_changes_nothing(lines: list[tuple[bytes, bytes]], data: st.DataObject) -> None:
    stream = b"".join(line + end for line, end in lines)
    cuts = sorted(data.draw(st.sets(st.integers(0, len(stream)))))
    parser = SSEParser()
    found = []
    for start, stop in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        found += parser.feed(stream[start:stop])
    assert found == parse(stream)


@pytest.mark.parametrize("pieces", [[b"data: "] + [b"x" * 10] * 20, [b"data: " + b"x" * 40 + b"\n"] * 5])
def test_one_event_has_a_limit(pieces: list[bytes]) -> None:
    parser = SSEParser(max_event=100)
    with pytest.raises(EventTooLarge):
        list(map(parser.feed, pieces))


def test_the_limit_is_per_event() -> None:
    parser = SSEParser(max_event=100)
    assert len([parser.feed(b"data: " + b"x" * 60 + b"\n\n") for _ in range(50)]) == 50


def test_a_long_line_in_small_pieces_costs_linear_time() -> None:
    parser = SSEParser(max_event=1 << 22)
    started = time.process_time()
    parser.feed(b"data: ")
    for _ in range(100_000):
        parser.feed(b"x" * 10)
    assert len(parser.feed(b"\n\n")[0].data) == 1_000_000
    assert time.process_time() - started < 2
