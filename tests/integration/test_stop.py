"""STOP during the model's stream, a tool, many tools, and before the turn began: the last effect within a second."""

import asyncio
import math
import time
from typing import Any

import pytest

from harness import BusServer
from integration.test_tools import Fake, Talk, call, fake, inbound, mail, replica, simulator, talk
from opencrust.bus import Bus
from opencrust.contracts import EventType, Finish
from opencrust_agent.tools import Effect, Tool, ToolContext, ToolResult
from simulators.model import ModelSimulator
from simulators.model_replies import Reply

__all__ = ["simulator", "talk"]
BOUND = 1.0


class Beating:
    """A tool that has an effect every ten milliseconds, and does not care about being cancelled."""

    spec = fake("beat", Effect.WRITE).spec

    def __init__(self) -> None:
        self.last = 0.0
        self.beats = 0

    async def call(self, arguments: dict[str, Any], context: ToolContext) -> ToolResult:
        while not context.stop.is_set():
            self.last = time.monotonic()
            self.beats += 1
            try:
                await asyncio.sleep(0.01)
            except asyncio.CancelledError:
                continue
        return ToolResult("stopped by itself")


async def stopped_while(
    talk: Talk, cli: Bus, simulator: ModelSimulator, beating: Beating, what: str, number: int
) -> float:
    """One turn, stopped in the middle; seconds from the stop to the last that was heard or done of it."""
    conversation = f"{what}{number}"
    key = inbound(0, "x", conversation=conversation).key
    talk.events.clear()
    beats = beating.beats
    if what == "model":
        simulator.queue(Reply(deltas=tuple(f"word{n} " for n in range(400)), pace=0.005))
    else:
        simulator.queue(Reply(calls=(call("beat"),)))
    await talk.say("go", conversation=conversation)
    async with asyncio.timeout(10):
        while not (beating.beats > beats or any(e.type is EventType.DELTA for e in talk.events)):
            await asyncio.sleep(0.002)
    begin = time.monotonic()
    await cli.publish(f"ctl.stop.web.{key}" if number % 2 else "ctl.stop.all.all", b"")
    reply = await talk.hear()
    last = max(time.monotonic(), beating.last) - begin
    assert reply.finish is Finish.STOPPED
    return last


async def series(server: BusServer, simulator: ModelSimulator, talk: Talk, tries: int) -> str:
    beating, cli = Beating(), await server.connect("cli")
    times: dict[str, list[float]] = {"model": [], "tool": []}
    async with replica(server, simulator, [beating]), replica(server, simulator, [beating], "two"):
        for number in range(tries // 2):
            for what, found in times.items():
                found.append(await stopped_while(talk, cli, simulator, beating, what, number))
    whole = sorted(times["model"] + times["tool"])
    p99 = whole[math.ceil(0.99 * len(whole)) - 1]
    assert p99 <= BOUND
    return f"STOP: {len(whole)} tries, p50 {whole[len(whole) // 2] * 1000:.0f} ms, p99 {p99 * 1000:.0f} ms"


async def test_stop_ends_streams_and_tools(bus_server: BusServer, simulator: ModelSimulator, talk: Talk) -> None:
    print("\n" + await series(bus_server, simulator, talk, 20))


@pytest.mark.long
@pytest.mark.timeout(300)
async def test_stop_two_hundred_times(bus_server: BusServer, simulator: ModelSimulator, talk: Talk) -> None:
    print("\n" + await series(bus_server, simulator, talk, 200))


async def test_a_stop_before_the_turn_is_picked_up_counts(
    bus_server: BusServer, simulator: ModelSimulator, talk: Talk
) -> None:
    """One slot, busy with another conversation: the message waits, the stop comes, and only then the turn begins."""
    busy, send = asyncio.Event(), mail()

    async def wait(given: dict[str, Any]) -> str:
        await busy.wait()
        return "done"

    tools: list[Tool] = [fake("wait", Effect.READ, says=wait), send]
    async with replica(bus_server, simulator, tools, slots=1):
        simulator.queue(Reply(calls=(call("wait"),)))
        await talk.say("hold the line", conversation="first")
        while not isinstance(tools[0], Fake) or not tools[0].made:
            await asyncio.sleep(0.01)
        waiting = await talk.say("mail bob@example.org", conversation="second")
        await talk.bus.publish(f"ctl.stop.web.{waiting.key}", b"")
        await asyncio.sleep(0.1)
        simulator.queue(Reply("held"))
        busy.set()
        assert (await talk.hear()).text == "held"
        reply = await talk.hear()
        assert (reply.in_reply_to, reply.finish) == (waiting.id, Finish.STOPPED)
        requests = len(simulator.requests)
        await talk.say("and now?", conversation="second")
        assert (await talk.hear()).finish is Finish.COMPLETE
    assert send.made == []
    assert requests == 2


async def test_an_effect_stopped_in_the_middle_is_said_to_be_unknown(
    bus_server: BusServer, simulator: ModelSimulator, talk: Talk
) -> None:
    begun = asyncio.Event()

    async def slow(given: dict[str, Any]) -> str:
        begun.set()
        await asyncio.sleep(60)
        return "done"

    send = mail(says=slow)
    async with replica(bus_server, simulator, [send]):
        simulator.queue(Reply(calls=(call("send_mail", to="bob@example.org", text="x"),)))
        message = await talk.say("mail bob@example.org")
        await begun.wait()
        await talk.bus.publish(f"ctl.stop.web.{message.key}", b"")
        reply = await talk.hear()
    assert reply.finish is Finish.STOPPED
    assert "not known" in reply.text
    assert len(send.made) == 1
