"""The real bus for tests: nats-server, certificates and streams as the product makes them, in a home of its own."""

import asyncio
import contextlib
import signal
import socket
import subprocess
import time
from pathlib import Path

from opencrust.bus import Bus, topology
from opencrust.bus.registry import IDENTITIES
from opencrust.identity import Identity
from opencrust_provisioner.prepare import nats_server, prepare, server_settings


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class BusServer:
    """One nats-server with the registry's configuration. ``start`` → ``provision`` → ``connect(service)``."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.port = free_port()
        self.url = f"tls://127.0.0.1:{self.port}"
        self.log = home / "nats.log"
        self.process: subprocess.Popen[bytes] | None = None
        self._connections: list[Bus] = []

    def start(self) -> None:
        if not (self.home / "bus" / "nats.conf").exists():
            prepare(self.home, server_settings(self.home, f"127.0.0.1:{self.port}"))
        with self.log.open("ab") as log:
            command = [nats_server(), "-c", str(self.home / "bus" / "nats.conf")]
            self.process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise RuntimeError(f"nats-server ended: {self.log.read_text()[-2000:]}")
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1) as probe:
                if probe.recv(4) == b"INFO":
                    return
            time.sleep(0.005)
        raise RuntimeError("nats-server does not answer")

    def stop(self, number: int = signal.SIGTERM) -> None:
        if self.process is not None:
            self.process.send_signal(number)
            self.process.wait(20)
            self.process = None

    def restart(self, number: int = signal.SIGKILL) -> None:
        self.stop(number)
        self.start()

    async def provision(self) -> topology.Applied:
        bus = await self.connect("provisioner")
        for _ in range(50):
            with contextlib.suppress(Exception):
                await bus.jetstream_manager().account_info()
                break
            await asyncio.sleep(0.05)
        return await topology.apply(bus)

    def identity(self, service: str) -> Identity:
        return Identity(self.home / "identity" / service)

    async def connect(self, service: str) -> Bus:
        bus = await Bus.connect(self.url, self.identity(service), timeout=10)
        self._connections.append(bus)
        return bus

    async def close(self) -> None:
        for bus in self._connections:
            await bus.close()
        self._connections.clear()


SERVICES = tuple(identity.service for identity in IDENTITIES)
