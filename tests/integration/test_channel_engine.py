"""Parts of the engine on a real bus: the ledger, what was seen, who listens, what is shown."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest

from channels import until
from harness import BusServer
from opencrust.bus import Bus, subjects
from opencrust.bus.archive import Archive
from opencrust.channel.adapter import (
    Capabilities,
    ChannelAdapter,
    Emit,
    Ingest,
    Outcome,
    OutPart,
    Runtime,
    SendResult,
    Sent,
    Unknown,
)
from opencrust.channel.leader import Leader, Role
from opencrust.channel.ledger import Ledger, Overtaken, PartRecord, PartState, part_key
from opencrust.channel.letters import MOST, Letters
from opencrust.channel.limits import Limits
from opencrust.channel.link import Link
from opencrust.channel.live import Live
from opencrust.channel.media import Media
from opencrust.channel.outbox import MOST_FAULTS, Outbox
from opencrust.channel.seen import Before, Seen
from opencrust.channel.stops import Stops
from opencrust.channel.text import TELEGRAM
from opencrust.contracts import OutboundMessage, ReplyAddress, encode
from opencrust.telemetry import Redactor

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
    ids = [f"im:1:{n}" for n in range(50)]
    assert {await seen.begin(one) for one in ids} == {Before.NEW}
    for one in ids:
        await seen.stored(one)
    assert {await seen.begin(one) for one in ids} == {Before.STORED}


async def test_who_died_between_the_two_notes_leaves_it_open(bus: Bus) -> None:
    seen = Seen(bus, "telegram", 7)
    assert await seen.begin("im:1:1") is Before.NEW
    assert await seen.begin("im:1:1") is Before.BEGUN
    await seen.stored("im:1:1")
    assert await seen.begin("im:1:1") is Before.STORED


async def test_what_cannot_be_read_is_kept_without_its_secrets_and_not_without_end(
    bus: Bus, bus_server: BusServer
) -> None:
    letters = Letters(bus, "channel-telegram", Redactor().value)
    token = "sk-ant-" + "a1B2c3D4" * 8
    for _ in range(2):
        await letters.bury("7", "an update without a valid chat", {"text": f"my key is {token}", "date": 1})
    await letters.bury("8", "too long", {"text": "x" * 100_000})
    for number in range(MOST + 5):
        await letters.bury(f"n{number}", "many", {})
    assert letters.counts == {"buried": MOST, "passed_by": 8}
    archive = Archive(await bus_server.connect("dlq"), "DLQ")
    first = await archive.after(0)
    assert first is not None
    second = await archive.after(first.seq)
    assert second is not None
    assert first.subject == "dlq.platform.channel-telegram"
    assert first.headers["OpenCrust-Reason"] == "an update without a valid chat"
    assert token.encode() not in first.data
    assert b"my key is" in first.data
    assert 8000 < len(second.data) < 9000


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


class Scripted(ChannelAdapter):
    """An adapter whose platform does as it is told."""

    name = "telegram"
    dialect = TELEGRAM

    def __init__(self, runtime: Runtime | None = None, *, idempotent: bool = False) -> None:
        self.capabilities = Capabilities(ingest=Ingest.ONE, pulse=60, idempotent=idempotent)
        self.results: list[SendResult] = []
        self.keys: list[str] = []
        self.outcome: Outcome = Unknown("cannot be asked")
        self.poison = ""

    async def connect(self) -> str:
        return "1"

    async def close(self) -> None:
        return None

    async def ingest(self, emit: Emit, stop: asyncio.Event) -> None:
        await stop.wait()

    def compose(self, text: str) -> Sequence[str]:
        if self.poison and self.poison in text:
            raise ZeroDivisionError
        return [text]

    async def send(self, part: OutPart) -> SendResult:
        self.keys.append(part.key)
        return self.results.pop(0) if self.results else Sent(str(len(self.keys)))

    async def reconcile(self, part: OutPart) -> Outcome:
        return self.outcome

    async def private(self, user: str) -> ReplyAddress:
        return ReplyAddress(channel="telegram", account="1", conversation=user)


def outbox_of(bus: Bus, adapter: Scripted) -> Outbox:
    limits = Limits(0, 0)
    return Outbox(
        bus,
        adapter,
        "replica-a",
        limits=limits,
        media=Media(bus, "telegram", adapter.fetch, 2**20),
        stops=Stops(bus, "telegram"),
        live=Live(bus, "telegram", adapter, limits),
        link=Link(60),
        account=lambda: "1",
        reply_hours=1,
    )


async def put(server: BusServer, id: str, text: str) -> OutboundMessage:
    reply = REPLY.model_copy(update={"id": id, "text": text, "created_time": datetime.now(UTC)})
    agent = await server.connect("agent")
    await agent.publish_stored(subjects.msg_out("telegram", reply.address.key), encode(reply), message_id=id)
    return reply


async def test_a_reply_that_we_cannot_handle_is_a_dead_letter_and_its_lane_goes_on(
    bus: Bus, bus_server: BusServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("opencrust.channel.outbox.FAILED_PAUSE", 0.05)
    adapter = Scripted()
    adapter.poison = "poison"
    outbox = outbox_of(bus, adapter)
    outbox.start()
    await put(bus_server, "re:1:0", "poison")
    await put(bus_server, "re:2:0", "good")
    await until(lambda: outbox.counts["sent"] == 1)
    assert outbox.counts["buried"] == 1
    assert MOST_FAULTS > 1, "a fault that passes buries nothing"
    await outbox.stop(2)
    letters = await Archive(await bus_server.connect("dlq"), "DLQ").subjects()
    assert sum(letters.values()) == 1


@pytest.mark.parametrize("idempotent", [True, False])
async def test_a_send_of_unknown_end_is_repeated_under_its_key_and_counted_where_that_shows(
    bus: Bus, bus_server: BusServer, idempotent: bool
) -> None:
    adapter = Scripted(idempotent=idempotent)
    adapter.results = [Unknown("cut")]
    outbox = outbox_of(bus, adapter)
    outbox.start()
    await put(bus_server, "re:1:0", "x")
    await until(lambda: outbox.counts["sent"] == 1)
    assert len(set(adapter.keys)) == 1
    assert len(adapter.keys) == 2
    assert outbox.counts["unknown"] == (0 if idempotent else 1)
    await outbox.stop(2)


async def test_what_a_dead_replica_was_sending_is_asked_for_and_not_sent_again(
    bus: Bus, bus_server: BusServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("opencrust.channel.outbox.DEAD_AFTER", 0.2)
    reply = REPLY.model_copy(update={"id": "re:1:0", "text": "x", "created_time": datetime.now(UTC)})
    page = await Ledger(bus, "telegram", "replica-dead").open(reply, 1)
    await page.attempt(0)
    adapter = Scripted()
    adapter.outcome = Sent("77")
    outbox = outbox_of(bus, adapter)
    outbox.start()
    await put(bus_server, "re:1:0", "x")
    await until(lambda: outbox.counts["sent"] == 1)
    assert adapter.keys == []
    after = await Ledger(bus, "telegram", "a").open(reply, 1)
    assert (after.record.parts[0].state, after.record.parts[0].id) == (PartState.SENT, "77")
    await outbox.stop(2)
