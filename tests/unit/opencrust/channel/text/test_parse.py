import pytest

from opencrust.channel.text.parse import literal, parse
from opencrust.channel.text.tree import (
    Break,
    Code,
    Document,
    Fence,
    Heading,
    Items,
    Link,
    Paragraph,
    Quote,
    Rule,
    Style,
    Styled,
    Table,
    Text,
)


def one(markdown: str) -> object:
    (block,) = parse(markdown).blocks
    return block


def test_blocks() -> None:
    assert one("## Two") == Heading(2, (Text("Two"),))
    assert one("```py extra\nx = 1\n```") == Fence("py", "x = 1")
    assert one("> q") == Quote((Paragraph((Text("q"),)),))
    assert one("***") == Rule()
    assert one("3. a\n4. b") == Items(3, ((Paragraph((Text("a"),)),), (Paragraph((Text("b"),)),)))
    assert one("- [x] done") == Items(None, ((Paragraph((Text("☑ done"),)),),))
    assert one("|a|b|\n|-|-:|\n|1|2|") == Table(
        (((Text("a"),), (Text("b"),)), ((Text("1"),), (Text("2"),))), (False, True)
    )


def test_inlines() -> None:
    assert one("a **b *c*** `d` ~~e~~\nf") == Paragraph(
        (
            Text("a "),
            Styled(Style.BOLD, (Text("b "), Styled(Style.ITALIC, (Text("c"),)))),
            Text(" "),
            Code("d"),
            Text(" "),
            Styled(Style.STRIKE, (Text("e"),)),
            Break(),
            Text("f"),
        )
    )


def test_a_fence_that_streams_in_is_a_fence() -> None:
    assert one("```python\nx =") == Fence("python", "x =")


@pytest.mark.parametrize(
    "text", ["<b>x</b>", "<script>alert(1)</script>", "[ref]: https://example.org", "    indented", "a\n==="]
)
def test_what_models_do_not_mean_is_text(text: str) -> None:
    (block,) = parse(text).blocks
    assert isinstance(block, Paragraph)
    assert "".join(c.text for c in block.children if isinstance(c, Text)) == text.replace("\n", "").strip()


def test_links() -> None:
    assert one("[a](https://x.org)") == Paragraph((Link("https://x.org", (Text("a"),)),))
    assert one("<https://x.org>") == Paragraph((Link("https://x.org", (Text("https://x.org"),)),))
    assert one("![alt](https://x.org/i.png)") == Paragraph((Link("https://x.org/i.png", (Text("alt"),)),))


@pytest.mark.parametrize(
    "url", ["javascript:alert(1)", "tg://user?id=1", "!channel", "@U1", "data:text/html,x", "file:///etc/passwd"]
)
def test_an_address_that_is_none_for_people_is_written_out(url: str) -> None:
    block = one(f"[x]({url})")
    assert isinstance(block, Paragraph)
    assert not any(isinstance(child, Link) for child in block.children)
    assert f"({url})" in "".join(c.text for c in block.children if isinstance(c, Text))


def test_a_label_cannot_pretend_to_be_another_address() -> None:
    block = one("[https://bank.example](https://evil.example/x)")
    assert isinstance(block, Paragraph)
    assert Link("https://evil.example/x", (Text("https://evil.example/x"),)) in block.children


def test_literal_reads_no_markup_and_bad_characters_are_replaced() -> None:
    assert literal("**a**\r\nb\x00\ud800") == Document((Paragraph((Text("**a**"), Break(), Text("b��"))),))
