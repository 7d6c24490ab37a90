"""What happens in a plugin's own process, forked from the zygote: load, lock, serve.

It holds no secret, no network, no file but the socket to the agent. Even with the sandbox of WebAssembly broken there
is nothing to take and nowhere to go: memory, time, and one socket on which the agent answers what the grant allows.
"""

import contextlib
import os
import resource
import time
from typing import Any

from opencrust import confine
from opencrust_agent.plugins import frames, limits, seccomp
from opencrust_agent.plugins.engine import Allowance, Fault, Guest, Refused


class LockFailed(Exception):
    """This system cannot lock a plugin in; the text says what is missing."""


def lock(*, memory: int, cpu: int | None, files: int, unlocked: bool) -> confine.Confinement:
    """Everything that must hold before a thread is started; :func:`restrict` comes after.

    Args:
        memory: RLIMIT_AS in bytes.
        cpu: RLIMIT_CPU in seconds; None: as it is.
        unlocked: go on where the system lacks something (for development).

    Raises:
        LockFailed: Landlock or seccomp is not to be had.
    """
    resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))
    resource.setrlimit(resource.RLIMIT_FSIZE, (256 * limits.MiB, 256 * limits.MiB))  # memfds count too
    if cpu is not None:
        resource.setrlimit(resource.RLIMIT_CPU, (cpu, cpu + 1))  # the first is SIGXCPU, which says what it was
    with contextlib.suppress(OSError):  # if memory runs out, we go first, not the agent
        descriptor = os.open("/proc/self/oom_score_adj", os.O_WRONLY)
        os.write(descriptor, b"1000")
        os.close(descriptor)
    held = confine.isolate()
    if not held.landlock and not unlocked:
        raise LockFailed("; ".join(held.missing))
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    return held


def restrict(*, may_map_code: bool, unlocked: bool) -> None:
    """The filter of system calls, for all threads there are; there will be no others.

    Raises:
        LockFailed: there is none.
    """
    try:
        seccomp.restrict(may_map_code=may_map_code)
    except seccomp.Unavailable as error:
        if not unlocked:
            raise LockFailed(str(error)) from None


def serve(connection: int, code: int, order: dict[str, Any]) -> None:
    """Load the machine code behind descriptor `code`, lock this process, and answer calls until the agent is gone."""
    host = _Host(connection)
    try:
        size = os.fstat(code).st_size
        guest = Guest(f"/dev/fd/{code}", host, fuel=bool(order.get("fuel")))
        os.close(code)
        unlocked = bool(order.get("unlocked"))
        memory = limits.WORKER_MEMORY + _address_space() + size
        held = lock(memory=memory, cpu=None, files=limits.WORKER_FILES, unlocked=unlocked)
        guest.start_clock()
        restrict(may_map_code=False, unlocked=unlocked)
    except (Refused, LockFailed) as error:
        name = "lock" if isinstance(error, LockFailed) else "stale"
        frames.write_blocking(connection, {"fault": name, "detail": str(error)[:300]})
        return
    frames.write_blocking(connection, {"ready": {"landlock": held.landlock}})
    with contextlib.suppress(frames.Broken):
        while True:
            frames.write_blocking(connection, _answer(guest, host, frames.read_blocking(connection)))


def _answer(guest: Guest, host: "_Host", request: dict[str, Any]) -> dict[str, Any]:
    allowance = Allowance(
        request["ms"] / 1000, request["compute_ms"] / 1000, request["memory"], request["output"], request.get("fuel")
    )
    try:
        if "describe" in request:
            host.begin(0, deaf=True)
            return {"ok": guest.describe(allowance)}
        host.begin(request["host_calls"], deaf=False)
        done, text = guest.call(request["call"], allowance)
        return {"ok": text} if done else {"error": text}
    except Fault as fault:
        return {"fault": fault.name, "detail": fault.detail}
    except MemoryError:
        return {"fault": "too-large", "detail": "it wants more memory than it may have"}


def _address_space() -> int:
    """What this process has mapped already, in bytes: Python and the runtime's library."""
    with contextlib.suppress(OSError, ValueError), open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    return 0


class _Host:
    """Host functions as the guest's process has them: questions to the agent, which decides. The counts here only
    keep a loop from being expensive; the agent counts by itself."""

    def __init__(self, connection: int) -> None:
        self._connection = connection
        self._left = 0
        self._lines = 0
        self._deaf = True

    def begin(self, calls: int, *, deaf: bool) -> None:
        """A call begins. While `describe` runs the host is deaf: what it says depends on nothing but the component."""
        self._left = calls
        self._lines = 0
        self._deaf = deaf

    def log(self, level: str, message: str) -> None:
        self._lines += 1
        if self._deaf or self._lines > limits.LOG_LINES + 1:
            return
        if self._lines > limits.LOG_LINES:
            level, message = "warn", f"more than {limits.LOG_LINES} lines: the rest of this call's are dropped"
        frames.write_blocking(self._connection, {"log": [level, message[: limits.LOG_LINE]]})

    def now_ms(self) -> int:
        if self._deaf:
            return 0
        self._count()
        return int(time.time() * 100) * 10

    def kv_get(self, key: str) -> str | None:
        return None if self._deaf else self._ask("kv-get", key).get("value")

    def kv_set(self, key: str, value: str) -> tuple[bool, str]:
        return self._result("kv-set", key, value)

    def http_fetch(self, request: str) -> tuple[bool, str]:
        return self._result("http-fetch", request)

    def _result(self, name: str, *arguments: str) -> tuple[bool, str]:
        if self._deaf:
            return False, "not while it describes itself"
        answer = self._ask(name, *arguments)
        return ("ok" in answer, str(answer.get("ok", answer.get("error", ""))))

    def _ask(self, name: str, *arguments: str) -> dict[str, Any]:
        self._count()
        frames.write_blocking(self._connection, {"host": name, "arguments": list(arguments)})
        return frames.read_blocking(self._connection)

    def _count(self) -> None:
        self._left -= 1
        if self._left < 0:
            raise Fault("host-calls", "it asked the host more often than it may")
