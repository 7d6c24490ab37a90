"""A house for one channel in tests: a real bus, a real vault, real adapter processes, and a stand-in for the agent.

async with ChannelHouse(bus_server, "telegram", options={…}, api_base=simulator.url) as house:
    adapter = house.adapter()           # a process of its own, with its own certificate; kill it as you like
    await house.agent(echo)             # answers what comes in
"""

import asyncio
import contextlib
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from harness import BusServer
from opencrust.access.people import ChannelPolicy, DmPolicy, GroupPolicy, policy_key
from opencrust.bus import Bus, BusError, StreamReader, subjects
from opencrust.bus.archive import Archive
from opencrust.bus.survey import survey
from opencrust.config import ChannelSettings
from opencrust.contracts import InboundMessage, OutboundMessage, Receipt, decode, encode
from opencrust.contracts.messages import now
from simulators.vault_process import VaultProcess

ROOT = Path(__file__).parents[1]


class AdapterProcess:
    """One replica of a channel's service."""

    def __init__(self, server: BusServer, channel: str, number: int) -> None:
        self.name = f"channel-{channel}"
        self._module = f"opencrust_channel_{channel}"
        self._server = server
        self.state = server.home / "state" / f"{self.name}-{number}"
        self.log = server.home / f"{self.name}-{number}.log"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, *, ready: bool = True, **environment: str) -> float:
        """Start it; returns the seconds until it was ready."""
        begin = time.perf_counter()
        reading, writing = os.pipe()
        self.state.mkdir(parents=True, exist_ok=True)
        path = os.pathsep.join([str(ROOT / "shared"), str(ROOT / "services" / self.name)])
        settings = {
            "OPENCRUST_IDENTITY_DIR": str(self._server.home / "identity" / self.name),
            "OPENCRUST_STATE_DIR": str(self.state),
            "OPENCRUST_BUS_URL": self._server.url,
            "OPENCRUST_READY_FD": str(writing),
            "OPENCRUST_LOG_LEVEL": "debug",
            "PYTHONPATH": path,
            **environment,
        }
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", self._module], env=settings, stdout=log, stderr=log, pass_fds=[writing]
            )
        os.close(writing)
        try:
            if ready and (not select.select([reading], [], [], 20)[0] or not os.read(reading, 16)):
                raise RuntimeError(f"{self.name} is not ready: {self.log.read_text()[-2000:]}")
        finally:
            os.close(reading)
        return time.perf_counter() - begin

    def kill(self, number: int = signal.SIGKILL) -> None:
        """End it, by default without any warning."""
        if self.process is not None:
            self.process.send_signal(number)
            self.process.wait(20)
            self.process = None

    def rss(self) -> int:
        """Its resident memory in bytes."""
        assert self.process is not None
        text = Path(f"/proc/{self.process.pid}/status").read_text()
        return next(int(line.split()[1]) * 1024 for line in text.splitlines() if line.startswith("VmRSS"))


class ChannelHouse:
    """A bus with a vault and one configured channel."""

    def __init__(self, server: BusServer, channel: str, secrets: dict[str, str], **settings: Any) -> None:
        self.server = server
        self.channel = channel
        self.settings = ChannelSettings(
            name=channel, credentials={key: f"vault:channel.{channel}.{key}" for key in secrets}, **settings
        )
        self._secrets = secrets
        self.vault = VaultProcess(server)
        self.adapters: list[AdapterProcess] = []
        self._answering: asyncio.Task[None] | None = None
        self.bus: Bus

    async def __aenter__(self) -> Self:
        await asyncio.to_thread(self._start_vault)
        for key, value in self._secrets.items():
            self.put_secret(key, value)
        await self.configure(self.settings)
        await self.policy()
        self.bus = await self.server.connect("agent")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._answering is not None:
            self._answering.cancel()
            await asyncio.gather(self._answering, return_exceptions=True)
        for adapter in self.adapters:
            adapter.kill()
        self.vault.stop()

    def _start_vault(self) -> None:
        self.vault.start()

    def put_secret(self, key: str, value: str) -> None:
        """Store or rotate one of the channel's credentials."""
        self.vault.set(f"channel.{self.channel}.{key}", value.encode())

    async def configure(self, settings: ChannelSettings | None) -> None:
        """What the provisioner would publish."""
        data = b"null" if settings is None else settings.model_dump_json().encode()
        await (await self.server.connect("provisioner")).kv("cfg").put(f"channel-{self.channel}.settings", data)

    async def policy(self, dm: DmPolicy = DmPolicy.OPEN, group: GroupPolicy = GroupPolicy.OPEN) -> None:
        """Who may speak."""
        keys = (await self.server.connect("gateway")).kv("access")
        await keys.put(policy_key(self.channel), encode(ChannelPolicy(dm=dm, group=group)))

    def adapter(self, *, start: bool = True, **environment: str) -> AdapterProcess:
        """One more replica."""
        adapter = AdapterProcess(self.server, self.channel, len(self.adapters))
        self.adapters.append(adapter)
        if start:
            adapter.start(**environment)
        return adapter

    async def agent(self, answer: Callable[[InboundMessage], str | None]) -> None:
        """Answer every message of the channel, in the stream's order, each once."""

        async def run() -> None:
            reader, after = StreamReader(self.bus, "MSG_IN"), 0
            pattern = subjects.wildcard(subjects.MSG_IN, channel=self.channel)
            while True:
                try:
                    stored = await reader.next(pattern, after=after)
                    if stored is None:
                        await asyncio.sleep(0.02)
                        continue
                    message = decode(InboundMessage, stored.data)
                    if (text := answer(message)) is not None:
                        await self.reply(message, text, id=f"re:{stored.seq}:0")
                    after = stored.seq
                except BusError:
                    await asyncio.sleep(0.1)

        self._answering = asyncio.create_task(run())

    async def reply(self, message: InboundMessage, text: str, *, id: str, **more: Any) -> OutboundMessage:
        """Store one reply, as the agent does."""
        reply = OutboundMessage(
            id=id, in_reply_to=message.id, address=message.reply_to, text=text, **{"created_time": now(), **more}
        )
        address = message.reply_to
        await self.bus.publish_stored(
            subjects.msg_out(address.channel, address.key), encode(reply), message_id=f"{address.key}:{id}"
        )
        return reply

    async def received(self) -> list[InboundMessage]:
        """All that came to the agent, in the stream's order."""
        reader, found, after = StreamReader(self.bus, "MSG_IN"), [], 0
        pattern = subjects.wildcard(subjects.MSG_IN, channel=self.channel)
        while (stored := await reader.next(pattern, after=after)) is not None:
            after = stored.seq
            found.append(decode(InboundMessage, stored.data))
        return found

    async def receipts(self) -> list[Receipt]:
        """All receipts, in their order."""
        archive = Archive(await self.server.connect("provisioner"), "RECEIPTS")
        found, after = [], 0
        while (stored := await archive.after(after)) is not None:
            after = stored.seq
            found.append(decode(Receipt, stored.data))
        return found

    async def waiting(self) -> int:
        """Replies that are not settled."""
        manager = (await self.server.connect("provisioner")).jetstream_manager()
        info = await manager.stream_info("MSG_OUT")
        count: int = info.state.messages
        return count

    async def drop_lease(self) -> None:
        """Delete the lease of whoever listens, behind his back."""
        keys = (await self.server.connect(f"channel-{self.channel}")).kv("lease")
        await keys.delete(f"{self.channel}.ingest")

    async def leader(self) -> AdapterProcess:
        """The replica that listens."""
        keys = (await self.server.connect(f"channel-{self.channel}")).kv("lease")
        entry = await keys.get(f"{self.channel}.ingest")
        assert entry is not None
        owner = entry.value.decode().partition(":")[0]
        return next(adapter for adapter in self.adapters if owner in adapter.log.read_text())

    async def health(self) -> list[dict[str, Any]]:
        """The facts of every replica that answers."""
        reports = await survey(await self.server.connect("gateway"), [f"channel-{self.channel}"], window=0.3)
        return [report.facts for report in reports]


async def until(condition: Callable[[], Awaitable[bool] | bool], seconds: float = 10.0, pause: float = 0.02) -> float:
    """Wait until ``condition``; returns the seconds it took. Raises AssertionError after ``seconds``."""
    begin = time.monotonic()
    while True:
        found = condition()
        if await found if isinstance(found, Awaitable) else found:
            return time.monotonic() - begin
        assert time.monotonic() - begin < seconds, f"not within {seconds:g} s"
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(pause)
