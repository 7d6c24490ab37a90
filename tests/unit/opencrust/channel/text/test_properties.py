"""Thousands of hostile examples of what a model may write, in every dialect and at every limit."""

import html
import random
import re
import time
from html.parser import HTMLParser

import pytest

from opencrust.channel.text import DISCORD, PLAIN, SLACK, TELEGRAM, WHATSAPP, Dialect, literal, parts, render
from opencrust.channel.text.graphemes import is_border
from opencrust.channel.text.mentions import JOINER

ALL = [TELEGRAM, DISCORD, SLACK, WHATSAPP, PLAIN]
by_name = pytest.mark.parametrize("dialect", ALL, ids=lambda dialect: dialect.name)

FAMILY = "\U0001f468\u200d\U0001f469\u200d\U0001f467\u200d\U0001f466"
CLUSTERS = [
    FAMILY,
    "\U0001f1e9\U0001f1ea",  # a flag of two letters
    "\U0001f3f4\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f",  # one of tags
    "\U0001f44d\U0001f3fd",
    "\u2764\ufe0f\u200d\U0001f525",
    "1\ufe0f\u20e3",
    "e\u0301",
    "\u0915\u094d\u0937\u093f",
    "\u1112\u1161\u11ab",
]
PIECES = [
    *CLUSTERS,
    *("word ", "a_b ", "*", "**", "_", "~~", "`", "``", "[", "](", ")", "<", ">", "&amp;", "|", "\\", "\n", "\n\n"),
    *("    ", "# h\n", "> q\n", "- i\n", "  1. n\n", "```py\n", "```\n", "~~~~\n"),
    *("| a | b |\n|---|--:|\n| 1 | <br> |\n", "[l (x)](https://x.org/a_(b)?c=1&d=<2>)", "![i](https://x.org/i.png)"),
    *("https://x.org/_a_*b*", "[t](tg://user?id=5)", "tg://user?id=9", "5*6*7", "\x00", "\ud800"),
    *("@everyone", "@here", "<!channel>", "<@U012AB>", "<@!5>", "<#C1>", "@alice"),
    *("\u05e9\u05dc\u05d5\u05dd ", "\u0645\u0631\u062d\u0628\u0627 ", "\u202eevil\u202c", "\u2067x\u2069"),
]  # fmt: skip


def written(seed: int) -> str:
    """A text; the same for the same number."""
    chance = random.Random(seed)
    return "".join(chance.choices(PIECES, k=chance.randint(1, 80)))


class Reader(HTMLParser):
    """Telegram's HTML, read as Telegram reads it: what is open at the end of a message is refused."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.links: list[str] = []
        self.words = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag in {"b", "i", "s", "a", "code", "pre", "blockquote"}
        assert not (tag == "blockquote" and "blockquote" in self.open), "quotes do not nest"
        self.open.append(tag)
        self.links += [value or "" for name, value in attrs if name == "href"]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words += data


def read(text: str) -> Reader:
    reader = Reader()
    reader.feed(text)
    reader.close()
    assert reader.open == [], text
    return reader


def ends_in_a_fence(text: str, *, escapes: bool) -> bool:
    """Whether a fence is open at the end; a backslash escapes outside of fences only."""
    inside, at = False, 0
    while at < len(text):
        if escapes and not inside and text[at] == "\\":
            at += 2
        elif text.startswith("```", at):
            inside, at = not inside, at + 3
        else:
            at += 1
    return inside


@by_name
def test_three_thousand_texts_in_every_dialect(dialect: Dialect) -> None:
    for seed in range(3000):
        limit = random.Random(-seed).choice((64, 80, 150, 400, dialect.limit))
        for part in parts(written(seed), dialect, limit):
            text = part.text
            assert text.strip(), seed
            assert not re.search("[\x00\u202d\u202e\ud800-\udfff]", text), seed
            assert not re.search(r"@(everyone|here|channel)|<[@#!][!&]?\w+>", text), seed
            if dialect is TELEGRAM:
                reader = read(text)
                assert len(reader.words.encode("utf-16-le")) // 2 == part.size <= limit, seed
                assert all(link.startswith(("https://", "http://", "mailto:", "tel:")) for link in reader.links), seed
            else:
                assert len(text) <= limit, seed
            if dialect in (DISCORD, SLACK, WHATSAPP):
                assert not ends_in_a_fence(text, escapes=dialect is DISCORD), seed


@by_name
def test_a_character_as_a_person_sees_it_is_never_cut(dialect: Dialect) -> None:
    for seed in range(600):
        chance = random.Random(seed)
        text = "".join(chance.choices(CLUSTERS, k=chance.randint(20, 120)))
        pieces = render(literal(text), dialect, chance.randint(64, 130))
        shown = [html.unescape(piece).replace(JOINER, "") for piece in pieces]
        assert "".join(shown) == text, seed
        at = 0
        for piece in shown:
            at += len(piece)
            assert is_border(text, at), seed


@pytest.mark.parametrize("dialect", [TELEGRAM, DISCORD], ids=lambda dialect: dialect.name)
def test_code_over_many_parts_keeps_its_language_its_lines_and_its_indentation(dialect: Dialect) -> None:
    for seed in range(60):
        chance = random.Random(seed)
        lines = [" " * chance.randint(0, 12) + f"line{number}(x)" for number in range(chance.randint(20, 60))]
        pieces = render("before\n\n```python\n" + "\n".join(lines) + "\n```\n\nafter", dialect, chance.randint(90, 300))
        code = [piece for piece in pieces if "line" in piece]
        opening = '<pre><code class="language-python">' if dialect is TELEGRAM else "```python\n"
        assert all(opening in piece for piece in code), seed
        found = re.findall(r"[ ]*line\d+\(x\)", "\n".join(code).replace(opening, ""))
        assert found == lines, seed


@pytest.mark.parametrize(
    "text",
    [
        "lorem ipsum dolor. " * 5300,
        "x" * 100_000,
        FAMILY * 14_000,
        "```py\n" + "x = 1\n" * 16_600 + "```",
        "**" + "b " * 50_000 + "**",
        "\n".join("  " * (n % 9) + f"- item {n}" for n in range(6000)),
        "e" + "\u0301" * 100_000,
    ],
    ids=["words", "one word", "emoji", "code", "bold", "lists", "marks"],
)
def test_a_hundred_kilobytes(text: str) -> None:
    begin = time.process_time()
    for dialect in (TELEGRAM, DISCORD):
        found = parts(text, dialect)
        assert all(part.size <= dialect.limit for part in found)
        assert len(found) >= 12
    assert time.process_time() - begin < 8


def test_nested_lists_keep_their_depth_and_their_code() -> None:
    text = "1. one\n   - a\n     - b\n2. two\n\n   ```py\n   x = 1\n   ```\n3. three"
    assert render(text, TELEGRAM) == [
        '1. one\n   • a\n      • b\n\n2. two\n<pre><code class="language-py">x = 1</code></pre>\n\n3. three'
    ]


def test_arithmetic_is_no_emphasis_and_a_break_is_one() -> None:
    assert render("5*6*7 is 210, *really*", TELEGRAM) == ["5*6*7 is 210, <i>really</i>"]
    assert render("5*6*7", PLAIN) == ["5*6*7"]
    assert render("a<br>b<BR />c `<br>`", PLAIN) == ["a\nb\nc <br>"]
    assert render("| a |\n|---|\n| x<br>y |", PLAIN) == ["a\n---\nx y"]


def test_overrides_of_direction_are_shown_and_right_to_left_text_is_not_touched() -> None:
    assert render("invoice_\u202efdp.exe", TELEGRAM) == ["invoice_\ufffdfdp.exe"]
    hebrew = "\u05e9\u05dc\u05d5\u05dd \u2067abc\u2069 \u200f\u0645\u0631\u062d\u0628\u0627"
    assert render(hebrew, TELEGRAM) == [hebrew]


def test_a_table_is_in_columns_only_where_a_telephone_shows_them() -> None:
    narrow = "| name | value |\n|---|---|\n| a | 1 |"
    assert "<pre>" in render(narrow, TELEGRAM)[0]
    wide = "| name | what it does |\n|---|---|\n| opencrust doctor | looks for what is wrong |"
    assert render(wide, PLAIN) == ["name: opencrust doctor\nwhat it does: looks for what is wrong"]
    for line in html.unescape(re.sub("<[^>]*>", "", render(narrow, TELEGRAM)[0])).splitlines():
        assert len(line) <= 40
