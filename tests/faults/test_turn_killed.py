"""kill -9 of a real agent process at each step of a turn with effects: the journal's promise, without a simulation.

The turn appends a line to a file and sends a message to another conversation. Whatever step the process dies at,
another process finishes the turn: each effect is made at most once, the person gets one answer, and an effect of which
nobody knows whether it was made is said to be such.
"""

import asyncio
import contextlib
import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from channels import until
from harness import BusServer
from integration.test_agent import configure, provider
from integration.test_tools import Talk, call, inbound
from opencrust.contracts import OutboundMessage
from simulators.model import ModelSimulator
from simulators.model_replies import Call, Reply

ROOT = Path(__file__).parents[2]
LINE = "one line\n"


class Obedient(ModelSimulator):
    """Appends, sends, answers: by what the request says was done, so that asking again is harmless."""

    def _by_name(self, model: str, body: dict[str, Any]) -> Reply:
        messages = body["messages"]
        last = max(n for n, m in enumerate(messages) if m["role"] == "user")
        asked = str(messages[last]["content"])
        if not asked.startswith("write "):
            return Reply(f"say {asked}")
        name = asked.split()[1]
        match sum(1 for message in messages[last:] if message["role"] == "tool"):
            case 0:
                return Reply(calls=(Call("file_write", {"path": name, "text": LINE, "append": True}, id="w"),))
            case 1:
                return Reply(calls=(call("send_message", id="s", to="web:phone", text=f"about {name}"),))
        return Reply("finished")


@contextmanager
def process(server: BusServer, at: int) -> Iterator["subprocess.Popen[bytes]"]:
    """A ready agent that dies at step ``at`` (0: never)."""
    reading, writing = os.pipe()
    state = server.home / "state" / "agent"
    state.mkdir(parents=True, exist_ok=True)
    environment = {
        "OPENCRUST_IDENTITY_DIR": str(server.home / "identity" / "agent"),
        "OPENCRUST_STATE_DIR": str(state),
        "OPENCRUST_BUS_URL": server.url,
        "OPENCRUST_READY_FD": str(writing),
        "PYTHONPATH": os.pathsep.join([str(ROOT / "shared"), str(ROOT / "services" / "agent")]),
        "KILL_AT": str(at),
    }
    log = server.home / "agent.log"
    with log.open("ab") as out:
        running = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("killed_agent.py"))],
            env=environment, stdout=out, stderr=out, pass_fds=[writing],
        )  # fmt: skip
    os.close(writing)
    try:
        assert select.select([reading], [], [], 20)[0], log.read_text()[-2000:]
        assert os.read(reading, 16), log.read_text()[-2000:]
        yield running
    finally:
        os.close(reading)
        running.kill()
        running.wait(10)


@dataclass
class Seen:
    """What came of one turn."""

    died: bool
    written: int
    sent: int
    answers: list[str]


async def killed_at(server: BusServer, talk: Talk, at: int) -> Seen:
    """One turn whose process dies at step ``at``."""
    conversation, name = f"c{at}", f"f{at}.txt"
    replies: list[OutboundMessage] = []
    path = server.home / "state" / "agent" / "workspace" / "owner" / name

    def answers(id: str) -> list[str]:
        with contextlib.suppress(asyncio.QueueEmpty):
            while True:
                replies.append(talk.replies.get_nowait())
        return [reply.text for reply in replies if reply.in_reply_to == id]

    with process(server, at) as first:
        asked = await talk.say(f"write {name} and tell web:phone about {name}", conversation=conversation)
        await until(lambda: first.poll() is not None or bool(answers(asked.id)), 20)
        await asyncio.sleep(0.2)  # the last steps are after the answer is out
        died = first.poll() == -signal.SIGKILL
    key = inbound(0, "x", conversation=conversation).key
    await (await server.connect("agent")).kv("lease").delete(f"conv.web.{key}")  # as if its nine seconds were over
    with process(server, 0):
        later = await talk.say("are you there?", conversation=conversation)  # whoever gets it does first what is open
        await until(lambda: bool(answers(later.id)), 25)
        await until(lambda: bool(answers(asked.id)), 5)
        await asyncio.sleep(0.2)
    sent = sum(reply.text == f"about {name}" for reply in replies)
    return Seen(died, path.read_text().count(LINE) if path.exists() else 0, sent, answers(asked.id))


def check(seen: Seen, at: int) -> None:
    assert len(seen.answers) == 1, (at, seen)
    [answer] = seen.answers
    assert seen.written == 1 or (seen.written == 0 and "`file_write` was done is not known" in answer), (at, seen)
    assert seen.sent == 1 or (seen.sent == 0 and "`send_message` was done is not known" in answer), (at, seen)


async def each(server: BusServer, steps: range | tuple[int, ...]) -> str:
    """Every one of ``steps``; ends at the first that a turn does not reach."""
    talk = Talk(await server.connect("gateway"))
    await talk.start()
    unknown, died = 0, 0
    async with Obedient() as simulator:
        await configure(server, provider(simulator))
        with process(server, 0):
            await talk.say("hello", conversation="phone")
            await talk.hear(20)
        for at in steps:
            seen = await killed_at(server, talk, at)
            check(seen, at)
            if not seen.died:
                break
            died += 1
            unknown += "not known" in seen.answers[0]
    assert died > 0
    return (
        f"kill -9 at {died} steps: no effect twice, none lost in silence, one answer each; {unknown} said to be unknown"
    )


@pytest.mark.timeout(60)
async def test_a_process_killed_in_a_turn(bus_server: BusServer) -> None:
    print("\n" + await each(bus_server, (7,)))


@pytest.mark.long
@pytest.mark.timeout(600)
async def test_a_process_killed_at_every_step(bus_server: BusServer) -> None:
    print("\n" + await each(bus_server, range(1, 200)))
