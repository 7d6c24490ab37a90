import pytest

from opencrust_cli.printable import printable


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Anna Müller, 東京", "Anna Müller, 東京"),
        ("\x1b[2J", "\\x1b[2J"),
        ("a\nb", "a\\nb"),
        ("\u202eabc", "\\u202eabc"),
    ],
)
def test_a_terminal_obeys_nothing_that_others_wrote(text: str, shown: str) -> None:
    assert printable(text) == shown
