"""``opencrust up`` and ``opencrust down``."""

import argparse
import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from opencrust.config import ConfigError
from opencrust.environment import unlock_key_in
from opencrust.identity.files import make_private_directory
from opencrust_cli import demo_channels, running
from opencrust_cli.errors import EXIT_NOT_RUNNING, EXIT_OK, EXIT_USAGE, CommandError
from opencrust_cli.home import Home
from opencrust_cli.login import print_login_link
from opencrust_cli.supervisor import is_free
from opencrust_cli.supervisor_child import interpreter
from opencrust_cli.supervisor_log import TAIL_LINES, render
from opencrust_cli.supervisor_stack import VAULT_ALONE, clean, nats_server

GATEWAY_PORT = 3888
READY_SECONDS = 30.0
STOP_SECONDS = 60.0
_LOWEST_PORT = 1024

UP = """\
Start OpenCrust on this machine: the bus (nats-server), and each service as a process of its own, confined to its own
files. What dies is started again. When everything is ready one login link is printed: open it in a browser, it works
once and for ten minutes. Stop with Ctrl-C, or `opencrust down`.

examples:
  opencrust up                    in this terminal, with the log of every service
  opencrust up --detach           in the background; returns when everything is ready
  opencrust up --port 8080        the web page on another port"""
DOWN = """\
Stop OpenCrust: first what takes messages in, then the agent, the vault, and the bus. Each gets 10 seconds to finish
what it is doing. Nothing is lost: messages that were accepted are answered after the next `opencrust up`."""


def register(commands: Any) -> None:
    """Add the commands to the parser."""
    form = argparse.RawDescriptionHelpFormatter
    up = commands.add_parser("up", help="start everything", description=UP, formatter_class=form)
    up.add_argument("--detach", action="store_true", help="run in the background; return when ready")
    up.add_argument(
        "--port", type=int, default=GATEWAY_PORT, help=f"port of the web page on 127.0.0.1 (default {GATEWAY_PORT})"
    )
    up.add_argument(
        "--no-fork", action="store_true", help="a fresh Python for each service: slower to start, and more memory"
    )
    up.add_argument(
        "--demo-channels", action="store_true", help="also simulated channels, to try them without an account"
    )
    up.add_argument(
        "--unattended", action="store_true", help="for systemd and launchd: stay in the foreground, print no login link"
    )
    up.set_defaults(run=_up)
    down = commands.add_parser("down", help="stop everything", description=DOWN, formatter_class=form)
    down.set_defaults(run=_down)


def _up(options: argparse.Namespace) -> int:
    home: Home = options.home
    _check_unlock_key()
    if not _LOWEST_PORT <= options.port < 65536:
        raise CommandError(f"--port must be a number from {_LOWEST_PORT} to 65535", EXIT_USAGE)
    home.require_own()
    nats_server()
    running_now = running.find(home)
    if running_now is not None:
        raise running.AlreadyRunning(
            f"OpenCrust already runs in {home.path} (process {running_now.pid}): `opencrust status` shows more, "
            "`opencrust login-link` makes a new link, `opencrust down` stops it"
        )
    if not is_free(options.port):  # after the look for our own, which would be the one that has it
        raise CommandError(
            f"port {options.port} on 127.0.0.1 is taken by another program: choose one with `opencrust up --port N`"
        )
    argv = [*interpreter(), "-m", "opencrust_cli.supervisor", "--home", str(home.path), "--port", str(options.port)]
    if options.no_fork or not sys.platform.startswith("linux"):
        argv.append("--no-fork")
    if options.demo_channels:
        demo_channels.require()
        argv.append("--simulators")
        for demo in demo_channels.DEMOS.values():
            if not is_free(demo.port):
                raise CommandError(f"port {demo.port} on 127.0.0.1, where a simulator would listen, is taken")
        try:
            demo_channels.configure(home)
        except ConfigError as error:
            raise CommandError(str(error)) from None
        print(demo_channels.told())
    else:
        _forget_demo(home)
    environment = _environment()
    if options.detach:
        return _detach(home, [*argv, "--quiet"], environment)
    if options.unattended:
        argv.append("--quiet")
    sys.stdout.flush()
    os.execve(sys.executable, argv, environment)  # noqa: S606 - our own module, no shell


def _forget_demo(home: Home) -> None:
    with contextlib.suppress(ConfigError):  # the provisioner says what is wrong with the configuration
        demo_channels.forget(home)


def _check_unlock_key() -> None:
    name = unlock_key_in(os.environ)
    if name is not None:
        raise CommandError(
            f"{name} is set: an unlock key in an environment variable can be read by others. Unset it, and name a file "
            "that holds the key in OPENCRUST_VAULT_KEY_FILE"
        )
    named = os.environ.get("OPENCRUST_VAULT_KEY_FILE")
    if named and not Path(named).is_file():
        raise CommandError(
            f"OPENCRUST_VAULT_KEY_FILE names {named}, which is not a file. `opencrust vault init` makes it "
            "together with a new vault; for a vault that has its key elsewhere, unset the variable"
        )


def _environment() -> dict[str, str]:
    environment = clean(os.environ)
    # Services have other working directories.
    environment |= {name: str(Path(os.environ[name]).absolute()) for name in VAULT_ALONE if os.environ.get(name)}
    if "PYTHONPATH" in environment:
        parts = environment["PYTHONPATH"].split(os.pathsep)
        environment["PYTHONPATH"] = os.pathsep.join(str(Path(part).absolute()) for part in parts if part)
    return environment


def _detach(home: Home, argv: list[str], environment: dict[str, str]) -> int:
    said = make_private_directory(home.run) / "supervisor.err"  # stays behind: what a crash says later is found there
    with open(said, "wb", opener=_private) as stderr:
        process = subprocess.Popen(  # noqa: S603 - our own module, no shell
            argv,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=stderr,
            start_new_session=True,
            cwd="/",
        )
    deadline = time.monotonic() + READY_SECONDS
    while time.monotonic() < deadline:
        status = _status_of(home, process.pid)
        if process.poll() is not None:
            words = said.read_text("utf-8", "replace").strip().removeprefix("opencrust: ")
            reason = status.get("failed") or words or f"the supervisor ended with code {process.returncode}"
            raise CommandError(_why(home, status, reason) if status else reason)
        if status.get("state") == "ready":
            print(f"OpenCrust runs: {status['url']}")
            print_login_link(home)
            return EXIT_OK
        time.sleep(0.02)
    status = _status_of(home, process.pid)
    late = [name for name, service in status.get("services", {}).items() if not service["ready"]]
    reason = f"not ready after {READY_SECONDS:.0f} s: {', '.join(late) or 'nothing has started'}"
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
    raise CommandError(_why(home, status, reason))


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _status_of(home: Home, pid: int) -> dict[str, Any]:
    """The status, if it is this supervisor's; not one that an earlier or another one wrote."""
    status = running.read_status(home)
    return status if status.get("supervisor", {}).get("pid") == pid else {}


def _why(home: Home, status: dict[str, Any], reason: str) -> str:
    """The reason, and the last lines of whoever is not ready."""
    services = status.get("services", {})
    suspects = [name for name, service in services.items() if not service["ready"]] or ["provisioner", "supervisor"]
    lines = [reason]
    for name in suspects:
        try:
            tail = home.log(name).read_bytes().splitlines()[-TAIL_LINES // 4 :]
        except FileNotFoundError:
            continue
        lines += [render(name, line, None) for line in tail]
    return "\n".join(lines)


def _down(options: argparse.Namespace) -> int:
    home: Home = options.home
    supervisor = running.find(home)
    if supervisor is None:
        print("OpenCrust is not running.")
        return EXIT_NOT_RUNNING
    supervisor.send(signal.SIGTERM)
    deadline = time.monotonic() + STOP_SECONDS
    while running.find(home) is not None:
        if time.monotonic() > deadline:
            raise CommandError(f"the supervisor (process {supervisor.pid}) does not end: see {home.log('supervisor')}")
        time.sleep(0.02)
    print("OpenCrust is stopped.")
    return EXIT_OK
