"""Markdown to the tree."""

import re
from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING

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

if TYPE_CHECKING:
    from markdown_it import MarkdownIt
    from markdown_it.rules_inline import StateInline
    from markdown_it.token import Token

MAX_NESTING = 32
"""Deeper nesting than this is no text that somebody wrote to be read: it is taken literally."""
MAX_MARKDOWN = 300_000
"""Longer text is taken literally."""

_STYLES = {"strong": Style.BOLD, "em": Style.ITALIC, "s": Style.STRIKE}
_SCHEME = re.compile(r"(?:https?://|mailto:|tel:)[^\s<>\x00-\x20\"]+\Z", re.IGNORECASE)
_LOOKS_LIKE_ADDRESS = re.compile(r"(?:[a-z][a-z0-9+.-]*://|www\.)\S+|\S+\.[a-z]{2,}(?:[/:?#]\S*)?", re.IGNORECASE)
_BAD = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\u202d\u202e\ud800-\udfff]")
"""Control characters, halves of pairs, and the two overrides of direction: they make text read as what it is not. Marks
and isolates, which Hebrew and Arabic need, stay."""
_BREAK = re.compile(r"<br\s*/?>", re.IGNORECASE)
_TASK = re.compile(r"\[([ xX])\] ")


def parse(markdown: str) -> Document:
    """Read Markdown. Never raises: what is no markup is text. Nothing of the text is lost but markup and white
    space."""
    markdown = clean(markdown)
    if len(markdown) > MAX_MARKDOWN:
        return literal(markdown)
    tokens = _parser().parse(markdown)
    # markdown-it drops what is nested deeper than its limit; such a text is taken as it stands
    if any(token.level >= MAX_NESTING - 2 for token in tokens):
        return literal(markdown)
    return Document(tuple(_Reader(tokens).blocks()))


def literal(text: str) -> Document:
    """A tree of text that is not Markdown: all of it is text."""
    lines = clean(text).split("\n")
    children: list[Inline] = []
    for number, line in enumerate(lines):
        if number:
            children.append(Break())
        if line:
            children.append(Text(line))
    return Document((Paragraph(tuple(children)),))


def clean(text: str) -> str:
    """``text`` without control characters and lone surrogates (a platform refuses them), with ``\\n`` as line end."""
    return _BAD.sub("\N{REPLACEMENT CHARACTER}", text.replace("\r\n", "\n").replace("\r", "\n"))


@cache
def _parser() -> "MarkdownIt":
    from markdown_it import MarkdownIt

    parser = MarkdownIt("commonmark", {"html": False, "maxNesting": MAX_NESTING})
    parser.enable(["table", "strikethrough"]).disable(["lheading", "code", "reference", "html_block", "html_inline"])
    parser.validateLink = lambda url: True  # type: ignore[method-assign]  # ours is stricter: see _link
    parser.normalizeLink = lambda url: url  # type: ignore[method-assign]
    parser.inline.ruler.before("emphasis", "arithmetic", _arithmetic)
    parser.inline.ruler.before("autolink", "br", _br)
    return parser


def _arithmetic(state: "StateInline", silent: bool) -> bool:
    """A star between two digits is a sign: ``5*6*7`` has no emphasis in it."""
    text, at = state.src, state.pos
    if text[at] != "*" or not (0 < at < state.posMax - 1 and text[at - 1].isdigit() and text[at + 1].isdigit()):
        return False
    if not silent:
        state.pending += "*"
    state.pos += 1
    return True


def _br(state: "StateInline", silent: bool) -> bool:
    """Models write ``<br>`` where a line of a table's cell ends."""
    found = _BREAK.match(state.src, state.pos)
    if found is None:
        return False
    if not silent:
        state.push("hardbreak", "br", 0)
    state.pos = found.end()
    return True


class _Reader:
    """Walks the parser's flat tokens."""

    def __init__(self, tokens: Sequence["Token"]) -> None:
        self._tokens = tokens
        self._at = 0

    def blocks(self, until: str = "") -> list[Block]:
        found: list[Block] = []
        while self._at < len(self._tokens):
            token = self._next()
            match token.type:
                case kind if kind == until:
                    break
                case "paragraph_open":
                    found.append(Paragraph(self._line("paragraph_close")))
                case "heading_open":
                    found.append(Heading(int(token.tag[1:]), self._line("heading_close")))
                case "fence" | "code_block":
                    language = token.info.strip().split(maxsplit=1)
                    found.append(Fence(language[0] if language else "", token.content.removesuffix("\n")))
                case "blockquote_open":
                    found.append(Quote(tuple(self.blocks("blockquote_close"))))
                case "bullet_list_open" | "ordered_list_open":
                    found.append(self._items(token))
                case "table_open":
                    found.append(self._table())
                case "hr":
                    found.append(Rule())
                case "inline":
                    found.append(Paragraph(tuple(_inlines(token.children or []))))
        return found

    def _next(self) -> "Token":
        token = self._tokens[self._at]
        self._at += 1
        return token

    def _line(self, until: str) -> tuple[Inline, ...]:
        children: list[Inline] = []
        while (token := self._next()).type != until:
            children += _inlines(token.children or [])
        return tuple(children)

    def _items(self, opened: "Token") -> Items:
        ordered = opened.type == "ordered_list_open"
        start = int(opened.attrGet("start") or 1) if ordered and opened.attrGet("start") != 0 else 0
        items: list[tuple[Block, ...]] = []
        tight = True
        while (token := self._next()).type != opened.type.replace("_open", "_close"):
            if token.type == "list_item_open":
                tight = tight and (self._tokens[self._at].type != "paragraph_open" or self._tokens[self._at].hidden)
                items.append(tuple(_task(self.blocks("list_item_close"))))
        return Items(start if ordered else None, tuple(items), tight)

    def _table(self) -> Table:
        rows: list[tuple[tuple[Inline, ...], ...]] = []
        row: list[tuple[Inline, ...]] = []
        right: list[bool] = []
        while (token := self._next()).type != "table_close":
            if token.type == "tr_open":
                row = []
            elif token.type == "th_open":
                right.append("right" in str(token.attrGet("style") or ""))
            elif token.type == "inline":
                row.append(tuple(_inlines(token.children or [])))
            elif token.type == "tr_close":
                rows.append(tuple(row))
        return Table(tuple(rows), tuple(right))


def _task(blocks: list[Block]) -> list[Block]:
    """``[x] done`` at the start of a list's item is a box."""
    if blocks and isinstance(blocks[0], Paragraph) and blocks[0].children:
        first = blocks[0].children[0]
        if isinstance(first, Text) and (box := _TASK.match(first.text)):
            mark = "☐ " if box[1] == " " else "☑ "
            rest = (Text(mark + first.text[box.end() :]), *blocks[0].children[1:])
            return [Paragraph(rest), *blocks[1:]]
    return blocks


def _inlines(tokens: Sequence["Token"]) -> list[Inline]:
    stack: list[tuple[object, list[Inline]]] = [(None, [])]
    for token in tokens:
        children = stack[-1][1]
        match token.type:
            case "text" | "text_special" | "html_inline":
                if token.content:
                    children.append(Text(token.content))
            case "softbreak" | "hardbreak":
                children.append(Break())
            case "code_inline":
                children.append(Code(token.content))
            case "image":
                label = tuple(_inlines(token.children or [])) or (Text("image"),)
                children += _link(str(token.attrGet("src") or ""), str(token.attrGet("title") or ""), label)
            case "strong_open" | "em_open" | "s_open":
                stack.append((_STYLES[token.type.removesuffix("_open")], []))
            case "link_open":
                stack.append(((str(token.attrGet("href") or ""), str(token.attrGet("title") or "")), []))
            case "strong_close" | "em_close" | "s_close" | "link_close":
                opened, inner = stack.pop()
                if isinstance(opened, Style):
                    stack[-1][1].append(Styled(opened, tuple(inner)))
                elif isinstance(opened, tuple):
                    stack[-1][1].extend(_link(opened[0], opened[1], tuple(inner)))
    return stack[0][1]


def _link(url: str, title: str, label: tuple[Inline, ...]) -> list[Inline]:
    """A link only where the platform may be trusted with the address, and only with a label that does not pretend to be
    another address."""
    shown = plain(label).strip()
    after: list[Inline] = [Text(f" “{title}”")] if title else []
    if not shown:
        label, shown = (Text(url),), url
    if not _SCHEME.match(url):
        return [*label, *([Text(f" ({url})")] if url and url != shown else []), *after]
    if shown != url and _LOOKS_LIKE_ADDRESS.fullmatch(shown) and _bare(shown) != _bare(url):
        return [*label, Text(" ("), Link(url, (Text(url),)), Text(")"), *after]
    return [Link(url, label), *after]


def _bare(url: str) -> str:
    return re.sub(r"\A(?:https?://|mailto:)", "", url, flags=re.IGNORECASE).rstrip("/").casefold()
