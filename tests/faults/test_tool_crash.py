"""A worker that dies at any step of a turn with tools: the turn is finished by another, and no effect is made twice.

The steps are all that the worker writes to the bus, and the moments before and after the tool's effect. At each of
them it is frozen, as a process that was killed or paused there; another takes over; then the frozen one wakes up and
tries to go on (a zombie): what it does must change nothing.
"""

import asyncio
from dataclasses import dataclass
from typing import Any

import pytest

from harness import BusServer
from integration.test_tools import Fake, Talk, call, inbound, mail, page, replica
from opencrust.bus import Bus
from opencrust.contracts import OutboundMessage
from opencrust_agent.tools import Tool
from simulators.model import ModelSimulator
from simulators.model_replies import Reply


class Obedient(ModelSimulator):
    """Reads the page, sends the mail, answers: by what the request says was done, so that asking again is harmless."""

    def _by_name(self, model: str, body: dict[str, Any]) -> Reply:
        messages = body["messages"]
        last = max(n for n, m in enumerate(messages) if m["role"] == "user" and "(No more" not in str(m["content"]))
        asked = messages[last]["content"]
        if "mail" not in asked:
            return Reply(f"say {asked}")
        done = sum(1 for message in messages[last:] if message["role"] == "tool")
        if done == 0:
            return Reply(calls=(call("read_page", id="r"),))
        if done == 1:
            return Reply(calls=(call("send_mail", id="s", to="bob@example.org", text="fine"),))
        return Reply("finished")


class Frozen:
    """Counts the steps of a worker, and holds it at one of them until it is let go."""

    def __init__(self, at: int) -> None:
        self.at = at
        self.steps = 0
        self.reached = asyncio.Event()
        self.released = asyncio.Event()

    async def step(self) -> None:
        self.steps += 1
        if self.steps >= self.at:
            self.reached.set()
            await self.released.wait()

    def watch(self, bus: Bus) -> None:
        publish = bus.publish_stored

        async def publish_stored(*arguments: Any, **more: Any) -> Any:
            await self.step()
            return await publish(*arguments, **more)

        bus.publish_stored = publish_stored  # type: ignore[method-assign]


@dataclass
class Seen:
    """What came of one run."""

    made: int
    replies: list[OutboundMessage]
    steps: int

    def of(self, message_id: str) -> list[str]:
        return [reply.text for reply in self.replies if reply.in_reply_to == message_id]


def tools_with(frozen: Frozen | None, made: list[dict[str, Any]]) -> list[Tool]:
    send = mail()

    async def effect(arguments: dict[str, Any]) -> str:
        if frozen is not None:
            await frozen.step()
        made.append(arguments)
        if frozen is not None:
            await frozen.step()
        return "done"

    return [page(), Fake(send.spec, effect)]


async def taken_over(server: BusServer, talk: Talk, at: int, asked: str) -> Seen:
    """One turn whose worker is frozen at step ``at``; with an approval between, if it is not his wish."""
    made: list[dict[str, Any]] = []
    replies: list[OutboundMessage] = []
    frozen = Frozen(at)
    conversation = f"c{at}"
    key = inbound(0, "x", conversation=conversation).key
    agent = await server.connect("agent")
    async with (
        Obedient() as simulator,
        replica(server, simulator, tools_with(frozen, made), "zombie", before=frozen.watch, slots=1),
    ):
        await talk.say(asked, conversation=conversation)
        first = asyncio.create_task(approving(talk, replies, conversation))
        watching = asyncio.create_task(frozen.reached.wait())
        # a wake-up that went to the worker before us, as it stopped, comes again after ten seconds
        await asyncio.wait({first, watching}, timeout=25, return_when=asyncio.FIRST_COMPLETED)
        assert first.done() or frozen.reached.is_set()
        if frozen.reached.is_set():
            await agent.kv("lease").delete(f"conv.web.{key}")  # as if its nine seconds were over
            async with replica(server, simulator, tools_with(None, made), "heir"):
                # whoever gets a later message works through what is open first
                await talk.say("are you there?", conversation=conversation)
                await asyncio.wait({first}, timeout=25)
                assert first.done(), "nobody finished the turn"
                frozen.released.set()
                await asyncio.sleep(0.3)  # the zombie does what it can
        frozen.released.set()
        watching.cancel()
    while not talk.replies.empty():
        replies.append(talk.replies.get_nowait())
    return Seen(len(made), replies, frozen.steps)


async def approving(talk: Talk, replies: list[OutboundMessage], conversation: str) -> None:
    """Hear until the turn is finished, saying yes to what is asked."""
    finished = False
    while not finished:
        reply = await talk.hear(40)
        replies.append(reply)
        if reply.approval is not None:
            await talk.say(f"/approve {reply.approval.id}", conversation=conversation)
        finished = "finished" in reply.text or "not known" in reply.text


def check(seen: Seen, at: int) -> None:
    ends = [reply.text for reply in seen.replies if "finished" in reply.text or "not known" in reply.text]
    assert len(ends) == 1, (at, ends)
    assert seen.made <= 1, at
    assert seen.made == 1 or "not known" in ends[0], (at, "an effect was lost in silence")
    ids = [reply.id for reply in seen.replies]
    assert len(ids) == len(set(ids)), (at, ids)


WISH = "read the page and mail it to bob@example.org"
ASKED = "read the page and mail it to Bob"


async def all_steps(server: BusServer, asked: str, every: int) -> str:
    talk = Talk(await server.connect("gateway"))
    await talk.start()
    whole = await taken_over(server, talk, 10_000, asked)
    assert whole.made == 1
    unknown = 0
    tried = range(1, whole.steps + 1, every)
    for at in tried:
        seen = await taken_over(server, talk, at, asked)
        check(seen, at)
        unknown += any("not known" in reply.text for reply in seen.replies)
    return f"{len(tried)} of {whole.steps} steps: no effect twice, none lost in silence; {unknown} said to be unknown"


@pytest.mark.timeout(120)
@pytest.mark.parametrize("asked", [WISH, ASKED], ids=["wish", "approval"])
async def test_a_crash_at_some_steps(bus_server: BusServer, asked: str) -> None:
    print("\n" + await all_steps(bus_server, asked, every=4))


@pytest.mark.long
@pytest.mark.timeout(600)
@pytest.mark.parametrize("asked", [WISH, ASKED], ids=["wish", "approval"])
async def test_a_crash_at_every_step(bus_server: BusServer, asked: str) -> None:
    print("\n" + await all_steps(bus_server, asked, every=1))
