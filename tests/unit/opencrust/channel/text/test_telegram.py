from opencrust.channel.text import TELEGRAM, render


def test_html() -> None:
    assert render("# T\n\n**a** *b* ~~c~~ `d<e` [f](https://x.org/?a=1&b)", TELEGRAM) == [
        '<b>T</b>\n\n<b>a</b> <i>b</i> <s>c</s> <code>d&lt;e</code> <a href="https://x.org/?a=1&amp;b">f</a>'
    ]


def test_a_language_cannot_break_out_of_its_attribute() -> None:
    assert 'class="language-xonload1"' in render('```x"onload=1\ny\n```', TELEGRAM)[0]


def test_no_more_than_a_hundred_entities_in_a_part() -> None:
    pieces = render("**b** x " * 150, TELEGRAM)
    assert len(pieces) == 2
    assert all(piece.count("<b>") <= 100 for piece in pieces)
