import pytest

from opencrust.access.pairing import ALARM_AT
from opencrust_gateway.pairing.desk import printable
from opencrust_gateway.pairing.tries import alarmed


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("Anna", "Anna"),
        ("  Anna\n\r", "Anna"),
        ("An\u202ena\u2066", "Anna"),
        ("\x1b[31mAnna\x07", "[31mAnna"),
        ("x" * 500, "x" * 64),
        ("\u200b\u2060", ""),
    ],
)
def test_a_strangers_name_is_told_without_what_nobody_sees(name: str, told: str) -> None:
    assert printable(name) == told


def test_the_alarm_begins_at_its_number() -> None:
    assert not alarmed(ALARM_AT - 1)
    assert alarmed(ALARM_AT)
