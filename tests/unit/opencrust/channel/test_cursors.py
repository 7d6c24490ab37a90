import pytest

from opencrust.bus import BusError
from opencrust.channel import cursors as cursors_of
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


async def test_a_new_place_is_remembered_at_once_and_hundreds_of_them_are() -> None:
    kept = Kept()
    cursors = Cursors(kept.read, kept.keep)
    for number in range(cursors_of.MOST_MET + 20):
        await cursors.meet(f"D{number}")
        assert kept.values["met"].startswith(f"D{number}")
    found = await Cursors(kept.read, kept.keep).met()
    assert (found[0], len(found), "D19" in found) == (f"D{cursors_of.MOST_MET + 19}", cursors_of.MOST_MET, False)


async def test_a_new_order_is_kept_later(monkeypatch: pytest.MonkeyPatch) -> None:
    kept = Kept()
    cursors = Cursors(kept.read, kept.keep)
    await cursors.meet("D1")
    await cursors.meet("D2")
    await cursors.meet("D1")
    await cursors.flush()
    assert kept.values["met"] == "D2 D1"
    monkeypatch.setattr(cursors_of, "RANK_SECONDS", 0.0)
    await cursors.flush()
    assert kept.values["met"] == "D1 D2"


async def test_replicas_that_met_different_places_forget_none() -> None:
    kept = Kept()
    one, other = Cursors(kept.read, kept.keep), Cursors(kept.read, kept.keep)
    await one.meet("D1")
    await other.meet("D2")
    await one.meet("D3")
    assert sorted(kept.values["met"].split()) == ["D1", "D2", "D3"]
    assert sorted(await other.met()) == ["D1", "D2", "D3"]


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [("10", "9", True), ("9", "10", False), ("1700000000.000010", "1700000000.000009", True), ("5", None, True),
     ("x", "x", False), ("y", "x", True)],
)  # fmt: skip
def test_later(one: str, other: str | None, expected: bool) -> None:
    assert later(one, other) is expected
