"""The ordered drain: three worker processes, one killed, one paused; every message answered once and in order.

The protocol of research/nats.md §3.1: 40 conversations × 21 messages in bursts of three, 20–60 ms of work each.
"""

import asyncio
import json
import signal
import subprocess
import sys
import textwrap
import time
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import pytest

from harness import BusServer
from opencrust.bus import StreamReader, subjects
from opencrust.bus.drain import Drain, Work
from opencrust.bus.registry import AGENT_DURABLE
from opencrust.contracts import OutboundMessage, ReplyAddress, SessionView, Turn, conversation_key, decode, encode
from opencrust.contracts.messages import now

CONVERSATIONS = [conversation_key("web", "test", str(number)) for number in range(40)]
PER_CONVERSATION = 21

WORKER = textwrap.dedent("""
    import asyncio, json, os, random, sys, time
    from pathlib import Path
    sys.path[:0] = json.loads(sys.argv[1])
    from opencrust.bus import Bus
    from opencrust.bus.drain import Drain
    from opencrust.bus.registry import AGENT_DURABLE
    from opencrust.identity import Identity
    import opencrust.bus.drain as drain
    from integration_worker import answer

    url, identity, log_path, name = sys.argv[2:6]
    log = os.open(log_path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    async def handle(work):
        def note(event):
            os.write(log, f"{time.monotonic():.6f} {name} {event} {work.conv} {work.message.seq}\\n".encode())
        note("S")
        await asyncio.sleep(random.uniform(0.02, 0.06))
        note("E")
        return answer(work)

    async def main():
        bus = await Bus.connect(url, Identity(Path(identity)))
        worker = Drain(bus, AGENT_DURABLE, handle, slots=8, owner=name)
        commit = drain._Conversation._commit
        async def counted(self, session):
            try:
                await commit(self, session)
            except drain.Fenced:
                os.write(log, f"{time.monotonic():.6f} {name} F {self._conv} 0\\n".encode())
                raise
        drain._Conversation._commit = counted
        await worker.run()

    asyncio.run(main())
""")


def answer(work: Work) -> SessionView:
    """A turn that says the message's sequence back."""
    address = ReplyAddress(channel=work.channel, account="test", conversation=work.conv)
    reply = OutboundMessage(
        id=f"re:{work.message.seq}:0",
        in_reply_to=str(work.message.seq),
        address=address,
        text=work.message.data.decode(),
        created_time=now(),
    )
    turn = Turn(
        seq=work.message.seq,
        message_id=str(work.message.seq),
        user="u",
        text="",
        reply_id=reply.id,
        reply=reply.text,
        at=now(),
    )
    return work.session.with_turn(turn, [reply])


@dataclass(frozen=True)
class Seen:
    """What the workers' log shows."""

    inversions: int
    overlaps: int
    fenced: int


def read_log(path: Path) -> Seen:
    """Inversions: a message begun after a later one of its conversation. Overlaps: two at work in one at once."""
    last: dict[str, int] = defaultdict(int)
    busy: dict[str, str] = {}
    inversions = overlaps = fenced = 0
    for line in path.read_text().splitlines():
        _, worker, event, conv, seq = line.split()
        if event == "S":
            inversions += int(seq) < last[conv]
            last[conv] = max(last[conv], int(seq))
            overlaps += conv in busy and busy[conv] != worker
            busy[conv] = worker
        elif event == "E" and busy.get(conv) == worker:
            del busy[conv]
        fenced += event == "F"
    return Seen(inversions, overlaps, fenced)


class Workers:
    """Worker processes of the agent's identity."""

    def __init__(self, server: BusServer, directory: Path) -> None:
        self._server = server
        self._script = directory / "worker.py"
        self._script.write_text(WORKER)
        (directory / "integration_worker.py").write_text(
            "from opencrust.contracts import OutboundMessage, ReplyAddress, SessionView, Turn\n"
            "from opencrust.contracts.messages import now\n"
            "from opencrust.bus.drain import Work\n" + _source(answer)
        )
        self.log = directory / "worker.log"
        self.log.touch()
        self._path = json.dumps([str(directory), *(p for p in sys.path if p)])
        self.processes: list[subprocess.Popen[bytes]] = []

    def start(self) -> subprocess.Popen[bytes]:
        name = f"w{len(self.processes)}"
        identity = self._server.home / "identity" / "agent"
        command = [sys.executable, str(self._script), self._path, self._server.url, str(identity), str(self.log), name]
        errors = (self.log.parent / f"{name}.err").open("wb")
        self.processes.append(subprocess.Popen(command, stderr=errors))
        errors.close()
        return self.processes[-1]

    def stop(self) -> None:
        for process in self.processes:
            if process.poll() is None:
                process.send_signal(signal.SIGCONT)
                process.kill()
            process.wait()


def _source(function: object) -> str:
    import inspect

    return inspect.getsource(function)  # type: ignore[arg-type]


async def _publish_all(server: BusServer) -> None:
    gateway = await server.connect("gateway")
    for burst in range(PER_CONVERSATION // 3):
        for conv in CONVERSATIONS:
            for number in range(3):
                n = burst * 3 + number
                await gateway.publish_stored(f"msg.in.web.{conv}", str(n).encode(), message_id=f"{conv}:{n}")


async def _replies(server: BusServer, want: int, seconds: float) -> list[OutboundMessage]:
    """Everything in CONVLOG once ``want`` replies are there and no more come for a moment."""
    provisioner = await server.connect("provisioner")
    manager = provisioner.jetstream_manager()
    end = time.monotonic() + seconds
    count = 0
    while time.monotonic() < end and count < want:
        await asyncio.sleep(0.5)
        count = (await manager.stream_info("CONVLOG")).state.messages
    await asyncio.sleep(2)
    state = (await manager.stream_info("CONVLOG")).state
    return [
        decode(OutboundMessage, (await manager.get_msg("CONVLOG", seq=seq)).data or b"")
        for seq in range(state.first_seq, state.last_seq + 1)
        if state.messages
    ]


def _check_answers(replies: list[OutboundMessage]) -> None:
    by_conversation = defaultdict(list)
    for reply in replies:
        by_conversation[reply.address.conversation].append(int(reply.text))
    assert {conv: by_conversation[conv] for conv in CONVERSATIONS} == {
        conv: list(range(PER_CONVERSATION)) for conv in CONVERSATIONS
    }


@pytest.mark.timeout(180)
@pytest.mark.parametrize("fault", ["kill", "pause"])
async def test_order_and_once_under_faults(bus_server: BusServer, tmp_path: Path, fault: str) -> None:
    workers = Workers(bus_server, tmp_path)
    try:
        victims = [workers.start() for _ in range(3)]
        publishing = asyncio.create_task(_publish_all(bus_server))
        total = len(CONVERSATIONS) * PER_CONVERSATION
        while workers.log.read_text().count(" E ") < total * 0.3:
            await asyncio.sleep(0.05)
        if fault == "kill":
            victims[0].kill()
        else:  # a zombie: its leases and ack waits end, others go on, then it wakes up in the middle of its turns
            victims[0].send_signal(signal.SIGSTOP)
            await asyncio.sleep(14)
            victims[0].send_signal(signal.SIGCONT)
        await publishing
        replies = await _replies(bus_server, total, 90)
        seen = read_log(workers.log)
        print(f"\n{fault}: {seen}, {len(replies)} replies of {total}")
        _check_answers(replies)
        if fault == "kill":
            assert seen.inversions == 0
        else:
            assert seen.fenced > 0
    finally:
        workers.stop()


async def test_a_worker_that_dies_between_commit_and_publish_leaves_its_reply_in_the_outbox(
    bus_server: BusServer,
) -> None:
    conv = CONVERSATIONS[0]
    gateway, agent = await bus_server.connect("gateway"), await bus_server.connect("agent")
    stored = await gateway.publish_stored(f"msg.in.web.{conv}", b"7", message_id="m")
    # what the dead worker left: the turn committed, the reply not published
    message = await StreamReader(agent, "MSG_IN").next(f"msg.in.web.{conv}", after=0)
    assert message is not None
    left = answer(Work(message, "web", conv, SessionView()))
    await agent.kv("sess").create(f"web.{conv}", encode(left))

    async def never(work: Work) -> SessionView:
        raise AssertionError("the turn is committed: it must not run again")

    drain = Drain(agent, AGENT_DURABLE, never, slots=1, owner="w")
    running = asyncio.create_task(drain.run())
    replies = await _replies(bus_server, 1, 10)
    await drain.stop(1)
    await running
    assert [reply.id for reply in replies] == [f"re:{stored.seq}:0"]
    entry = await agent.kv("sess").get(f"web.{conv}")
    assert entry is not None
    assert decode(SessionView, entry.value).outbox == []


async def test_an_outbox_that_was_published_long_ago_is_not_published_again(bus_server: BusServer) -> None:
    conv = CONVERSATIONS[1]
    gateway, agent = await bus_server.connect("gateway"), await bus_server.connect("agent")
    await gateway.publish_stored(f"msg.in.web.{conv}", b"7", message_id="m")
    message = await StreamReader(agent, "MSG_IN").next(f"msg.in.web.{conv}", after=0)
    assert message is not None
    left = answer(Work(message, "web", conv, SessionView()))
    await agent.kv("sess").create(f"web.{conv}", encode(left))
    # published under no message id: as if the stream's window against duplicates were long over
    await agent.publish_stored(subjects.msg_out("web", conv), encode(left.outbox[0]))

    async def never(work: Work) -> SessionView:
        raise AssertionError("the turn is committed: it must not run again")

    drain = Drain(agent, AGENT_DURABLE, never, slots=1, owner="w")
    running = asyncio.create_task(drain.run())
    for _ in range(100):
        entry = await agent.kv("sess").get(f"web.{conv}")
        assert entry is not None
        if not decode(SessionView, entry.value).outbox:
            break
        await asyncio.sleep(0.05)
    await drain.stop(1)
    await running
    assert len(await _replies(bus_server, 1, 5)) == 1


async def test_a_conversation_whose_session_was_lost_is_not_answered_again(bus_server: BusServer) -> None:
    conv = CONVERSATIONS[3]
    gateway, agent = await bus_server.connect("gateway"), await bus_server.connect("agent")
    drain = Drain(agent, AGENT_DURABLE, _answer_at_once, slots=1, owner="w")
    running = asyncio.create_task(drain.run())
    await gateway.publish_stored(f"msg.in.web.{conv}", b"1", message_id="m1")
    await _replies(bus_server, 1, 5)
    await agent.kv("sess").delete(f"web.{conv}")
    await gateway.publish_stored(f"msg.in.web.{conv}", b"2", message_id="m2")
    replies = await _replies(bus_server, 2, 5)
    await drain.stop(1)
    await running
    assert [reply.text for reply in replies] == ["1", "2"]


async def _answer_at_once(work: Work) -> SessionView:
    return answer(work)


async def test_stopping_hands_a_running_conversation_to_the_next_replica(bus_server: BusServer) -> None:
    conv = CONVERSATIONS[2]
    gateway = await bus_server.connect("gateway")
    first, second = await bus_server.connect("agent"), await bus_server.connect("agent")
    started = asyncio.Event()

    async def endless(work: Work) -> SessionView:
        started.set()
        await asyncio.sleep(3600)
        raise AssertionError("unreachable")

    one = Drain(first, AGENT_DURABLE, endless, slots=1, owner="one")
    running = asyncio.create_task(one.run())
    await gateway.publish_stored(f"msg.in.web.{conv}", b"7", message_id="m")
    await asyncio.wait_for(started.wait(), 5)
    two = Drain(second, AGENT_DURABLE, _answer_at_once, slots=1, owner="two")
    taking_over = asyncio.create_task(two.run())
    begin = time.monotonic()
    await one.stop(0.2)
    replies = await _replies(bus_server, 1, 5)
    assert [reply.text for reply in replies] == ["7"]
    assert time.monotonic() - begin < 5
    await two.stop(1)
    await asyncio.gather(running, taking_over)


def test_the_log_reader_sees_faults(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_text("0 a S c 2\n0 b S c 1\n0 b F c 0\n")
    assert read_log(path) == Seen(inversions=1, overlaps=1, fenced=1)
