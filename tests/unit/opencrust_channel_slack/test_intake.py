"""From an envelope to an event that is stored, and only then acknowledged."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import Any, cast

import pytest

from opencrust.bus import BusError
from opencrust.channel.adapter import Fate, InEvent, Runtime
from opencrust.channel.link import Link
from opencrust.config import ChannelSettings
from opencrust.credentials import Secret
from opencrust_channel_slack import intake as room
from opencrust_channel_slack.api import Api
from opencrust_channel_slack.events import Me
from opencrust_channel_slack.intake import Intake, turn


class House:
    """What an intake stands between."""

    def __init__(self) -> None:
        self.log: list[str] = []
        self.bus_down = 0
        self.failed: list[BaseException] = []
        self._kept: dict[str, str] = {}
        runtime = Runtime(ChannelSettings(name="slack"), self._secret, Link(5), self._read, self._keep, self._bury)
        self.intake = Intake(runtime, cast(Api, self), Me("T1", "U0"), self._emit, self._settled, self.failed.append)

    async def call(self, method: str, **where: Any) -> Mapping[str, Any]:
        return {"messages": []}

    def take(self, number: str, payload: object, kind: str = "events_api") -> bool:
        async def done(fate: Fate) -> None:
            self.log.append(f"acknowledged {number}: {fate}")

        return self.intake.take(kind, payload, number, done)

    async def _emit(self, event: InEvent) -> Fate:
        if self.bus_down:
            self.bus_down -= 1
            raise BusError("away")
        self.log.append(f"stored {event.text}")
        return Fate.STORED

    async def _bury(self, id: str, reason: str, event: object) -> None:
        self.log.append(f"buried {id}")

    async def _settled(self, apart: object) -> bool:
        return True

    async def _read(self, name: str) -> str | None:
        return self._kept.get(name)

    async def _keep(self, name: str, value: str) -> None:
        self._kept[name] = value

    async def _secret(self, name: str) -> Secret:
        raise AssertionError


@pytest.fixture
async def house() -> AsyncIterator[House]:
    house = House()
    await house.intake.start()
    yield house
    await house.intake.close()
    assert house.failed == []


def said(text: object, stamp: str = "1.000001", **more: Any) -> dict[str, Any]:
    return {"event": {"type": "message", "channel": "D1", "user": "U1", "text": text, "ts": stamp, **more}}


async def test_acknowledged_after_it_is_stored_however_long_the_bus_is_away(house: House) -> None:
    house.bus_down = 2
    house.take("1", said("a"))
    house.take("2", said("b", "1.000002"))
    await asyncio.sleep(0.05)
    assert house.log == []
    await house.intake.drain()
    assert house.log == ["stored a", "acknowledged 1: stored", "stored b", "acknowledged 2: stored"]


async def test_what_cannot_be_read_is_buried_then_acknowledged(house: House) -> None:
    house.take("1", "text")
    house.take("2", said("odd", subtype=[]))
    house.take("3", {"event": {"type": "team_join"}})
    house.intake.bury("{")
    await house.intake.drain()
    for number in ("1", "2"):
        assert house.log.index(f"buried {number}") < house.log.index(f"acknowledged {number}: dropped")
    assert "acknowledged 3: dropped" in house.log
    assert sum(line.startswith("buried") for line in house.log) == 3


async def test_too_much_is_not_taken(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "MOST_WAITING", 2)
    assert [house.take(str(number), said("x", f"1.{number:06d}")) for number in range(4)] == [True, True, False, False]


@pytest.mark.parametrize(
    ("payload", "expected"),
    [
        (said("a", "5.000001"), ("D1", (5, 1_000))),
        (said("a", "odd"), ("D1", (0, 0))),
        ({"event": {"channel": {"id": "D1"}}}, ("", None)),
        ({"event": 5}, ("said by None", None)),
        ({"user_id": "U1", "command": "/stop"}, ("said by U1", None)),
        (None, ("", None)),
    ],
)
def test_turns(payload: object, expected: object) -> None:
    assert turn(payload) == expected
