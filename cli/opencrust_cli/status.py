"""``opencrust status`` and ``opencrust logs``."""

import argparse
import contextlib
import json
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

from opencrust.bus.survey import Report, survey
from opencrust.config import ChannelSettings, ConfigError, Configuration
from opencrust_cli import channel_checks, provider_checks, running
from opencrust_cli.bus import with_bus
from opencrust_cli.errors import EXIT_NOT_RUNNING, EXIT_OK, CommandError
from opencrust_cli.home import Home
from opencrust_cli.provider_checks import AGENT
from opencrust_cli.supervisor_log import TAIL_LINES, Terminal

STATUS = """\
Show every service: its state, process id, memory (PSS: pages that processes share are counted in part), and whether it
is ready; what this machine's kernel cannot enforce; and, below it, channels that are not connected, and model providers
that are out of use after failures: since when, why, and when they are tried again.

exit codes: 0 everything is ready · 1 something is not · 3 OpenCrust is not running"""
LOGS = """\
Show the last lines of one service's log, or of all. The files are in OPENCRUST_HOME/log."""


def register(commands: Any) -> None:
    """Add the commands to the parser."""
    form = argparse.RawDescriptionHelpFormatter
    status = commands.add_parser("status", help="what runs", description=STATUS, formatter_class=form)
    status.add_argument(
        "--json",
        action="store_true",
        help='{"services": {name: {"state", "pid", "pss_kib", "ready", …}}, "providers": [{"provider", "state", '
        '"open_for", "retry_in", …}], …}; durations in seconds',
    )
    status.set_defaults(run=_status)
    logs = commands.add_parser("logs", help="what services wrote", description=LOGS)
    logs.add_argument("service", nargs="?", help="only this one, e.g. agent")
    logs.add_argument("-f", "--follow", action="store_true", help="go on with what comes, until Ctrl-C")
    logs.add_argument("-n", "--lines", type=int, default=TAIL_LINES, help=f"how many (default {TAIL_LINES})")
    logs.set_defaults(run=_logs)


def _status(options: argparse.Namespace) -> int:
    home: Home = options.home
    if running.find(home) is None:
        if options.json:
            print(json.dumps({"services": {}, "state": "stopped"}))
        else:
            print("OpenCrust is not running: start it with `opencrust up`.")
        return EXIT_NOT_RUNNING
    status = running.ask_status(home)
    channels, reports = _ask(home, status)
    providers = provider_checks.standings(reports)
    if options.json:
        print(json.dumps({**status, "providers": [standing.model_dump() for standing in providers]}))
    else:
        print(table(status))
        below = channel_checks.lines(channels, reports) + provider_checks.lines(providers, datetime.now().astimezone())
        for line in below:
            print(line)
    return EXIT_OK if status["state"] == "ready" else 1


def _ask(home: Home, status: dict[str, Any]) -> tuple[tuple[ChannelSettings, ...], list[Report]]:
    """What channels and agents say of themselves; nothing where they cannot be asked: the table says what runs."""
    if status["services"].get("bus", {}).get("state") != "ready":
        return (), []
    try:
        channels = Configuration.load(home.path).channels
    except ConfigError:
        channels = ()
    try:
        services = [AGENT, *(f"channel-{channel.name}" for channel in channels)]
        return channels, with_bus(home, lambda bus: survey(bus, services))
    except CommandError:
        return (), []


def table(status: dict[str, Any]) -> str:
    """The status for a person."""
    rows = [("SERVICE", "STATE", "PID", "PSS", "STARTS", "")]
    supervisor = status["supervisor"]
    described = {"supervisor": {**supervisor, "state": status["state"], "starts": 1}, **status["services"]}
    for name, service in described.items():
        size = "" if service["pss_kib"] is None else f"{service['pss_kib'] / 1024:.1f} MiB"
        note = f"last: {service['last_exit']}" if service.get("last_exit") else ""
        rows.append((name, service["state"], str(service["pid"] or ""), size, str(service["starts"]), note))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    total = status.get("pss_kib")
    lines += ["", f"{status['url']}" + ("" if total is None else f"   {total / 1024:.0f} MiB in all")]
    lines += [f"not enforced: {text}" for text in status.get("not_enforced", [])]
    return "\n".join(lines)


def _logs(options: argparse.Namespace) -> int:
    home: Home = options.home
    files = sorted(path for path in home.logs.glob("*.log"))
    if options.service:
        known = [path.stem for path in files]
        files = [path for path in files if path.stem == options.service]
        if not files:
            raise CommandError(f"there is no log of {options.service!r}; there are: {', '.join(known) or 'none'}")
    view = Terminal.stdout()
    for path in files:
        for line in path.read_bytes().splitlines()[-options.lines :]:
            view.show(path.stem, line)
    if options.follow:
        with contextlib.suppress(KeyboardInterrupt):
            for path, line in _follow(files):
                view.show(path.stem, line)
    return EXIT_OK


def _follow(files: list[Path]) -> Iterator[tuple[Path, bytes]]:
    """New lines of `files` as they come, for ever; a rotated file is opened anew."""
    positions = {path: path.stat().st_size for path in files}
    while True:
        for path in files:
            with contextlib.suppress(FileNotFoundError), path.open("rb") as file:
                if path.stat().st_size < positions[path]:
                    positions[path] = 0
                file.seek(positions[path])
                for line in file:
                    if line.endswith(b"\n"):
                        positions[path] += len(line)
                        yield path, line.rstrip(b"\n")
        time.sleep(0.2)
