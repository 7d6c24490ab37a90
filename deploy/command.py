"""``opencrust`` in compose: ``docker compose run --rm cli login-link``.

The command finds a running house by the supervisor's lock and status file in OPENCRUST_HOME/run. Here Docker is the
supervisor, so this puts both into a scratch folder while the command runs, and leaves to Docker what is Docker's.
"""

from __future__ import annotations

import fcntl
import json
import os
import signal
import sys
from pathlib import Path

from opencrust_cli.main import main

HOME = Path("/var/lib/opencrust")
INSTEAD = {"up": "up --detach", "down": "down", "status": "ps", "logs": "logs", "doctor": "ps"}


def stand_in(home: Path, url: str, bus_url: str) -> int:
    """Write what a supervisor would; returns the lock's descriptor, to be held open."""
    run = home / "run"
    run.mkdir(mode=0o700, exist_ok=True)
    lock = os.open(run / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    fcntl.flock(lock, fcntl.LOCK_EX)
    os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
    (run / "status.json").write_text(json.dumps({"state": "ready", "url": url, "bus_url": bus_url, "services": {}}))
    return lock


def command() -> int:
    """Run one command; its exit codes are `opencrust`'s."""
    if (asked := next((word for word in sys.argv[1:] if not word.startswith("-")), "")) in INSTEAD:
        print(f"opencrust: here Docker does that: docker compose {INSTEAD[asked]}", file=sys.stderr)  # noqa: T201
        return 2
    for notice in (signal.SIGHUP, signal.SIGUSR1):  # meant for a supervisor; the provisioner sees a change by itself
        signal.signal(notice, signal.SIG_IGN)
    lock = stand_in(HOME, os.environ["OPENCRUST_URL"], os.environ["OPENCRUST_BUS_URL"])
    try:
        return main(sys.argv[1:])
    finally:
        os.close(lock)


if __name__ == "__main__":
    sys.exit(command())
