"""Who is stopped, and which messages a stop is meant for."""

from datetime import UTC, datetime, timedelta

from opencrust.bus import Message
from opencrust_agent.stops import Stops, stored_at

NOW = datetime.now(UTC)


async def stop(stops: Stops, channel: str, conv: str) -> None:
    await stops._stop(Message(f"ctl.stop.{channel}.{conv}", b""))


async def test_a_stop_reaches_its_conversation_alone() -> None:
    stops = Stops()
    with stops.watch("web", "a") as first, stops.watch("web", "b") as second:
        await stop(stops, "web", "a")
        assert (first.is_set(), second.is_set()) == (True, False)
        await stop(stops, "all", "all")
        assert second.is_set()


async def test_a_stop_is_for_what_was_stored_before_it() -> None:
    stops = Stops()
    await stop(stops, "web", "a")
    before, after = datetime.now(UTC) - timedelta(seconds=5), datetime.now(UTC) + timedelta(seconds=5)
    with stops.watch("web", "a", before) as event:
        assert event.is_set()
    with stops.watch("web", "a", after) as event:
        assert not event.is_set()
    with stops.watch("web", "other", before) as event:
        assert not event.is_set()


async def test_what_was_stopped_long_ago_is_forgotten() -> None:
    stops = Stops()
    await stop(stops, "web", "a")
    stops._heard["web", "a"] -= 3600
    await stop(stops, "web", "b")
    assert list(stops._heard) == [("web", "b")]


def test_the_bus_says_when_a_message_was_stored() -> None:
    at = datetime(2026, 11, 25, 2, 38, 5, 772288, tzinfo=UTC)
    assert stored_at({"Nats-Time-Stamp": "2026-11-25T02:38:05.772288123Z"}, NOW) == at
    assert stored_at({"Nats-Time-Stamp": "2026-11-25T02:38:05Z"}, NOW) == at.replace(microsecond=0)
    assert stored_at({}, NOW) == NOW
    assert stored_at({"Nats-Time-Stamp": "yesterday"}, NOW) == NOW
