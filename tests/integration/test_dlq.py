"""Dead letters against the real server: moved, listed, shown, sent again."""

import json
from typing import Any

from harness import BusServer
from opencrust.bus import Bus, subjects
from opencrust.bus.archive import Archive
from opencrust.bus.registry import DLQ_DURABLE
from opencrust_dlq.desk import Desk
from opencrust_dlq.mover import Mover

CONV = "c" * 26


async def _ask(cli: Bus, op: str, **query: object) -> dict[str, Any]:
    answer: dict[str, Any] = json.loads((await cli.request(f"ctl.dlq.{op}", json.dumps(query).encode())).data)
    return answer


async def _publish(server: BusServer, body: bytes) -> None:
    agent = await server.connect("agent")
    await agent.publish_stored(subjects.msg_out("web", CONV), body, message_id=f"re:{body.decode()}")


async def _die_on_it(server: BusServer) -> None:
    """Five deliveries that end in nothing, as of a channel that dies on each."""
    gateway = await server.connect("gateway")
    consumer = gateway.consumer("MSG_OUT", "out-web")
    for _ in range(5):
        delivery = await consumer.next(wait=5)
        assert delivery is not None
        await delivery.retry(0)
    assert await consumer.next(wait=1) is None


async def _move_one(bus: Bus) -> Mover:
    mover = Mover(bus)
    delivery = await bus.consumer(DLQ_DURABLE.stream, DLQ_DURABLE.name).next(wait=5)
    assert delivery is not None
    await mover.handle(delivery)
    return mover


async def test_a_reply_that_its_channel_died_on_is_moved_shown_and_redriven(bus_server: BusServer) -> None:
    bus, cli = await bus_server.connect("dlq"), await bus_server.connect("cli")
    await Desk(bus).start()
    await _publish(bus_server, b"hello")
    await _die_on_it(bus_server)
    assert (await _move_one(bus)).moved == 1
    assert await Archive(bus, "MSG_OUT").get(1) is None

    listed = (await _ask(cli, "list"))["letters"]
    assert [(x["origin"], x["subject"], x["preview"]) for x in listed] == [
        ("MSG_OUT/out-web", subjects.msg_out("web", CONV), "hello")
    ]
    assert listed[0]["reason"] == "delivered 5 times without success"
    shown = (await _ask(cli, "show", seq=listed[0]["seq"]))["letter"]
    assert shown["body"] == "hello"

    again = await _ask(cli, "redrive", seq=listed[0]["seq"])
    assert again["redriven"]["subject"] == subjects.msg_out("web", CONV)
    assert (await _ask(cli, "list"))["letters"] == []
    gateway = await bus_server.connect("gateway")
    delivery = await gateway.consumer("MSG_OUT", "out-web").next(wait=5)
    assert delivery is not None
    assert delivery.message.data == b"hello"


async def test_a_mover_that_died_after_the_copy_makes_no_second_letter(bus_server: BusServer) -> None:
    bus = await bus_server.connect("dlq")
    await _publish(bus_server, b"x")
    await _die_on_it(bus_server)
    delivery = await bus.consumer(DLQ_DURABLE.stream, DLQ_DURABLE.name).next(wait=5)
    assert delivery is not None
    await bus.publish_stored("dlq.MSG_OUT.out-web", b"x", message_id="dlq:MSG_OUT:1")  # the copy, then it died
    await delivery.retry(0)
    await _move_one(bus)
    assert await Archive(bus, "DLQ").subjects() == {"dlq.MSG_OUT.out-web": 1}
    assert await Archive(bus, "MSG_OUT").get(1) is None


async def test_what_a_channel_gives_up_is_a_dead_letter_before_it_leaves_the_queue(bus_server: BusServer) -> None:
    bus, cli, gateway = [await bus_server.connect(name) for name in ("dlq", "cli", "gateway")]
    await Desk(bus).start()
    await _publish(bus_server, b"hello")
    delivery = await gateway.consumer("MSG_OUT", "out-web").next(wait=5)
    assert delivery is not None
    await delivery.discard("no such chat")
    assert await Archive(bus, "MSG_OUT").get(1) is None
    listed = (await _ask(cli, "list"))["letters"]
    assert [(x["reason"], x["preview"]) for x in listed] == [("no such chat", "hello")]


async def test_bad_requests_are_answered(bus_server: BusServer) -> None:
    bus, cli = await bus_server.connect("dlq"), await bus_server.connect("cli")
    await Desk(bus).start()
    assert "unknown operation" in (await _ask(cli, "purge"))["error"]
    assert "no dead letter 7" in (await _ask(cli, "show", seq=7))["error"]
    assert "by its number" in (await _ask(cli, "redrive"))["error"]
    assert "seq" in (await _ask(cli, "show", seq="x; rm"))["error"]
    assert "error" in json.loads((await cli.request("ctl.dlq.list", b"\xff")).data)
