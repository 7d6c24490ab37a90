"""The tree laid out as one run of text with marks on it: what is cut, and what the dialects write."""

from bisect import bisect_right
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import accumulate

from opencrust.channel.text import tables
from opencrust.channel.text.mentions import JOINER, calls
from opencrust.channel.text.tree import (
    Block,
    Break,
    Code,
    Document,
    Fence,
    Heading,
    Inline,
    Items,
    Link,
    Paragraph,
    Quote,
    Rule,
    Style,
    Styled,
    Table,
    Text,
    plain,
)


class Kind(StrEnum):
    """What a mark means."""

    BOLD = "bold"
    ITALIC = "italic"
    STRIKE = "strike"
    CODE = "code"
    LINK = "link"
    HEADING = "heading"
    FENCE = "fence"
    QUOTE = "quote"
    BULLET = "bullet"
    """A list's own bullet or number: layout, not text."""


BLOCKS = frozenset({Kind.FENCE, Kind.QUOTE})
"""Marks that hold whole lines; all others end at the end of the line and begin again on the next."""


@dataclass(frozen=True, slots=True)
class Mark:
    """A mark on some of the text. Two of the same kind side by side differ in ``id``."""

    kind: Kind
    value: str = ""
    """Language of a fence, address of a link, level of a heading."""
    id: int = 0


@dataclass(frozen=True, slots=True)
class Span:
    """Text that has the same marks all over, outermost first, in ``[start, end)`` of the run."""

    start: int
    end: int
    marks: tuple[Mark, ...]

    def has(self, kind: Kind) -> bool:
        """Whether one of its marks is of ``kind``."""
        return any(mark.kind == kind for mark in self.marks)


@dataclass(slots=True)
class Flow:
    """The run: its text, and spans that cover it without gap in order."""

    text: str = ""
    spans: list[Span] = field(default_factory=list)


def flow(document: Document) -> Flow:
    """Lay ``document`` out. Its text calls nobody."""
    layout = _Layout()
    layout.blocks(document.blocks, ())
    return _joined(layout.pieces)


class _Layout:
    def __init__(self) -> None:
        self.pieces: list[tuple[str, tuple[Mark, ...]]] = []
        self._ids = 0

    def blocks(self, blocks: tuple[Block, ...], marks: tuple[Mark, ...], indent: str = "", gap: str = "\n\n") -> None:
        for number, block in enumerate(blocks):
            if number:
                self._put(gap, marks)
                if indent and not isinstance(block, Items | Fence | Table | Quote):
                    self._put(indent, marks)
            self._block(block, marks, indent)

    def _block(self, block: Block, marks: tuple[Mark, ...], indent: str) -> None:
        match block:
            case Paragraph(children):
                self._inlines(children, marks, indent)
            case Heading(level, children):
                self._inlines(children, (*marks, self._mark(Kind.HEADING, str(level))), "")
            case Fence(language, text):
                self._fence(language, text)
            case Quote(children):
                outer = marks if any(mark.kind == Kind.QUOTE for mark in marks) else (self._mark(Kind.QUOTE),)
                self.blocks(children, outer)
            case Items():
                self._items(block, marks, indent)
            case Table():
                self._table(block, marks)
            case Rule():
                self._put("———", (*marks, self._mark(Kind.BULLET)))

    def _items(self, block: Items, marks: tuple[Mark, ...], indent: str) -> None:
        for number, item in enumerate(block.items):
            if number:
                self._put("\n" if block.tight else "\n\n", marks)
            bullet = "• " if block.start is None else f"{block.start + number}. "
            self._put(indent + bullet, (*marks, self._mark(Kind.BULLET)))
            self.blocks(item, marks, indent + "   ", gap="\n")

    def _table(self, table: Table, marks: tuple[Mark, ...]) -> None:
        if (drawn := tables.columns(table)) is not None:
            self._fence("", drawn)
            return
        header, *rows = table.rows
        for number, row in enumerate(rows or [header]):
            if number:
                self._put("\n\n", marks)
            for column, cell in enumerate(row):
                if column:
                    self._put("\n", marks)
                if rows and column < len(header) and header[column]:
                    self._inlines(header[column], (*marks, self._mark(Kind.BOLD)), "")
                    self._put(": ", marks)
                self._inlines(cell, marks, "")

    def _fence(self, language: str, text: str) -> None:
        # never inside a quote: no platform has code in quotes that all of its apps show
        word = "".join(char for char in language if char.isalnum() or char in "+#-_.")[:32]
        self._put(text or " ", (self._mark(Kind.FENCE, word),))

    def _inlines(self, children: tuple[Inline, ...], marks: tuple[Mark, ...], indent: str) -> None:
        for child in children:
            match child:
                case Text(text):
                    self._put(text, marks)
                case Break():
                    self._put("\n" + indent, marks)
                case Code(text):
                    self._put(text, (*marks, self._mark(Kind.CODE)))
                case Styled(style, inner):
                    self._inlines(inner, self._with(marks, style), indent)
                case Link(url, inner) if plain(inner) == url:  # every platform makes a link of an address by itself
                    self._put(url, marks)
                case Link(url, inner):
                    self._inlines(inner, (*marks, self._mark(Kind.LINK, url)), indent)

    def _with(self, marks: tuple[Mark, ...], style: Style) -> tuple[Mark, ...]:
        kind = Kind(style.value)
        if any(mark.kind == kind for mark in marks):  # bold in bold is bold
            return marks
        return (*marks, self._mark(kind))

    def _mark(self, kind: Kind, value: str = "") -> Mark:
        self._ids += 1
        return Mark(kind, value, self._ids)

    def _put(self, text: str, marks: tuple[Mark, ...]) -> None:
        if text:
            self.pieces.append((text, marks))


def _joined(pieces: list[tuple[str, tuple[Mark, ...]]]) -> Flow:
    """One text in which nobody is called. Calls are looked for over the whole of it, whatever marks lie between."""
    ends = list(accumulate(len(text) for text, _ in pieces))
    code = [any(mark.kind in (Kind.CODE, Kind.FENCE) for mark in marks) for _, marks in pieces]
    raw = "".join(text for text, _ in pieces)
    places = calls(raw, lambda index: code[bisect_right(ends, index)])
    chunks: list[str] = []
    starts: list[int] = []
    at = done = 0
    for end in ends:
        starts.append(at)
        begin = ends[len(starts) - 2] if len(starts) > 1 else 0
        while done < len(places) and places[done] < end:
            chunks += [raw[begin : places[done]], JOINER]
            at += places[done] - begin + 1
            begin = places[done]
            done += 1
        chunks.append(raw[begin:end])
        at += end - begin
    run = Flow("".join(chunks))
    for (_, marks), start, stop in zip(pieces, starts, [*starts, at][1:], strict=True):
        _append(run, start, stop, marks)
    return run


def _append(run: Flow, start: int, end: int, marks: tuple[Mark, ...]) -> None:
    """Spans for ``[start, end)``: line ends have only the marks of blocks."""
    blocks = tuple(mark for mark in marks if mark.kind in BLOCKS)
    if blocks == marks:
        run.spans.append(Span(start, end, marks))
        return
    while start < end:
        line = run.text.find("\n", start, end)
        if line < 0:
            run.spans.append(Span(start, end, marks))
            return
        if line > start:
            run.spans.append(Span(start, line, marks))
        run.spans.append(Span(line, line + 1, blocks))
        start = line + 1
