"""Parts of the engine on a real bus: the ledger, what was seen, who listens, what is shown."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from harness import BusServer
from opencrust.bus import Bus
from opencrust.channel.adapter import Ingest
from opencrust.channel.leader import Leader, Role
from opencrust.channel.ledger import Ledger, Overtaken, PartRecord, PartState, part_key
from opencrust.channel.seen import Seen
from opencrust.channel.stops import Stops
from opencrust.contracts import OutboundMessage, ReplyAddress

REPLY = OutboundMessage(
    id="re:1:0",
    in_reply_to="5",
    address=ReplyAddress(channel="telegram", account="1", conversation="7"),
    text="x",
    created_time=datetime.now(UTC),
)


@pytest.fixture
async def bus(bus_server: BusServer) -> Bus:
    return await bus_server.connect("channel-telegram")


async def test_who_was_overtaken_does_not_send(bus: Bus) -> None:
    mine = await Ledger(bus, "telegram", "a").open(REPLY, 2)
    theirs = await Ledger(bus, "telegram", "b").open(REPLY, 2)
    await mine.attempt(0)
    with pytest.raises(Overtaken):
        await theirs.attempt(0)
    await mine.settle(0, PartRecord(state=PartState.SENT, attempts=1, id="12"))
    again = await Ledger(bus, "telegram", "b").open(REPLY, 2)
    assert [part.state for part in again.record.parts] == [PartState.SENT, PartState.WAITING]
    with pytest.raises(Overtaken):
        await theirs.settle(0, PartRecord(state=PartState.FAILED))


async def test_a_reply_that_is_cut_otherwise_after_an_upgrade_keeps_what_was_sent(bus: Bus) -> None:
    page = await Ledger(bus, "telegram", "a").open(REPLY, 2)
    await page.attempt(0)
    await page.settle(0, PartRecord(state=PartState.SENT, id="12"))
    longer = await Ledger(bus, "telegram", "a").open(REPLY, 4)
    assert [part.state.value for part in longer.record.parts] == ["sent", "waiting", "waiting", "waiting"]


def test_a_parts_key_is_its_own() -> None:
    other = REPLY.model_copy(update={"address": ReplyAddress(channel="telegram", account="1", conversation="8")})
    keys = {part_key(REPLY, 0), part_key(REPLY, 1), part_key(other, 0)}
    assert len(keys) == 3
    assert all(len(key) == 24 and key.isalnum() for key in keys)
    assert part_key(REPLY, 0) in keys


async def test_a_weeks_replay_is_met_after_the_stream_has_forgotten(bus: Bus) -> None:
    seen = Seen(bus, "telegram", 7)
    old = datetime.now(UTC) - timedelta(days=6)
    ids = [f"im:1:{n}" for n in range(50)]
    assert not any([await seen.before(one, old, backfill=False) for one in ids])
    for one in ids:
        await seen.remember(one)
    assert all([await seen.before(one, old, backfill=False) for one in ids])
    fresh = datetime.now(UTC)
    assert not await seen.before(ids[0], fresh, backfill=False), "the stream's own duplicate window has these"
    assert await seen.before(ids[0], fresh, backfill=True)


async def test_a_stop_holds_for_what_was_made_before_it(bus: Bus) -> None:
    stops = Stops(bus, "telegram")
    before = datetime.now(UTC) - timedelta(seconds=1)
    assert not await stops.stopped_after("conv", before)
    await stops.stop("conv")
    await stops.stop("conv")
    assert await stops.stopped_after("conv", before)
    assert not await stops.stopped_after("conv", datetime.now(UTC) + timedelta(seconds=1))
    assert not await stops.stopped_after("other", before)


@pytest.mark.parametrize(
    ("ingest", "roles"),
    [
        (Ingest.ONE, [Role.LEADER, Role.STANDBY, Role.STANDBY]),
        (Ingest.TWIN, [Role.LEADER, Role.STANDBY, Role.TWIN]),
        (Ingest.ALL, [Role.LISTENER, Role.LISTENER, Role.LISTENER]),
    ],
)
async def test_who_listens(bus: Bus, ingest: Ingest, roles: list[Role]) -> None:
    stopping = asyncio.Event()
    leaders = [Leader(bus, "telegram", f"replica-{n}", ingest) for n in range(3)]

    async def listen(end: asyncio.Event) -> None:
        await end.wait()

    running = [asyncio.create_task(leader.run(listen, stopping)) for leader in leaders]
    await asyncio.sleep(0.6)
    assert sorted(leader.role for leader in leaders) == sorted(roles)
    stopping.set()
    await asyncio.wait_for(asyncio.gather(*running), 3)
