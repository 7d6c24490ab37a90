from opencrust.channel.text import DISCORD, literal, render


def test_markdown() -> None:
    assert render("#### T\n\n**a** *b* ~~c~~ [f](https://x.org/a_b)\n\n- x\n\n> q\n> r", DISCORD) == [
        "### T\n\n**a** *b* ~~c~~ [f](<https://x.org/a_b>)\n\n- x\n\n> q\n> r"
    ]


def test_text_is_escaped_and_addresses_stay_whole() -> None:
    assert render(literal("# a_b *c* https://x.org/a_b_c 1. x"), DISCORD) == [r"\# a\_b \*c\* https://x.org/a_b_c 1. x"]
    assert render(literal("1. x\n- y\n> z"), DISCORD) == ["1\\. x\n\\- y\n\\> z"]


def test_backticks_in_code() -> None:
    assert render("``a`b``", DISCORD) == ["`` a`b ``"]
    assert "```" not in render("````\n```\n````", DISCORD)[0][3:-3]


def test_a_link_to_itself_is_the_address() -> None:
    assert render("<https://x.org/a>", DISCORD) == ["https://x.org/a"]
