"""``opencrust chat`` as a person uses it: a real terminal (a pty), the real gateway, a remote one by URL and token."""

import asyncio
import os
import pty
import re
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from harness import BusServer
from opencrust.access import Scope
from opencrust.bus import Message, subjects
from opencrust.contracts import ApprovalsReply, ApprovalState, Decision, decode, encode
from simulators.web import RunningGateway, approval, running_gateway


class Terminal:
    """A program at a terminal: what it shows, and typing."""

    def __init__(self, process: asyncio.subprocess.Process, terminal: int) -> None:
        self.process = process
        self.shown = ""
        self._terminal = terminal
        asyncio.get_running_loop().add_reader(terminal, self._read)

    def _read(self) -> None:
        try:
            data = os.read(self._terminal, 65536)
        except OSError:
            data = b""
        if not data:
            asyncio.get_running_loop().remove_reader(self._terminal)
        self.shown += data.decode(errors="replace")

    def type(self, line: str) -> None:
        os.write(self._terminal, line.encode() + b"\n")

    async def until(self, pattern: str, seconds: float = 15) -> None:
        """Wait until the pattern shows; what comes next is looked for behind it."""
        try:
            async with asyncio.timeout(seconds):
                while (found := re.search(pattern, self.shown)) is None:
                    await asyncio.sleep(0.02)
        except TimeoutError:
            raise AssertionError(f"{pattern!r} did not show; instead: {self.shown!r}") from None
        self.shown = self.shown[found.end() :]


@asynccontextmanager
async def chat(gateway: RunningGateway, tmp_path: Path, *scopes: Scope) -> AsyncIterator[Terminal]:
    token, _ = await gateway.bearer(*scopes)
    (tmp_path / "token").write_text(token + "\n")
    ours, theirs = pty.openpty()
    arguments = ["-m", "opencrust_cli", "chat", "--url", gateway.url, "--token-file", str(tmp_path / "token")]
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": os.pathsep.join(sys.path), "TERM": "dumb"}
    process = await asyncio.create_subprocess_exec(
        sys.executable, *arguments, stdin=theirs, stdout=theirs, stderr=theirs, env=environment, start_new_session=True
    )
    os.close(theirs)
    try:
        yield Terminal(process, ours)
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGKILL)
        await process.wait()
        asyncio.get_running_loop().remove_reader(ours)
        os.close(ours)


@pytest.fixture
async def gateway(bus_server: BusServer) -> AsyncIterator[RunningGateway]:
    async with running_gateway(bus_server) as running:
        yield running


async def test_a_conversation_with_a_remote_gateway_is_streamed_and_stopped(
    gateway: RunningGateway, tmp_path: Path
) -> None:
    async with chat(gateway, tmp_path, Scope.CHAT, Scope.READ) as terminal:
        await terminal.until("> ")
        terminal.type("hello")
        await terminal.until("echo: hello")
        await terminal.until("> ")
        gateway.agent.hold.clear()
        terminal.type("a long one")
        await terminal.until("\necho:")  # the first piece, while the turn still runs
        terminal.type("/stop")
        async with asyncio.timeout(5):
            while not gateway.agent.stops:
                await asyncio.sleep(0.02)
        gateway.agent.hold.set()
        await terminal.until("a long one")
        await terminal.until("> ")
        terminal.type("/approve " + "a" * 16)
        await terminal.until("approve")
        terminal.type("/quit")
        assert await asyncio.wait_for(terminal.process.wait(), 10) == 0
    async with chat(gateway, tmp_path) as terminal:  # the conversation goes on where it was left
        await terminal.until("hello")
        await terminal.until("echo: hello")
        await terminal.until("> ")
        terminal.type("/help")
        await terminal.until("/approve ID")
    assert [message.text for message in gateway.agent.seen] == ["hello", "a long one"]


async def test_it_approves_and_shows_what_came_of_it(
    gateway: RunningGateway, bus_server: BusServer, tmp_path: Path
) -> None:
    agent = await bus_server.connect("agent")
    asked = approval("operator", "c")
    asked = asked.model_copy(update={"address": asked.address.model_copy(update={"conversation": "terminal"})})

    async def serve(message: Message) -> None:
        word = decode(Decision, message.data)
        done = asked.model_copy(update={"state": ApprovalState.APPROVED if word.approve else ApprovalState.DENIED})
        await agent.respond(message, encode(ApprovalsReply(approvals=[done])))
        wake = gateway.agent.seen[-1].model_copy(update={"id": f"approval:{word.id}", "text": "it is sent"})
        await gateway.agent.turn(wake, 1_000)

    await agent.subscribe(subjects.wildcard(subjects.CTL_APPROVALS), serve, queue="agent")
    async with chat(gateway, tmp_path) as terminal:
        await terminal.until("> ")
        terminal.type("send it")
        await terminal.until("echo: send it")
        await terminal.until("> ")
        terminal.type("/approve " + "c" * 16)
        await terminal.until("echo: it is sent")
        await terminal.until("> ")


async def test_what_was_missed_while_the_gateway_was_away_is_shown(
    gateway: RunningGateway, bus_server: BusServer, tmp_path: Path
) -> None:
    async with chat(gateway, tmp_path) as terminal:
        await terminal.until("> ")
        terminal.type("one")
        await terminal.until("echo: one")
        await terminal.until("> ")
        token, _ = await gateway.bearer()
        async with gateway.client(token) as session, session.ws_connect("/v1/ws") as socket:
            params = {"conversation": "terminal", "text": "from the kitchen", "message_id": "k1"}
            await socket.send_json({"type": "req", "id": "1", "op": "send", "params": params})
            while (await socket.receive_json(timeout=5)).get("event") != "reply":
                pass
        await asyncio.sleep(0.2)
        terminal.type("two")
        await terminal.until("> from the kitchen")
        await terminal.until("echo: from the kitchen")
        await terminal.until("echo: two")


async def test_a_token_that_is_none_is_said(gateway: RunningGateway, tmp_path: Path) -> None:
    async with chat(gateway, tmp_path, Scope.CHAT) as terminal:
        await terminal.until("needs a token with the scope 'read'")
        assert await terminal.process.wait() == 1
