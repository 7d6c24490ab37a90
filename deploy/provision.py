"""The provisioner in compose: prepare, hand over, apply.

On one machine all services share a disk, and the certificates in OPENCRUST_HOME are readable by one user. In compose
each service has its own user and sees only its own volume. So after ``prepare`` this copies each identity into its
volume, mounted here as ``/deliver/<name>``: a folder with the setgid bit whose group is that service's, so that a
file of mode 0640 is readable by the provisioner and that one service. No root and no capability is needed.
The bus's volume also gets ``nats.conf``. Only then does ``apply`` tell the server to read its files again.

All of it again every hour, and when the configuration changes.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import sys
import time
from pathlib import Path

from opencrust import telemetry

HOME = Path("/var/lib/opencrust")
DELIVER = Path("/deliver")
PREPARED = Path("/state/prepared")
"""The health check looks at this: the bus's files are there."""
EVERY = 3600.0
RETRY = 2.0
BUS = "tls://nats:4222"
PREPARE = ("prepare", "--home", str(HOME), "--listen", "0.0.0.0:4222", "--hostname", "nats")
APPLY = ("apply", "--home", str(HOME), "--bus-url", BUS, "--timeout", "20")

log = logging.getLogger("opencrust.deploy")


def hand_over(home: Path, deliver: Path) -> list[str]:
    """Copy each identity into the folder of its name below ``deliver``, where there is one. Returns what changed."""
    changed = []
    for folder in sorted(path for path in deliver.iterdir() if path.is_dir()):
        files = {name: home / "identity" / folder.name / name for name in ("ca.pem", "key.pem", "cert.pem")}
        if folder.name == "bus":
            files["nats.conf"] = home / "bus" / "nats.conf"
        copied = [name for name, source in files.items() if _copy(source, folder / name)]
        if copied:
            changed.append(folder.name)
    return changed


def _copy(source: Path, target: Path) -> bool:
    wanted = source.read_bytes()
    if target.exists() and target.read_bytes() == wanted:
        return False
    temporary = target.with_name(f".{target.name}.new")
    temporary.unlink(missing_ok=True)
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o640)
    with os.fdopen(descriptor, "wb") as file:
        os.fchmod(descriptor, 0o640)  # whatever the umask says; the group is the folder's
        file.write(wanted)
        file.flush()
        os.fsync(descriptor)
    temporary.replace(target)
    return True


async def _run(*arguments: str) -> dict[str, object] | None:
    """One step of the provisioner, in a process that ends with it: the authority's key stays in no memory. None if it
    failed (it has said why on stderr)."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-I", "-m", "opencrust_provisioner", *arguments, stdout=asyncio.subprocess.PIPE
    )
    said, _ = await process.communicate()
    return json.loads(said) if process.returncode == 0 else None


def _stamp(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size


async def main() -> None:
    telemetry.configure("provisioner", log_level=os.environ.get("OPENCRUST_LOG_LEVEL", "info"))
    stopping = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopping.set)
    configuration = HOME / "config" / "config.json"
    reload = False
    while not stopping.is_set():
        before = _stamp(configuration)
        pause = RETRY
        prepared = await _run(*PREPARE)
        if prepared is not None:
            changed = hand_over(HOME, DELIVER)
            if changed:
                log.info("handed over", extra={"identities": changed})
            reload = reload or bool(prepared["reload"]) or "bus" in changed
            PREPARED.touch()  # noqa: ASYNC240  a file in memory
            applied = await _run(*APPLY, *(["--reload"] if reload else []))
            if applied is not None:
                log.info("applied: %s", json.dumps(applied))
                reload, pause = False, EVERY
        until = time.monotonic() + pause
        while time.monotonic() < until and _stamp(configuration) == before:
            if stopping.is_set():
                break
            await asyncio.sleep(0.5)


if __name__ == "__main__":
    asyncio.run(main())
