"""Server-sent events, parsed incrementally: bytes in, events out, no I/O.

Source: the WHATWG HTML standard, section "Server-sent events" (event stream interpretation). Lines end with LF, CR or
CRLF, also when the pair is split between chunks; a byte order mark at the start is dropped; comments, `id` and `retry`
are ignored; an event that the stream's end leaves unfinished is discarded, as the standard says. Data stays bytes, so a
multi-byte character split between chunks needs no care.
"""

from __future__ import annotations

import re
from typing import NamedTuple

_LINE_END = re.compile(rb"\r\n|\n|\r")
_BOM = b"\xef\xbb\xbf"


class ServerSentEvent(NamedTuple):
    """`event` is "" when the server named none."""

    event: str
    data: bytes


class EventTooLarge(ValueError):
    """One event exceeded the parser's limit."""


class SSEParser:
    """`max_event` bounds the bytes held for one unfinished event."""

    def __init__(self, max_event: int = 1 << 20) -> None:
        self._max_event = max_event
        self._after_cr = False
        self._at_start = True
        self._line: list[bytes] = []  # pieces of the line that has not ended yet: joined once, so cost stays linear
        self._data: list[bytes] = []
        self._event = ""
        self._held = 0

    def feed(self, chunk: bytes) -> list[ServerSentEvent]:
        """The events that `chunk` completes. Raises EventTooLarge."""
        if self._after_cr and chunk.startswith(b"\n"):
            chunk = chunk[1:]
            self._after_cr = False
        if not chunk:
            return []
        lines = _LINE_END.split(chunk) if b"\r" in chunk else chunk.split(b"\n")
        self._after_cr = chunk.endswith(b"\r")
        tail = lines.pop()
        found: list[ServerSentEvent] = []
        if lines and self._line:
            self._line.append(lines[0])
            lines[0] = b"".join(self._line)
            self._line.clear()
        for line in lines:
            if self._at_start:
                self._at_start = False
                line = line.removeprefix(_BOM)
            if not line:
                if self._data:
                    found.append(ServerSentEvent(self._event, b"\n".join(self._data)))
                    self._data = []
                self._event = ""
                self._held = 0
            else:
                self._field(line)
        if tail:
            self._line.append(tail)
            self._hold(len(tail))
        return found

    def _field(self, line: bytes) -> None:
        name, _, value = line.partition(b":")
        if name == b"data":
            value = value[1:] if value.startswith(b" ") else value
            self._data.append(value)
            self._hold(len(value) + 1)
        elif name == b"event":
            value = value[1:] if value.startswith(b" ") else value
            self._event = value.decode("utf-8", "replace")

    def _hold(self, size: int) -> None:
        self._held += size
        if self._held > self._max_event:
            raise EventTooLarge(f"one event is larger than {self._max_event} bytes")
