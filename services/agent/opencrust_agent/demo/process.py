"""The demo model's process as the agent sees it: started on first use, shared, stopped when idle."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import secrets
import signal
import sys
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from opencrust_agent.demo import server
from opencrust_agent.demo.prompt import CONTEXT
from opencrust_agent.demo.weights import SHA256, find_weights

log = logging.getLogger(__name__)

IDLE_SECONDS = 300.0
START_SECONDS = 60.0
_STOP_SECONDS = 2.0


class StartFailed(Exception):
    """The demo model's process did not come up; the text says why."""


@dataclass(frozen=True, slots=True)
class Serving:
    """A running process: where it listens, and the key that it wants."""

    url: str
    key: str = field(repr=False)


class DemoProcess:
    """`idle` seconds after the last use it is stopped. Use it from one event loop."""

    def __init__(self, idle: float = IDLE_SECONDS, *, start_timeout: float = START_SECONDS) -> None:
        self._idle = idle
        self._start_timeout = start_timeout
        self._process: asyncio.subprocess.Process | None = None
        self._serving: Serving | None = None
        self._users = 0
        self._lock = asyncio.Lock()
        self._rest: asyncio.Task[None] | None = None

    def snapshot(self) -> dict[str, Any]:
        """Plain data for status output."""
        alive = self._alive()
        return {"running": alive, "pid": self._process.pid if alive and self._process else None, "users": self._users}

    @asynccontextmanager
    async def use(self) -> AsyncGenerator[Serving, None]:
        """The running process, started if need be. Raises NotInstalled, StartFailed."""
        self._users += 1
        if self._rest is not None:
            self._rest.cancel()
            self._rest = None
        try:
            async with self._lock:
                if not self._alive():
                    await self._stop()
                    await self._start()
            assert self._serving is not None
            yield self._serving
        finally:
            self._users -= 1
            if self._users == 0 and self._process is not None:
                self._rest = asyncio.create_task(self._stop_when_idle())

    async def close(self) -> None:
        """Stops it now."""
        if self._rest is not None:
            self._rest.cancel()
            self._rest = None
        async with self._lock:
            await self._stop()

    def _alive(self) -> bool:
        return self._process is not None and self._process.returncode is None and self._serving is not None

    async def _start(self) -> None:
        weights = find_weights()
        started = time.monotonic()
        key = secrets.token_urlsafe(32)
        order = {"weights": str(weights), "sha256": SHA256, "key": key, "context": CONTEXT, "threads": threads()}
        try:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-I",
                "-B",
                str(Path(server.__file__)),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.DEVNULL,
                env={"LC_ALL": "C.UTF-8"},
                cwd="/",
            )
        except OSError as error:
            raise StartFailed(f"the demo model's process cannot be started ({error.strerror})") from None
        try:
            async with asyncio.timeout(self._start_timeout):
                said = await _exchange(self._process, order)
            if "url" not in said:
                raise StartFailed(str(said.get("error")))
        except TimeoutError:
            await self._stop()
            raise StartFailed(f"the demo model did not load within {self._start_timeout:g} s") from None
        except BaseException:  # a cancelled start, too, must not leave a process behind
            await asyncio.shield(self._stop())
            raise
        self._serving = Serving(said["url"], key)
        log.info("the demo model is loaded (pid %d, %.1f s)", self._process.pid, time.monotonic() - started)

    async def _stop(self) -> None:
        process, self._process, self._serving = self._process, None, None
        if process is None:
            return
        assert process.stdin is not None
        process.stdin.close()
        try:
            async with asyncio.timeout(_STOP_SECONDS):
                await process.wait()
        except TimeoutError:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()

    async def _stop_when_idle(self) -> None:
        await asyncio.sleep(self._idle)
        async with self._lock:
            if self._users == 0:
                log.info("the demo model was idle for %g s and is stopped", self._idle)
                await self._stop()


async def _exchange(process: asyncio.subprocess.Process, order: dict[str, Any]) -> dict[str, Any]:
    assert process.stdin is not None
    assert process.stdout is not None
    with contextlib.suppress(ConnectionError):
        process.stdin.write(json.dumps(order).encode() + b"\n")
        await process.stdin.drain()
    line = await process.stdout.readline()
    if not line:
        code = await process.wait()
        raise StartFailed(f"the demo model's process ended at its start ({_ending(code)})")
    said = json.loads(line)
    return said if isinstance(said, dict) else {}


def _ending(code: int) -> str:
    if code == -signal.SIGILL:
        return "this processor lacks instructions that its engine needs"
    return signal.Signals(-code).name if code < 0 else f"exit code {code}"


def threads(cgroup: Path = Path("/sys/fs/cgroup/cpu.max")) -> int:
    """All cores that this process may use but one, at most two. `cgroup` holds a container's quota (cgroups v2)."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    with contextlib.suppress(OSError, ValueError):  # no cgroup, or "max"
        quota, period = cgroup.read_text().split()
        cores = min(cores, int(quota) // int(period))
    return max(1, min(2, cores - 1))
