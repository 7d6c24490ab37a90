"""Whether a supervisor runs in a home, and what it says about its services."""

import fcntl
import json
import os
import signal
import time
from dataclasses import dataclass
from typing import Any

from opencrust.identity.files import PRIVATE_FILE, make_private_directory
from opencrust_cli.errors import CommandError, NotRunning
from opencrust_cli.home import Home

ANSWER_SECONDS = 2.0


class AlreadyRunning(CommandError):
    """Another supervisor has the lock."""


class Lock:
    """The right to be the one supervisor of a home, held until the process ends."""

    def __init__(self, home: Home) -> None:
        make_private_directory(home.run)
        self._descriptor = os.open(home.lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, PRIVATE_FILE)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            pid = os.pread(self._descriptor, 32, 0).decode("ascii", "replace").strip()
            os.close(self._descriptor)
            raise AlreadyRunning(
                f"OpenCrust already runs in {home.path} ({f'process {pid}' if pid else 'it begins just now'}): see "
                "`opencrust status`, or stop it with `opencrust down`"
            ) from None
        os.ftruncate(self._descriptor, 0)
        os.pwrite(self._descriptor, f"{os.getpid()}\n".encode(), 0)


@dataclass(frozen=True, slots=True)
class Running:
    """A supervisor that runs now."""

    pid: int

    def send(self, number: signal.Signals) -> None:
        try:
            os.kill(self.pid, number)
        except ProcessLookupError:
            raise NotRunning from None
        except PermissionError:
            raise CommandError(f"process {self.pid} is another user's: run opencrust as that user") from None


def find(home: Home) -> Running | None:
    """The supervisor of `home`, if one runs."""
    try:
        descriptor = os.open(home.lock, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        text = os.pread(descriptor, 32, 0).decode("ascii", "replace").strip()
        return Running(int(text)) if text.isdigit() else None
    finally:
        os.close(descriptor)
    return None


def require(home: Home) -> Running:
    """The supervisor of `home`.

    Raises:
        NotRunning: there is none.
    """
    running = find(home)
    if running is None:
        raise NotRunning
    return running


def read_status(home: Home) -> dict[str, Any]:
    """What the supervisor wrote last; empty if nothing."""
    try:
        status = json.loads(home.status.read_text())
    except (FileNotFoundError, json.JSONDecodeError):
        return {}
    return status if isinstance(status, dict) else {}


def ask_status(home: Home) -> dict[str, Any]:
    """Have the running supervisor measure and write its status anew, and read that.

    Raises:
        NotRunning: there is no supervisor.
    """
    running = require(home)
    before = read_status(home).get("written")
    running.send(signal.SIGUSR1)
    deadline = time.monotonic() + ANSWER_SECONDS
    while True:
        status = read_status(home)
        if status and status.get("written") != before:
            return status
        if time.monotonic() > deadline:
            if find(home) is None:
                raise NotRunning
            raise CommandError(
                f"the supervisor (process {running.pid}) does not answer: is the disk full? `opencrust doctor` looks"
            )
        time.sleep(0.01)
