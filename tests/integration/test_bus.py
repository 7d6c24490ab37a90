"""The bus against the real server: publish, request, keys, typed errors at once, reconnects."""

import asyncio
import time

import pytest

import opencrust.bus.connection
from harness import BusServer
from opencrust.bus import (
    ApiError,
    Denied,
    Disconnected,
    KeyExists,
    KeyValue,
    Message,
    NoResponders,
    NotFound,
    PayloadTooLarge,
    StreamFull,
    StreamReader,
    Timeout,
    WrongRevision,
    subjects,
    topology,
)
from opencrust.bus.lease import Leases, LeaseTaken

CONV = "a" * 26


async def test_a_channel_stores_once_and_the_agent_reads_in_order(bus_server: BusServer) -> None:
    gateway, agent = await bus_server.connect("gateway"), await bus_server.connect("agent")
    subject = f"msg.in.web.{CONV}"
    first = await gateway.publish_stored(subject, b"one", message_id="web:a:1")
    again = await gateway.publish_stored(subject, b"one", message_id="web:a:1")
    second = await gateway.publish_stored(subject, b"two", message_id="web:a:2")
    assert (first.duplicate, again.duplicate, again.seq) == (False, True, first.seq)

    delivery = await agent.consumer("MSG_IN", "agent").next(wait=2)
    assert delivery is not None
    assert (delivery.seq, delivery.deliveries, delivery.message.data) == (first.seq, 1, b"one")
    await delivery.ack(confirmed=True)

    reader = StreamReader(agent, "MSG_IN")
    one = await reader.next(subject, after=0)
    assert one is not None
    two = await reader.next(subject, after=one.seq)
    assert two is not None
    assert (one.data, two.data, two.seq) == (b"one", b"two", second.seq)
    assert await reader.next(subject, after=two.seq) is None


async def test_replies_are_republished_into_the_log_and_to_the_channel(bus_server: BusServer) -> None:
    agent, gateway = await bus_server.connect("agent"), await bus_server.connect("gateway")
    seen: asyncio.Queue[Message] = asyncio.Queue()
    await gateway.subscribe("log.web.*", seen.put)
    await agent.publish_stored(subjects.msg_out("web", CONV), b"reply", message_id="re:1:0")
    live = await asyncio.wait_for(seen.get(), 2)
    assert (live.subject, live.data) == (f"log.web.{CONV}", b"reply")
    logged = await StreamReader(agent, "CONVLOG").last(f"log.web.{CONV}")
    assert logged is not None
    assert logged.data == b"reply"
    delivery = await gateway.consumer("MSG_OUT", "out-web").next(wait=2)
    assert delivery is not None
    await delivery.ack(confirmed=True)
    assert await gateway.consumer("MSG_OUT", "out-web").next(wait=1) is None


async def test_live_events_cross_the_accounts(bus_server: BusServer) -> None:
    agent, gateway, cli = [await bus_server.connect(s) for s in ("agent", "gateway", "cli")]
    events: asyncio.Queue[Message] = asyncio.Queue()
    stops: asyncio.Queue[Message] = asyncio.Queue()
    await gateway.subscribe("evt.conv.web.*", events.put)
    await agent.subscribe("ctl.stop.*.*", stops.put)
    await agent.publish(f"evt.conv.web.{CONV}", b"token")
    assert (await asyncio.wait_for(events.get(), 2)).data == b"token"
    await gateway.publish(f"ctl.stop.web.{CONV}", b"")
    await cli.publish(f"ctl.stop.telegram.{CONV}", b"")
    assert {(await asyncio.wait_for(stops.get(), 2)).subject for _ in range(2)} == {
        f"ctl.stop.web.{CONV}",
        f"ctl.stop.telegram.{CONV}",
    }


async def test_a_denied_publish_fails_the_waiting_call_at_once(bus_server: BusServer) -> None:
    gateway = await bus_server.connect("gateway")
    start = time.monotonic()
    with pytest.raises(Denied, match=r"msg\.in\.telegram"):
        await gateway.publish_stored(f"msg.in.telegram.{CONV}", b"forged", message_id="x", timeout=10)
    with pytest.raises(Denied):
        await gateway.request("vault.req.agent.get", b"", timeout=10)
    with pytest.raises(Denied):
        await gateway.subscribe("msg.in.>", _ignore)
    assert time.monotonic() - start < 2


async def test_a_denied_pull_says_so(bus_server: BusServer) -> None:
    gateway = await bus_server.connect("gateway")
    with pytest.raises(Denied):
        await gateway.consumer("MSG_IN", "agent").next(wait=10)


async def test_errors_have_types(bus_server: BusServer) -> None:
    gateway, agent = await bus_server.connect("gateway"), await bus_server.connect("agent")
    with pytest.raises(NoResponders):
        await agent.request("vault.req.agent.get", b"")
    with pytest.raises(PayloadTooLarge):
        await gateway.publish_stored(f"msg.in.web.{CONV}", b"x" * (1 << 20) + b"x", message_id="big")
    silent = await bus_server.connect("vault")
    await silent.subscribe("vault.req.*.*", _ignore, queue="vault")
    with pytest.raises(Timeout):
        await agent.request("vault.req.agent.get", b"", timeout=0.2)
    provisioner = await bus_server.connect("provisioner")
    await provisioner.jetstream_manager().delete_stream("MSG_IN")
    with pytest.raises(NotFound, match="no stream keeps"):
        await gateway.publish_stored(f"msg.in.web.{CONV}", b"", message_id="1", timeout=0.6)


async def test_a_full_stream_pushes_back_and_a_larger_limit_keeps_what_it_holds(bus_server: BusServer) -> None:
    provisioner, gateway = await bus_server.connect("provisioner"), await bus_server.connect("gateway")
    agent = await bus_server.connect("agent")
    applied = await topology.apply(provisioner, max_bytes={"MSG_IN": 1 << 20})
    assert applied.updated == ["MSG_IN"]
    for number in range(10):
        await gateway.publish_stored(f"msg.in.web.{CONV}", b"x" * 100_000, message_id=str(number))
    with pytest.raises(StreamFull):
        await gateway.publish_stored(f"msg.in.web.{CONV}", b"x" * 100_000, message_id="one too many")
    assert (await topology.apply(provisioner)).updated == ["MSG_IN"]
    assert (await topology.apply(provisioner)) == topology.Applied([], [])
    await gateway.publish_stored(f"msg.in.web.{CONV}", b"now it fits", message_id="later")
    first = await StreamReader(agent, "MSG_IN").next(f"msg.in.web.{CONV}", after=0)
    assert first is not None
    assert first.seq == 1


async def test_keys_compare_and_set(bus_server: BusServer) -> None:
    agent = await bus_server.connect("agent")
    keys = KeyValue(agent, "sess")
    assert await keys.get("web.c1") is None
    revision = await keys.create("web.c1", b"1")
    with pytest.raises(KeyExists):
        await keys.create("web.c1", b"again")
    newer = await keys.update("web.c1", b"2", revision=revision)
    with pytest.raises(WrongRevision):
        await keys.update("web.c1", b"3", revision=revision)
    entry = await keys.get("web.c1")
    assert entry is not None
    assert (entry.value, entry.revision) == (b"2", newer)
    with pytest.raises(WrongRevision):
        await keys.delete("web.c1", revision=revision)
    await keys.delete("web.c1", revision=newer)
    with pytest.raises(WrongRevision):
        await keys.delete("web.c1", revision=newer)
    assert await keys.get("web.c1") is None
    await keys.create("web.c1", b"over the marker")
    with pytest.raises(ValueError, match="tokens"):
        await keys.get("web.c 1")


async def test_what_is_left_of_a_deleted_key_ends_as_well(
    bus_server: BusServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("opencrust.bus.kv.MARKER_SECONDS", 1)
    agent = await bus_server.connect("agent")
    await agent.kv("sess").create("web.once", b"1")
    await agent.kv("sess").delete("web.once")
    manager = (await bus_server.connect("provisioner")).jetstream_manager()
    assert (await manager.stream_info("KV_sess")).state.messages == 1
    await asyncio.sleep(2)
    assert (await manager.stream_info("KV_sess")).state.messages == 0


@pytest.mark.parametrize(("service", "bucket"), [("agent", "sess"), ("gateway", "access")], ids=["one", "history"])
async def test_a_deleted_key_stays_away_after_kill_9_of_the_server(
    bus_server: BusServer, monkeypatch: pytest.MonkeyPatch, service: str, bucket: str
) -> None:
    monkeypatch.setattr("opencrust.bus.kv.MARKER_SECONDS", 1)
    keys = (await bus_server.connect(service)).kv(bucket)
    revision = await keys.create("web.gone", b"a person")
    revision = await keys.update("web.gone", b"a person, changed", revision=revision)
    await keys.create("web.here", b"another")
    await keys.delete("web.gone", revision=revision)
    await asyncio.sleep(2)  # the marker has ended
    assert await keys.get("web.gone") is None
    bus_server.stop(9)
    bus_server.start()
    keys = (await bus_server.connect(service)).kv(bucket)
    assert await keys.get("web.gone") is None
    assert (await keys.get("web.here")) is not None
    await keys.create("web.gone", b"again")


async def test_a_lease_is_held_by_one_and_free_again_at_once(bus_server: BusServer) -> None:
    one, two = [Leases(await bus_server.connect("agent"), name, ttl=3) for name in ("one", "two")]
    for holder, other in ((one, two), (one, two), (two, one), (one, two)):
        async with holder.hold("conv.web.a") as lost:
            with pytest.raises(LeaseTaken):
                async with other.hold("conv.web.a"):
                    raise AssertionError("held twice")
            assert not lost.is_set()


async def test_a_lease_is_renewed_and_its_loss_is_told(bus_server: BusServer) -> None:
    agent, thief = await bus_server.connect("agent"), await bus_server.connect("agent")
    async with Leases(agent, "one", ttl=2).hold("conv.web.a") as lost:
        await asyncio.sleep(3)
        assert not lost.is_set()
        await thief.kv("lease").put("conv.web.a", b"two")
        await asyncio.wait_for(lost.wait(), 3)


async def test_a_key_with_a_lifetime_ends(bus_server: BusServer) -> None:
    gateway = await bus_server.connect("gateway")
    keys = gateway.kv("token")
    await keys.create("ticket", b"x", ttl=1)
    assert await keys.get("ticket") is not None
    await asyncio.sleep(1.6)
    assert await keys.get("ticket") is None
    await keys.create("ticket", b"y", ttl=1)


async def test_kill_9_of_the_server_loses_nothing_and_calls_go_on(bus_server: BusServer) -> None:
    gateway, agent = await bus_server.connect("gateway"), await bus_server.connect("agent")
    reconnected = asyncio.Event()

    async def note() -> None:
        reconnected.set()

    gateway.on_reconnect(note)
    await gateway.publish_stored(f"msg.in.web.{CONV}", b"before", message_id="1")
    bus_server.stop(9)
    await asyncio.sleep(0.1)
    with pytest.raises(Disconnected):
        await gateway.publish("ctl.stop.web.x", b"")
    with pytest.raises(Disconnected):
        await gateway.request("vault.req.gateway.get", b"", timeout=0.3)
    waiting = asyncio.create_task(
        gateway.publish_stored(f"msg.in.web.{CONV}", b"meanwhile", message_id="2", timeout=20)
    )
    await asyncio.sleep(0.2)
    bus_server.start()
    assert (await waiting).seq == 2
    await asyncio.wait_for(reconnected.wait(), 5)
    delivery = await agent.consumer("MSG_IN", "agent").next(wait=5)
    assert delivery is not None
    assert delivery.message.data == b"before"


async def test_a_dead_read_loop_is_noticed(bus_server: BusServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opencrust.bus.connection, "WATCHDOG_INTERVAL", 0.1)
    agent = await bus_server.connect("agent")
    client = agent._client
    original = client._ps.parse

    async def broken(data: bytes) -> None:
        client._ps.parse = original
        raise RuntimeError("a bug in the parser")

    client._ps.parse = broken
    with pytest.raises((Disconnected, Timeout)):
        await agent.request("vault.req.agent.get", b"", timeout=1)
    for _ in range(100):
        if agent.connected:
            break
        await asyncio.sleep(0.05)
    with pytest.raises(NoResponders):
        await agent.request("vault.req.agent.get", b"", timeout=5)


async def test_the_server_reloads_by_request(bus_server: BusServer) -> None:
    reloader = await bus_server.connect("reloader")
    await reloader.reload_server()
    conf = bus_server.home / "bus" / "nats.conf"
    good = conf.read_text()
    conf.write_text(good + "\nnonsense {")
    with pytest.raises(ApiError):
        await reloader.reload_server()
    conf.write_text(good)


async def _ignore(message: Message) -> None:
    return None
