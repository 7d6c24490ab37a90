"""``opencrust doctor``: what could be wrong with this installation."""

import argparse
import datetime as dt
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import opencrust
from opencrust.config import ConfigError, Configuration
from opencrust.confine import landlock_abi
from opencrust.identity import Identity, IdentityError
from opencrust_cli import channel_checks, people_checks, running
from opencrust_cli.errors import CommandError
from opencrust_cli.findings import Finding, show
from opencrust_cli.home import Home
from opencrust_cli.supervisor import is_free
from opencrust_cli.supervisor_child import is_installed
from opencrust_cli.supervisor_stack import BUS, nats_server
from opencrust_cli.up import GATEWAY_PORT

DOCTOR = """\
Look for what is wrong or weaker than it could be, and say what to do about it. Changes nothing.

exit codes: 0 nothing is wrong · 1 something is"""
_LOW_DISK = 1024**3
_PRIVATE = ("ca", "identity", "vault", "config", "run", "state", "log", "bus")


def register(commands: Any) -> None:
    """Add the command to the parser."""
    form = argparse.RawDescriptionHelpFormatter
    parser = commands.add_parser("doctor", help="look for what is wrong", description=DOCTOR, formatter_class=form)
    parser.add_argument("--json", action="store_true", help='{"findings": [{"name", "ok", "detail", "advice"}]}')
    parser.set_defaults(run=_doctor)


def _doctor(options: argparse.Namespace) -> int:
    return show(examine(options.home), as_json=options.json)


def examine(home: Home) -> Iterator[Finding]:
    """Everything that is looked at."""
    python = ".".join(map(str, sys.version_info[:3]))
    yield Finding("version", True, f"OpenCrust {opencrust.__version__}, Python {python}, {sys.platform}")
    yield _landlock()
    yield _bus_binary()
    if not home.path.exists():
        yield Finding("home", None, f"{home.path} does not exist yet", "`opencrust up` makes it")
        return
    yield from _modes(home)
    yield _disk(home)
    yield _configuration(home)
    yield from _certificates(home)
    yield from _running(home)
    yield from _vault(home)
    if running.find(home) is not None:
        yield from people_checks.look(home)
        yield from _channels(home)


def _landlock() -> Finding:
    abi = landlock_abi()
    if abi == 0:
        return Finding(
            "landlock", None, "this kernel does not have it: services can read each other's files", "use Linux ≥ 5.13"
        )
    return Finding("landlock", True if abi >= 6 else None, f"ABI {abi}")


def _bus_binary() -> Finding:
    try:
        binary = nats_server()
        shown = subprocess.run([binary, "--version"], capture_output=True, text=True, timeout=10, check=True)  # noqa: S603
    except (CommandError, OSError, subprocess.SubprocessError) as error:
        return Finding("nats-server", False, str(error), "run ./install.sh again")
    return Finding("nats-server", True, f"{shown.stdout.strip()} ({binary})")


def _modes(home: Home) -> Iterator[Finding]:
    wrong = []
    if home.path.stat().st_uid != os.geteuid():
        yield Finding("home", False, f"{home.path} is another user's", "run opencrust as its owner")
        return
    roots = [home.path, *(home.path / name for name in _PRIVATE)]
    for root in roots:
        for path in [root, *(root.rglob("*") if root != home.path else ())]:
            if not path.is_symlink() and path.exists() and path.stat().st_mode & 0o077:
                wrong.append(path)
    if wrong:
        listed = ", ".join(str(path.relative_to(home.path)) or "." for path in wrong[:5])
        yield Finding(
            "modes", False, f"others may read {len(wrong)} of {home.path}: {listed}", f"chmod -R go= {home.path}"
        )
    else:
        yield Finding("modes", True, f"{home.path} is yours alone")


def _disk(home: Home) -> Finding:
    free = shutil.disk_usage(home.path).free
    if free < _LOW_DISK:
        return Finding("disk", False, f"{free // 1024**2} MiB free", "the bus stops taking messages when it is full")
    return Finding("disk", True, f"{free // 1024**3} GiB free")


def _configuration(home: Home) -> Finding:
    try:
        configuration = Configuration.load(home.path)
    except ConfigError as error:
        return Finding(
            "configuration", False, str(error), "correct it, then `opencrust up` or SIGHUP to the supervisor"
        )
    if not configuration.providers:
        return Finding(
            "providers",
            None,
            "none: the offline demo model answers, if it is installed",
            "`opencrust providers add --help`; the demo model: `./install.sh --demo`",
        )
    return Finding("providers", True, ", ".join(provider.name for provider in configuration.providers))


def _certificates(home: Home) -> Iterator[Finding]:
    now = dt.datetime.now(dt.UTC)
    directories = [path for path in sorted((home.path / "identity").glob("*")) if path.name != BUS]
    late, broken = [], []
    for directory in directories:
        try:
            if Identity(directory).certificate.not_valid_after_utc <= now:
                late.append(directory.name)
        except IdentityError as error:
            broken.append(str(error))
    if broken:
        yield Finding("certificates", False, "; ".join(broken), "`opencrust up` makes them anew")
    elif late:
        yield Finding("certificates", None, f"expired: {', '.join(late)}", "`opencrust up` renews them")
    elif directories:
        yield Finding("certificates", True, f"{len(directories)} valid")


def _running(home: Home) -> Iterator[Finding]:
    if running.find(home) is None:
        free = is_free(GATEWAY_PORT)
        advice = "" if free else "`opencrust up --port N` takes another"
        yield Finding("port", True if free else None, f"{GATEWAY_PORT} is {'free' if free else 'taken'}", advice)
        yield Finding("services", None, "not running", "`opencrust up` starts them")
        return
    status = running.ask_status(home)
    late = [name for name, service in status["services"].items() if not service["ready"]]
    if late:
        yield Finding("services", False, f"not ready: {', '.join(late)}", f"opencrust logs {late[0]}")
    else:
        yield Finding("services", True, f"{len(status['services'])} ready at {status['url']}")


def _channels(home: Home) -> Iterator[Finding]:
    try:
        channels = Configuration.load(home.path).channels
    except ConfigError:
        return  # said above
    yield from channel_checks.look(home, channels)


def _vault(home: Home) -> Iterator[Finding]:
    if not is_installed("vault"):
        yield Finding("vault", None, "not installed", "run ./install.sh again")
        return
    from opencrust_cli import vault_checks

    # A doctor asks nothing: a vault that does not run is looked at from outside.
    for finding in vault_checks.examine(home.path, inside=running.find(home) is not None):
        yield finding if finding.name == "vault" else replace(finding, name=f"vault, {finding.name}")
