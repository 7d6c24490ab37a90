"""The tree that Markdown is read into: blocks that hold inlines. Immutable, and with no markup left in any text."""

from dataclasses import dataclass
from enum import StrEnum


class Style(StrEnum):
    """Emphasis."""

    BOLD = "bold"
    ITALIC = "italic"
    STRIKE = "strike"


@dataclass(frozen=True, slots=True)
class Text:
    """Plain text."""

    text: str


@dataclass(frozen=True, slots=True)
class Break:
    """A new line within a paragraph. Soft breaks too: in a chat, a line that was broken was meant to be."""


@dataclass(frozen=True, slots=True)
class Code:
    """Code within a line."""

    text: str


@dataclass(frozen=True, slots=True)
class Styled:
    """Inlines with emphasis."""

    style: Style
    children: "tuple[Inline, ...]"


@dataclass(frozen=True, slots=True)
class Link:
    """A link; an image is one too. ``url`` is http, https, mailto or tel; any other is written out as text."""

    url: str
    children: "tuple[Inline, ...]"


Inline = Text | Break | Code | Styled | Link


@dataclass(frozen=True, slots=True)
class Paragraph:
    """Lines of text."""

    children: tuple[Inline, ...]


@dataclass(frozen=True, slots=True)
class Heading:
    """A heading; ``level`` 1 to 6."""

    level: int
    children: tuple[Inline, ...]


@dataclass(frozen=True, slots=True)
class Fence:
    """A block of code; ``language`` may be empty."""

    language: str
    text: str


@dataclass(frozen=True, slots=True)
class Quote:
    """Quoted blocks."""

    children: "tuple[Block, ...]"


@dataclass(frozen=True, slots=True)
class Items:
    """A list. ``start`` is the first number of an ordered list, None for bullets."""

    start: int | None
    items: "tuple[tuple[Block, ...], ...]"
    tight: bool = True


@dataclass(frozen=True, slots=True)
class Table:
    """A table: its rows, the header first. Each cell is a row of inlines."""

    rows: tuple[tuple[tuple[Inline, ...], ...], ...]
    right: tuple[bool, ...] = ()
    """Per column: aligned to the right."""


@dataclass(frozen=True, slots=True)
class Rule:
    """A line across."""


Block = Paragraph | Heading | Fence | Quote | Items | Table | Rule


@dataclass(frozen=True, slots=True)
class Document:
    """A whole text."""

    blocks: tuple[Block, ...]


def plain(children: tuple[Inline, ...]) -> str:
    """The text of ``children`` without marks."""
    out = []
    for child in children:
        match child:
            case Text(text) | Code(text):
                out.append(text)
            case Break():
                out.append(" ")
            case Styled(_, inner):
                out.append(plain(inner))
            case Link(url, inner):
                label = plain(inner)
                out.append(label if label == url or not label else f"{label} ({url})")
    return "".join(out)
