"""What holds for every text and every dialect."""

import html
import re
import unicodedata
from html.parser import HTMLParser

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from opencrust.channel.text import DISCORD, PLAIN, SLACK, TELEGRAM, WHATSAPP, Dialect, literal, parts, render
from opencrust.channel.text.graphemes import is_border
from opencrust.channel.text.mentions import JOINER
from opencrust.channel.text.telegram import utf16

ALL = [TELEGRAM, DISCORD, SLACK, WHATSAPP, PLAIN]
by_name = pytest.mark.parametrize("dialect", ALL, ids=lambda dialect: dialect.name)

words = st.text(st.sampled_from("abcde 🙂é́\n.!<>&*_~`|[]()@#-1"), max_size=300)
unicode_text = st.text(max_size=400)
markdown = st.lists(
    st.one_of(
        st.sampled_from(
            [
                "# Title",
                "**bold *both* bold**",
                "```python\nprint('x')\n\n@dataclass\n```",
                "- one\n- two\n  1. deep",
                "> quoted\n> more",
                "| a | b |\n|---|--:|\n| 1 | 2 |",
                "[label](https://example.org/a_b?c=1&d)",
                "`code` and ~~gone~~",
                "---",
                "@everyone <@1> <!channel> @here",
            ]
        ),
        words,
    ),
    max_size=8,
).map("\n\n".join)


def letters(text: str) -> str:
    """What a person reads: letters and digits only. Look-alikes and joiners are no letters."""
    return "".join(
        char for char in text if unicodedata.category(char)[0] in "LN" and char != "\N{MODIFIER LETTER GRAVE ACCENT}"
    )


class Balance(HTMLParser):
    """Telegram's parser, roughly: every tag is closed, in order, and only the tags that it knows."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.stack: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag in {"b", "i", "s", "a", "code", "pre", "blockquote"}
        self.stack.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.stack.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def shown(text: str) -> str:
    parser = Balance()
    parser.feed(text)
    parser.close()
    assert parser.stack == []
    return parser.text


@by_name
@settings(max_examples=60, deadline=None)
@given(text=st.one_of(unicode_text, words, markdown), limit=st.integers(64, 400))
def test_no_part_is_over_the_limit_or_empty(dialect: Dialect, text: str, limit: int) -> None:
    for part in parts(text, dialect, limit):
        assert part.text.strip()
        assert part.size <= limit
        if dialect is not TELEGRAM:
            assert len(part.text) <= limit


@by_name
@settings(max_examples=60, deadline=None)
@given(text=st.one_of(unicode_text, words), limit=st.integers(64, 400))
def test_text_that_is_no_markdown_loses_nothing(dialect: Dialect, text: str, limit: int) -> None:
    sent = "".join(render(literal(text), dialect, limit))
    if dialect is SLACK or dialect is TELEGRAM:
        sent = html.unescape(re.sub(r"<[^>]*>", "", sent)) if dialect is TELEGRAM else html.unescape(sent)
    assert letters(sent) == letters(literal_text(text))


def literal_text(text: str) -> str:
    return re.sub("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]", "\ufffd", text)


@settings(max_examples=100, deadline=None)
@given(text=st.text(st.characters(exclude_categories=["Cc", "Cs", "Z"]), min_size=1, max_size=300))
def test_plain_text_comes_through_plain_unchanged(text: str) -> None:
    assert "".join(render(literal(text), PLAIN)).replace(JOINER, "") == text.replace(JOINER, "")


@by_name
@settings(max_examples=60, deadline=None)
@given(text=markdown, limit=st.integers(64, 300))
def test_cutting_loses_nothing(dialect: Dialect, text: str, limit: int) -> None:
    whole, cut = render(text, dialect, 100_000), render(text, dialect, limit)
    assert _unfenced(whole, dialect) == _unfenced(cut, dialect)


def _unfenced(pieces: list[str], dialect: Dialect) -> str:
    """Letters and digits, without what is written anew in each part: a fence's language, a link's address."""
    if dialect is TELEGRAM:
        pieces = [shown(piece) for piece in pieces]
    text = "".join(re.sub(r"https?://[^\s|>)]+", "", piece) for piece in pieces)
    return re.sub(r"[^A-Za-z0-9🙂]", "", text.replace("```python", ""))


@settings(max_examples=150, deadline=None)
@given(text=st.one_of(unicode_text, words, markdown), limit=st.integers(64, 300))
def test_telegram_is_balanced_in_every_part(text: str, limit: int) -> None:
    for part in parts(text, TELEGRAM, limit):
        assert utf16(shown(part.text)) == part.size
        assert part.entities <= 100


@settings(max_examples=150, deadline=None)
@given(text=st.one_of(words, markdown), limit=st.integers(64, 300))
@pytest.mark.parametrize("dialect", [DISCORD, SLACK, WHATSAPP], ids=lambda dialect: dialect.name)
def test_fences_are_closed_in_every_part(dialect: Dialect, text: str, limit: int) -> None:
    for part in render(text, dialect, limit):
        assert part.replace("\\`", "").count("```") % 2 == 0


@settings(max_examples=200, deadline=None)
@given(text=words)
@example(text="é_1_`")
def test_untrusted_text_is_never_markup(text: str) -> None:
    (telegram,) = render(literal(text), TELEGRAM) or [""]
    assert "<" not in telegram
    (discord,) = render(literal(text), DISCORD) or [""]
    assert not re.search(r"(?<!\\)(?:\\\\)*[*_~`|\[<>]", discord)
    assert not re.search(r"^\s*[#>\-]", discord, re.MULTILINE)
    (slack,) = render(literal(text), SLACK) or [""]
    assert not re.search(r"[<>`]|&(?!amp;|lt;|gt;)", slack)
    for char in "*_~":
        pair = rf"(?<![A-Za-z0-9]){re.escape(char)}\S(?:[^\n]*\S)?{re.escape(char)}(?![A-Za-z0-9])"
        assert not re.search(pair, slack.replace(JOINER, ""))


@by_name
@settings(max_examples=100, deadline=None)
@given(
    before=st.sampled_from(["", "x ", "**", "`", "(", "a", "> "]),
    call=st.sampled_from(["@everyone", "@here", "@channel", "<@123>", "<@!5>", "<@&77>", "<!channel>", "<!here|here>"]),
    between=st.sampled_from(["", "**", "*"]),
)
def test_nobody_is_called(dialect: Dialect, before: str, call: str, between: str) -> None:
    text = before + call[:1] + between + call[1:] + between
    called = re.compile(r"@(everyone|here|channel)|<@[!&]?\d|<!(channel|here)")
    for sent in render(text, dialect):  # formatting between the two halves is gone once it is shown
        assert not called.search(html.unescape(re.sub(r"</?[a-z]+>|[*_~`\\]|\N{ZERO WIDTH SPACE}", "", sent)))
    for sent in [*render(literal(text), dialect), *render(f"```\n{text}\n```", dialect)]:
        assert not called.search(html.unescape(sent.replace("\\", "")))


@by_name
def test_a_fence_over_parts_is_closed_and_opened_again(dialect: Dialect) -> None:
    code = "\n".join(f"line_{number} = {number}" for number in range(80))
    pieces = render(f"Look:\n\n```python\n{code}\n```\n\nDone.", dialect, 200)
    assert len(pieces) > 3
    if dialect is DISCORD:
        assert all(piece.endswith("```") and "```python\n" in piece for piece in pieces[1:-1])
    if dialect is TELEGRAM:
        assert all(piece.startswith('<pre><code class="language-python">') for piece in pieces[1:-1])
    seen = re.findall(r"line_(\d+) =", "\n".join(pieces))
    assert seen == [str(number) for number in range(80)]


def test_indentation_after_a_cut_stays() -> None:
    code = "\n".join(f"        deep({number})" for number in range(40))
    for piece in render(f"```\n{code}\n```", DISCORD, 200):
        assert all(line.startswith("        deep") for line in piece.splitlines()[1:-1])


@settings(max_examples=80, deadline=None)
@given(text=st.text(st.sampled_from("a👨\u200d👩🏽é́ก็🇩🇪한\u1112\u1161 "), min_size=80, max_size=300))
def test_no_character_is_cut(text: str) -> None:
    whole = literal(text)
    at = 0
    for piece in render(whole, PLAIN, 64):
        place = text.index(piece, at)
        at = place + len(piece)
        assert is_border(text, at)


def test_better_borders_are_preferred() -> None:
    text = "First paragraph, which says this and that.\n\nSecond one. It has two sentences and is longer than the rest."
    assert render(text, PLAIN, 64) == [
        "First paragraph, which says this and that.",
        "Second one. It has two sentences and is longer than the rest.",
    ]
    assert render("One sentence is here for you. " * 4, PLAIN, 70)[0].endswith("you.")


def test_a_link_is_not_cut() -> None:
    text = "word " * 10 + "[a label of several words](https://example.org/x) and so on and on"
    pieces = render(text, SLACK, 100)
    assert sum("<https://example.org/x|a label of several words>" in piece for piece in pieces) == 1


def test_emoji_count_two_on_telegram_and_one_on_discord() -> None:
    assert len(render("🙂" * 100, TELEGRAM, 100)) == 2
    assert len(render("🙂" * 100, DISCORD, 100)) == 1


def test_too_small_a_limit_is_refused() -> None:
    with pytest.raises(ValueError, match="too small"):
        render("x", PLAIN, 10)


@pytest.mark.parametrize(
    "text",
    [
        "[" * 3000,
        "*a " * 3000,
        ">" * 3000 + "deep",
        "- " * 2000 + "deep",
        "`a``b" * 2000,
        "|a" * 500 + "\n" + "|-" * 500,
    ],
)
def test_hostile_markdown_is_text_and_quick(text: str) -> None:
    """Nesting and pairs without end (the classical ways to make a Markdown parser slow, or forget)."""
    for dialect in ALL:
        sent = "".join(render(text, dialect))
        if "deep" in text:
            assert "deep" in sent
