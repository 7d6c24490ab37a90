"""The vault service as a process of its own, on a real bus."""

import base64
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from harness import BusServer
from opencrust_vault import admin_socket
from opencrust_vault.paths import Paths

ROOT = Path(__file__).parents[2]


class VaultProcess:
    """`python -m opencrust_vault` on a bus."""

    def __init__(self, server: BusServer) -> None:
        self.server = server
        self.paths = Paths.of_home(server.home, {})
        self.process: subprocess.Popen[bytes] | None = None
        self.log = server.home / "vault.log"
        self.arguments = ["-m", "opencrust_vault"]

    def start(self, **environment: str) -> float:
        """Start it and wait until it is ready; returns the seconds that took."""
        started = time.perf_counter()
        reading, writing = os.pipe()
        settings = {
            "OPENCRUST_IDENTITY_DIR": str(self.server.home / "identity" / "vault"),
            "OPENCRUST_STATE_DIR": str(self.paths.state),
            "OPENCRUST_BUS_URL": self.server.url,
            "OPENCRUST_READY_FD": str(writing),
            "OPENCRUST_LOG_LEVEL": "debug",
            "PYTHONPATH": os.pathsep.join([str(ROOT / "shared"), str(ROOT / "services" / "vault")]),
            **environment,
        }
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, *self.arguments], env=settings, stdout=log, stderr=log, pass_fds=(writing,)
            )
        os.close(writing)
        with os.fdopen(reading, "rb") as ready:
            line = ready.readline()
        if line != b"READY\n":
            raise RuntimeError(f"the vault ended with {self.process.wait(10)}: {self.log.read_text()[-1500:]}")
        return time.perf_counter() - started

    def stop(self, number: int = signal.SIGTERM) -> int:
        assert self.process is not None
        self.process.send_signal(number)
        return self.process.wait(15)

    def admin(self, operation: str, **arguments: object) -> dict[str, Any]:
        """One operation over the socket."""
        return admin_socket.call(self.paths.socket, self.paths.admin_key.read_bytes(), operation, dict(arguments))

    def set(self, name: str, value: bytes) -> int:
        return int(self.admin("set", name=name, value=base64.b64encode(value).decode())["version"])
