from opencrust.channel.text import PLAIN, render


def test_plain() -> None:
    assert render("# T\n\n**a** [f](https://x.org)\n\n> q\n\n```py\nx\n```", PLAIN) == [
        "T\n\na f (https://x.org)\n\n> q\n\nx"
    ]


def test_white_space_is_no_part() -> None:
    assert render(" \n\n ", PLAIN) == []
