"""How a dialect writes a stretch of the run. What differs between platforms are a few small methods."""

import re
from abc import ABC, abstractmethod
from bisect import bisect_right
from dataclasses import dataclass
from itertools import islice

from opencrust.channel.text.flow import BLOCKS, Flow, Kind, Mark, Span

SPACE = "\N{ZERO WIDTH SPACE}"


@dataclass(frozen=True, slots=True)
class Part:
    """One message's text."""

    text: str
    size: int
    """In the platform's units."""
    entities: int = 0
    """Marks in it, where the platform counts them."""


class Dialect(ABC):
    """A platform's way to write text."""

    name: str
    limit: int
    """Most units in one message."""
    entities_max: int | None = None

    def part(self, run: Flow, start: int, end: int) -> Part:
        """``run.text[start:end]`` in this dialect, with every mark in it opened and closed."""
        out = _Writer(self)
        first = bisect_right(run.spans, start, key=lambda span: span.end)
        for span in islice(run.spans, first, None):
            if span.start >= end:
                break
            out.span(run.text[max(span.start, start) : min(span.end, end)], span)
        text = out.finish()
        return Part(text, self.size(text, out.visible), out.entities)

    def size(self, text: str, visible: str) -> int:
        """Size of a message in the platform's units; ``visible`` is its text without any markup. By default code points
        of the message as it is sent."""
        del visible
        return len(text)

    @abstractmethod
    def open(self, mark: Mark) -> str:
        """What begins ``mark``."""

    @abstractmethod
    def close(self, mark: Mark) -> str:
        """What ends ``mark``."""

    @abstractmethod
    def escape(self, text: str, line_start: bool, marks: tuple[Mark, ...]) -> str:
        """Text of at most one line that is shown as it is."""

    @abstractmethod
    def code(self, text: str, mark: Mark) -> str:
        """Code within a line, its delimiters and all."""

    @abstractmethod
    def fenced(self, text: str) -> str:
        """The inside of a fence."""

    def line_prefix(self, marks: tuple[Mark, ...]) -> str:
        """What stands at the start of each line with these marks."""
        del marks
        return ""

    def bullet(self, text: str) -> str:
        """A list's bullet or number, or the line across."""
        return text

    def between(self, before: str, after: str) -> str:
        """What must stand between two pieces of output, so that a delimiter is not read as part of a word."""
        del before, after
        return ""


class _Writer:
    """The one walk over spans: opens, closes, prefixes."""

    def __init__(self, dialect: Dialect) -> None:
        self._dialect = dialect
        self._out: list[str] = []
        self._open: list[Mark] = []
        self._seen: list[str] = []
        self._closed = False
        """A mark was closed last: what follows may need something between."""
        self.entities = 0

    @property
    def visible(self) -> str:
        return "".join(self._seen)

    def span(self, text: str, span: Span) -> None:
        marks = tuple(mark for mark in span.marks if mark.kind not in (Kind.BULLET, Kind.CODE))
        self._turn_to(marks)
        self._seen.append(text)
        if span.has(Kind.FENCE):
            self._out.append(self._dialect.fenced(text))
            return
        for number, line in enumerate(text.split("\n")):
            if number:
                self._out.append("\n")
                self._closed = False
            if not line:
                continue
            first = self._at_line_start()
            if first and (prefix := self._dialect.line_prefix(span.marks)):
                self._out.append(prefix)
            self._write(line, span, first)

    def finish(self) -> str:
        self._turn_to(())
        return "".join(self._out)

    def _write(self, line: str, span: Span, first: bool) -> None:
        if span.has(Kind.BULLET):
            self._out.append(self._dialect.bullet(line))
        elif span.has(Kind.CODE):
            self.entities += 1
            code = next(mark for mark in span.marks if mark.kind == Kind.CODE)
            self._delimiter(self._dialect.code(line, code))
            self._closed = True
        else:
            text = self._dialect.escape(line, first, span.marks)
            if self._closed:
                self._out.append(self._dialect.between(self._out[-1], text))
            self._out.append(text)
            self._closed = False

    def _turn_to(self, marks: tuple[Mark, ...]) -> None:
        same = 0
        while same < min(len(marks), len(self._open)) and marks[same] == self._open[same]:
            same += 1
        for mark in reversed(self._open[same:]):
            self._delimiter(self._dialect.close(mark), between=False)
            self._closed = mark.kind not in BLOCKS
        for mark in marks[same:]:
            self.entities += 1
            if mark.kind not in BLOCKS and self._at_line_start() and (prefix := self._dialect.line_prefix(marks)):
                self._out.append(prefix)
            self._delimiter(self._dialect.open(mark), between=mark.kind not in BLOCKS)
        self._open = list(marks)

    def _delimiter(self, text: str, between: bool = True) -> None:
        if not text:
            return
        if between and self._out and not self._at_line_start():
            self._out.append(self._dialect.between(self._out[-1], text))
        self._out.append(text)
        self._closed = False

    def _at_line_start(self) -> bool:
        last = next((piece for piece in reversed(self._out) if piece), "\n")
        return last.endswith("\n")


_URL = re.compile(r"https?://[^\s<>]+", re.IGNORECASE)


def addresses(text: str) -> list[tuple[str, bool]]:
    """``text`` cut into pieces, and which of them are web addresses (whose last punctuation is not theirs)."""
    pieces: list[tuple[str, bool]] = []
    at = 0
    for match in _URL.finditer(text):
        end = match.start() + len(match[0].rstrip(".,:;!?\"')]*_~|`"))
        if end - match.start() < len("http://x"):
            continue
        if match.start() > at:
            pieces.append((text[at : match.start()], False))
        pieces.append((text[match.start() : end], True))
        at = end
    if at < len(text):
        pieces.append((text[at:], False))
    return pieces


def unfenced(text: str) -> str:
    """Code without three backticks side by side, however many there were: it cannot end the fence that it is in."""
    return _FENCE.sub(f"``{SPACE}", text)


def percent(url: str, characters: str) -> str:
    """``url`` with these characters percent-encoded: the same address, and nothing in it that ends a link."""
    for char in characters:
        url = url.replace(char, f"%{ord(char):02X}")
    return url


_INSIDE = "[A-Za-z0-9]"
"""Beside these, a character is surely inside a word; whether a platform takes ``é`` for a letter, nobody says."""
_PAIRS = {"*": "\N{ASTERISK OPERATOR}", "_": "\N{FULLWIDTH LOW LINE}", "~": "\N{TILDE OPERATOR}"}


def unpaired(text: str) -> str:
    """``text`` of one line for a dialect that has no escape (Slack, WhatsApp): where ``*``, ``_`` or ``~`` could pair
    up and become markup, a look-alike stands instead; a backtick always has one. ``snake_case`` and ``2 * 3`` stay.
    """
    text = text.replace("`", "\N{MODIFIER LETTER GRAVE ACCENT}")
    for char, like in _PAIRS.items():
        if char in text:
            text = re.sub(rf"(?<!{_INSIDE}){re.escape(char)}(?=\S)|(?<=\S){re.escape(char)}(?!{_INSIDE})", like, text)
    return text


_FENCE = re.compile("``(?=`)")
