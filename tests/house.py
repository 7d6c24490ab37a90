"""The whole product for tests, run as a person runs it: by the command `opencrust`, in a home of its own."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from harness import free_port


class House:
    """`opencrust up` in ``home``. A context manager: it is up inside the block."""

    def __init__(self, home: Path, *options: str, **environment: str) -> None:
        """``options`` go to `opencrust up`."""
        self.home = home
        self._options = options
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(home.parent),
            "PYTHONPATH": os.pathsep.join(p for p in sys.path if p),
            "OPENCRUST_HOME": str(home),
            **environment,
        }

    def __enter__(self) -> "House":
        self.up()
        return self

    def __exit__(self, *exception: object) -> None:
        self.run("down", check=False)

    def up(self) -> float:
        """Start it; returns the seconds until everything was ready."""
        begin = time.monotonic()
        self.run("up", "--detach", "--port", str(self.port), *self._options, timeout=60)
        return time.monotonic() - begin

    def up_plainly(self) -> float:
        """As `up`, without the options that it was made with."""
        self._options = ()
        return self.up()

    def run(self, *arguments: str, stdin: str = "", check: bool = True, timeout: float = 60) -> str:
        """One `opencrust` command; its standard output."""
        done = subprocess.run(
            [sys.executable, "-m", "opencrust_cli", *arguments],
            input=stdin, capture_output=True, text=True, env=self._environment, timeout=timeout, check=False,
        )  # fmt: skip
        if check and done.returncode != 0:
            raise RuntimeError(f"opencrust {' '.join(arguments)}: {done.returncode}\n{done.stdout}\n{done.stderr}")
        return done.stdout

    def status(self) -> dict[str, Any]:
        """`opencrust status --json`."""
        status: dict[str, Any] = json.loads(self.run("status", "--json"))
        return status

    def pid(self, service: str) -> int | None:
        """Its process now; read from the supervisor's own file, since asking costs half a second."""
        status = json.loads((self.home / "run" / "status.json").read_text())
        pid: int | None = status["services"][service]["pid"]
        return pid

    def pid_of(self, service: str) -> int | None:
        """As `pid`; None also for a service that is not run at all."""
        status = json.loads((self.home / "run" / "status.json").read_text())
        pid: int | None = status["services"].get(service, {}).get("pid")
        return pid

    def kill(self, service: str, number: int = signal.SIGKILL) -> bool:
        """Kill one service; False where it is not running at this moment."""
        pid = self.pid(service)
        if pid is None:
            return False
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            return False
        return True

    def token(self, *scopes: str) -> str:
        """A fresh bearer token."""
        wanted = [argument for scope in scopes for argument in ("--scope", scope)]
        token: str = json.loads(self.run("token", "create", "test", *wanted, "--json"))["token"]
        return token

    def provider(self, url: str, model: str) -> None:
        """Let a simulated provider answer."""
        self.run("providers", "add", "sim", "--kind", "openai", "--base-url", url, "--model", model)
