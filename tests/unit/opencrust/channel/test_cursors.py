import pytest

from opencrust.bus import BusError
from opencrust.channel.cursors import Cursors, later


class Kept:
    """What is kept, and a bus that may be away."""

    def __init__(self) -> None:
        self.values: dict[str, str] = {}
        self.away = False

    async def read(self, name: str) -> str | None:
        return self.values.get(name)

    async def keep(self, name: str, value: str) -> None:
        if self.away:
            raise BusError("away")
        self.values[name] = value


async def test_a_cursor_only_grows_and_is_kept_later() -> None:
    kept = Kept()
    cursors = Cursors(kept.read, kept.keep)
    assert await cursors.get("C1:17.000002", "5") == "5"
    cursors.advance("C1:17.000002", "9")
    cursors.advance("C1:17.000002", "7")
    assert kept.values == {"at-c1-17-000002": "5"}
    kept.away = True
    with pytest.raises(BusError):
        await cursors.flush()
    kept.away = False
    await cursors.flush()
    assert kept.values == {"at-c1-17-000002": "9"}
    assert await Cursors(kept.read, kept.keep).get("C1:17.000002", "5") == "9"


async def test_a_new_place_is_remembered_at_once_and_twelve_of_them_are() -> None:
    kept = Kept()
    cursors = Cursors(kept.read, kept.keep)
    for number in range(20):
        await cursors.meet(f"D{number}")
    await cursors.meet("D15")
    await cursors.flush()
    found = await Cursors(kept.read, kept.keep).met()
    assert (found[:3], len(found)) == (["D15", "D19", "D18"], 12)


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [("10", "9", True), ("9", "10", False), ("1700000000.000010", "1700000000.000009", True), ("5", None, True),
     ("x", "x", False), ("y", "x", True)],
)  # fmt: skip
def test_later(one: str, other: str | None, expected: bool) -> None:
    assert later(one, other) is expected
