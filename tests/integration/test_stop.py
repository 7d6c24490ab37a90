"""STOP during the model's stream, a tool, many tools, and before the turn began: the last effect within a second."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from bench import stop
from harness import BusServer
from integration.test_tools import Fake, Talk, call, fake, mail, replica, simulator, talk
from opencrust.contracts import Finish
from opencrust_agent.tools import Effect, Tool
from simulators.model import ModelSimulator
from simulators.model_replies import Reply

__all__ = ["simulator", "talk"]


async def stopped(server: BusServer, directory: Path, tries: int) -> None:
    """All scenes of the benchmark (see there what they are), each stopped so often."""
    times = await stop.web_scenes(server, directory / "agent", tries)
    found = {scene: stop.figures(seconds) for scene, seconds in times.items()}
    print("\n" + stop.table(found))
    assert {scene: f["tries"] for scene, f in found.items()} == dict.fromkeys(stop.SCENES, tries)
    assert {scene: f["p99"] for scene, f in found.items() if f["p99"] > stop.BOUND * 1000} == {}


async def test_stop_ends_streams_tools_and_plugins(bus_server: BusServer, tmp_path: Path) -> None:
    """From each surface once."""
    await stopped(bus_server, tmp_path, 4)


async def test_stop_ends_the_parts_of_an_answer(bus_server: BusServer, tmp_path: Path) -> None:
    """By /stop in the chat, by the command for this conversation, and by the one for everything."""
    times = await stop.parts(bus_server, tmp_path / "agent", 3, together=2)
    print("\n" + stop.table({"parts": stop.figures(times)}))
    assert max(times) <= stop.BOUND


@pytest.mark.long
@pytest.mark.timeout(900)
async def test_stop_two_hundred_times(bus_server: BusServer, tmp_path: Path) -> None:
    await stopped(bus_server, tmp_path, 200)


@pytest.mark.long
@pytest.mark.timeout(900)
async def test_stop_between_parts_two_hundred_times(bus_server: BusServer, tmp_path: Path) -> None:
    found = stop.figures(await stop.parts(bus_server, tmp_path / "agent", 200))
    print("\n" + stop.table({"parts": found}))
    assert found["p99"] <= stop.BOUND * 1000


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
