"""A nats-server with `verify_and_map`, run from one home's certificates."""

import asyncio
import os
import shutil
import signal
import socket
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nats
import pytest
from nats.aio.client import Client

from opencrust.identity import BUS_HOSTNAME, Identity, spiffe_id
from opencrust.identity.issuance import Issuer

SERVICES = ("agent", "vault")


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


@dataclass
class Server:
    """One nats-server process."""

    process: asyncio.subprocess.Process
    port: int
    log: Path

    @property
    def url(self) -> str:
        return f"tls://127.0.0.1:{self.port}"

    async def connect(self, context: Any, **options: Any) -> Client:
        options = {"connect_timeout": 2, "allow_reconnect": False, "error_cb": _ignore, **options}
        return await asyncio.wait_for(
            nats.connect(self.url, tls=context, tls_hostname=BUS_HOSTNAME, **options), timeout=8
        )

    async def reload(self) -> None:
        """SIGHUP, and wait until the server says it has reloaded."""
        before = self.log.read_text().count("Reloaded server configuration")
        self.process.send_signal(signal.SIGHUP)
        async with asyncio.timeout(5):
            while self.log.read_text().count("Reloaded server configuration") == before:
                await asyncio.sleep(0.01)


async def _ignore(error: Exception) -> None:
    """Reconnecting clients report refused connections here; the tests look at what `connect` raises."""


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


@pytest.fixture
def issuer(home: Path) -> Issuer:
    issuer = Issuer(home)
    issuer.ensure(SERVICES)
    return issuer


@pytest.fixture
def identity(home: Path, issuer: Issuer) -> Identity:
    return Identity(home / "identity" / "agent")


@pytest.fixture
async def start_server(home: Path, issuer: Issuer, tmp_path: Path) -> AsyncIterator[Callable[[], Awaitable[Server]]]:
    binary = Path(sys.executable).with_name("nats-server")
    if not binary.exists():
        binary = Path(shutil.which("nats-server") or "nats-server")
    port = free_port()
    bus = home / "identity" / "bus"
    users = ", ".join(f'{{ user: "{spiffe_id(name)}" }}' for name in SERVICES)
    configuration = tmp_path / "nats.conf"
    configuration.write_text(f"""
        listen: "127.0.0.1:{port}"
        tls {{
          cert_file: "{bus / "cert.pem"}"
          key_file: "{bus / "key.pem"}"
          ca_file: "{bus / "ca.pem"}"
          verify_and_map: true
          min_version: "1.3"
          timeout: 5
        }}
        authorization {{ users: [ {users} ] }}
    """)
    started: list[Server] = []

    async def start() -> Server:
        log = tmp_path / f"nats-{len(started)}.log"
        with log.open("wb") as output:
            process = await asyncio.create_subprocess_exec(
                binary, "-c", configuration, stdout=output, stderr=output, env={"PATH": os.defpath}
            )
        server = Server(process, port, log)
        started.append(server)
        async with asyncio.timeout(10):
            while "Server is ready" not in log.read_text():
                assert process.returncode is None, log.read_text()
                await asyncio.sleep(0.01)
        return server

    yield start
    for server in started:
        with suppress(ProcessLookupError):
            server.process.kill()
        await server.process.wait()


@pytest.fixture
async def server(start_server: Callable[[], Awaitable[Server]]) -> Server:
    return await start_server()
