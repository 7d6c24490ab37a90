from opencrust.channel.text import WHATSAPP, literal, render


def test_formatting() -> None:
    assert render("**a** *b* ~~c~~ [f](https://x.org)\n\n- x", WHATSAPP) == ["*a* _b_ ~c~ f (https://x.org)\n\n• x"]


def test_a_line_of_text_that_looks_like_a_quote() -> None:
    assert render(literal("> x"), WHATSAPP) == ["\u200b> x"]
