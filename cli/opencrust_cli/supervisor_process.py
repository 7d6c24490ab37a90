"""One supervised process: started, listened to, restarted with back-off, measured, ended."""

import contextlib
import json
import os
import signal
import socket
import sys
import time
from collections.abc import Callable
from enum import StrEnum
from typing import Any

from opencrust_cli.supervisor_child import become
from opencrust_cli.supervisor_log import Lines
from opencrust_cli.supervisor_program import Program

FIRST_PAUSE = 0.1
LONGEST_PAUSE = 10.0
SETTLED_SECONDS = 30.0
"""Who lived as long starts again without delay when it dies."""
EXIT_SETTINGS = 78
"""The service says that starting it again will not help; it is tried again all the same, but slowly."""
_CHUNK = 64 * 1024


class State(StrEnum):
    """Where a process stands, as ``opencrust status`` shows it."""

    STARTING = "starting"
    READY = "ready"
    WAITING = "waiting"
    """It died, and is started again after a pause."""
    STOPPING = "stopping"
    STOPPED = "stopped"


def next_pause(previous: float, lived: float, code: int) -> float:
    """Seconds to wait before a process that ended with `code` after `lived` seconds is started again.

    The first time 0.1 s, then twice the `previous` pause up to 10 s; from the beginning again after 30 s of life.
    """
    if code == EXIT_SETTINGS:
        return LONGEST_PAUSE
    if previous == 0.0 or lived >= SETTLED_SECONDS:
        return FIRST_PAUSE
    return min(previous * 2, LONGEST_PAUSE)


class Process:
    """One program and its present process, if it has one.

    Parameters:
        program: what to run.
        sink: where the lines of its output go.
        watch, unwatch: have the supervisor's loop call back when a descriptor can be read, or no longer.
        changed: called when anything changed that the status shows.
        keep: start it again when it ends.
        on_ready, on_end: called each time it becomes ready, and each time it ends, with its exit code.
    """

    def __init__(
        self,
        program: Program,
        *,
        sink: Callable[[bytes], None],
        watch: Callable[[int, Callable[[], None]], None],
        unwatch: Callable[[int], None],
        changed: Callable[[], None],
        fork: bool,
        keep: bool = True,
        on_ready: Callable[[], None] | None = None,
        on_end: Callable[[int], None] | None = None,
    ) -> None:
        self.program = program
        self.state = State.STOPPED
        self.pid: int | None = None
        self.starts = 0
        self.last_exit: str | None = None
        self.start_due: float | None = None
        self.kill_due: float | None = None
        self.confinement: dict[str, Any] | None = None
        self._sink = sink
        self._watch = watch
        self._unwatch = unwatch
        self._changed = changed
        self._fork = fork
        self._keep = keep
        self._on_ready = on_ready
        self._on_end = on_end
        self._started = 0.0
        self._pause = 0.0
        self._output: int | None = None
        self._lines = Lines()
        self._notify: socket.socket | None = None
        self._said = Lines()
        self._memory: int | None = None

    @property
    def name(self) -> str:
        return self.program.name

    @property
    def is_alive(self) -> bool:
        return self.pid is not None

    # -- life and death

    def start(self) -> None:
        """Start a new process."""
        output, child_output = os.pipe2(os.O_CLOEXEC) if hasattr(os, "pipe2") else os.pipe()
        self._notify, child_notify = socket.socketpair()
        # What is buffered would be written twice, by the child too.
        sys.stdout.flush()
        sys.stderr.flush()
        parent = os.getpid()
        pid = os.fork()
        if pid == 0:
            become(self.program, parent, child_output, child_notify.fileno(), fork=self._fork)
        os.close(child_output)
        child_notify.close()
        os.set_blocking(output, False)
        self._notify.setblocking(False)
        self.pid, self._output = pid, output
        self._watch(output, self._read_output)
        self._watch(self._notify.fileno(), self._read_notify)
        self._started = time.monotonic()
        self.starts += 1
        self.start_due = None
        self.state = State.STARTING
        self._changed()

    def stop(self, grace: float) -> None:
        """Ask it to end; it is killed if it has not after `grace` seconds."""
        self._keep = False
        self.start_due = None
        if self.pid is None:
            self.state = State.STOPPED
        else:
            self.state = State.STOPPING
            self.kill_due = time.monotonic() + grace
            os.kill(self.pid, signal.SIGTERM)
        self._changed()

    def kill(self) -> None:
        """End it now, with everything that it started."""
        if self.pid is not None:
            self._kill_group(self.pid)
            self.kill_due = None

    def restart(self, grace: float) -> None:
        """Ask it to end, and start it again; it is killed if it has not ended after `grace` seconds."""
        if self.pid is not None and self.kill_due is None:
            self.kill_due = time.monotonic() + grace
            os.kill(self.pid, signal.SIGTERM)

    def hang_up(self) -> None:
        """SIGHUP: read your configuration again."""
        if self.pid is not None:
            os.kill(self.pid, signal.SIGHUP)

    def try_again(self) -> None:
        """Start now if it is waiting."""
        if self.state is State.WAITING:
            self._pause = 0.0
            self.start_due = time.monotonic()

    def reap(self) -> None:
        """Notice the end of the process, if it has ended."""
        pid = self.pid
        if pid is None or os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
            return
        # Before its number can be given to another process: whatever it started goes too.
        self._kill_group(pid)
        _, status = os.waitpid(pid, 0)
        self._close()
        self.pid = None
        self.kill_due = None
        self._ended(os.waitstatus_to_exitcode(status))

    def tick(self, now: float) -> None:
        """Do what is due: start it again, or kill what did not end."""
        if self.kill_due is not None and now >= self.kill_due:
            self.say(f"did not stop in time, killing process {self.pid}")
            self.kill()
        if self.start_due is not None and now >= self.start_due:
            self.start()

    @property
    def due(self) -> float | None:
        """When `tick` has something to do."""
        return min((moment for moment in (self.kill_due, self.start_due) if moment is not None), default=None)

    def _ended(self, code: int) -> None:
        lived = time.monotonic() - self._started
        self.last_exit = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
        if self._keep:
            self._pause = next_pause(self._pause, lived, code)
            self.start_due = time.monotonic() + self._pause
            self.state = State.WAITING
            self.say(f"ended after {lived:.1f} s with {self.last_exit}, starting again in {self._pause:g} s")
        else:
            self.state = State.STOPPED
        self._changed()
        if self._on_end is not None:
            self._on_end(code)

    @staticmethod
    def _kill_group(pid: int) -> None:
        # Just after the fork the group may not exist yet.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(pid, signal.SIGKILL)
            return
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)

    def _close(self) -> None:
        self._read_output()
        if self._output is not None:
            self._end_output()
        if self._notify is not None:
            self._end_notify()
        if self._memory is not None:
            os.close(self._memory)
            self._memory = None

    # -- what it says

    def say(self, text: str) -> None:
        """A line of the supervisor's own about this process."""
        self._sink(f"[supervisor] {text}".encode())

    def _read_output(self) -> None:
        while self._output is not None:
            try:
                data = os.read(self._output, _CHUNK)
            except BlockingIOError:
                return
            for line in self._lines.feed(data) if data else self._lines.end():
                self._sink(line)
                if self.program.ready_line and self.program.ready_line in line.decode("utf-8", "replace"):
                    self._ready()
            if not data:
                self._end_output()

    def _end_output(self) -> None:
        assert self._output is not None
        self._unwatch(self._output)
        os.close(self._output)
        self._output = None

    def _read_notify(self) -> None:
        assert self._notify is not None
        try:
            data, descriptors, _, _ = socket.recv_fds(self._notify, 4096, 1)
        except BlockingIOError:
            return
        except ConnectionResetError:
            data, descriptors = b"", []
        for descriptor in descriptors:
            if self._memory is not None:
                os.close(self._memory)
            self._memory = descriptor
        for line in self._said.feed(data):
            self._heard(line.decode("utf-8", "replace"))
        if not data:
            self._end_notify()

    def _heard(self, line: str) -> None:
        word, _, rest = line.partition(" ")
        if word == "READY":
            self._ready()
        elif word == "CONFINED":
            with contextlib.suppress(ValueError):
                self.confinement = json.loads(rest)

    def _ready(self) -> None:
        if self.state is State.STARTING:
            self.state = State.READY
            self._changed()
            if self._on_ready is not None:
                self._on_ready()

    def _end_notify(self) -> None:
        assert self._notify is not None
        self._unwatch(self._notify.fileno())
        self._notify.close()
        self._notify = None

    # -- what it costs

    def pss_kib(self) -> int | None:
        """Proportional memory of the process in KiB; None if it cannot be known."""
        if self.pid is None:
            return None
        try:
            if self._memory is not None:
                text = os.pread(self._memory, 4096, 0)
            else:
                with open(f"/proc/{self.pid}/smaps_rollup", "rb") as file:
                    text = file.read()
        except OSError:
            return None
        return _pss(text)

    def describe(self) -> dict[str, Any]:
        """For the status file."""
        return {
            "state": self.state.value,
            "pid": self.pid,
            "pss_kib": self.pss_kib(),
            "ready": self.state is State.READY,
            "starts": self.starts,
            "last_exit": self.last_exit,
            "landlock": self.confinement["landlock"] if self.confinement else None,
            "not_enforced": self.confinement["missing"] if self.confinement else [],
        }


def _pss(smaps_rollup: bytes) -> int | None:
    for line in smaps_rollup.splitlines():
        if line.startswith(b"Pss:"):
            return int(line.split()[1])
    return None
