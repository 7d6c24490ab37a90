"""The supervisor: one single-threaded process that starts the stack, watches it, and takes it down in order.

It is started by ``opencrust up`` with a clean environment, so that ``/proc/<pid>/environ`` of what it forks holds
nothing of the person's shell. It knows no secret: certificates and ``nats.conf`` are made by the provisioner, which
runs as a process of its own, and the login link by another.

    prepare (certificates, nats.conf) → nats-server → apply (streams, configuration) → services → login link

SIGTERM, SIGINT: stop everything, in order; twice: at once. SIGHUP: the configuration changed. SIGUSR1: measure, and
write ``run/status.json``, which is also written at every change.
"""

import argparse
import contextlib
import fnmatch
import gc
import importlib
import json
import os
import selectors
import shutil
import signal
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TextIO

import opencrust
from opencrust.config import ConfigError, Configuration
from opencrust.confine import landlock_abi
from opencrust.identity.files import make_private_directory, write_private
from opencrust_cli.errors import EXIT_FAILED, EXIT_OK, CommandError
from opencrust_cli.home import Home
from opencrust_cli.running import Lock
from opencrust_cli.supervisor_child import entry_module
from opencrust_cli.supervisor_disk import FullDisk
from opencrust_cli.supervisor_log import LogFile, Terminal
from opencrust_cli.supervisor_process import Process, State
from opencrust_cli.supervisor_program import Program
from opencrust_cli.supervisor_stack import BUS, PROVISIONER, SIMULATED, STOP_ORDER, Stack
from opencrust_cli.supervisor_watch import WATCH_SECONDS, ConfigurationWatch

GRACE_SECONDS = 10.0
RENEWAL_SECONDS = 6 * 3600.0
"""Certificates live 24 h and are renewed past half of that, so four rounds may fail before one expires."""
TURNED_AWAY = 75
"""Exit code of a service whose certificate the bus refuses."""


class Supervisor:
    """The running stack.

    Parameters:
        stack: what to run.
        fork: fork services from this preloaded process, instead of starting a fresh Python for each.
        terminal: where people read along, or None.
        announce: print a login link on stdout once everything is ready.
    """

    def __init__(self, stack: Stack, *, fork: bool, terminal: TextIO | None, announce: bool) -> None:
        self._stack = stack
        self._home = stack.home
        self._fork = fork
        self._announce = announce
        self._configuration = ConfigurationWatch(stack.home)
        self._selector = selectors.DefaultSelector()
        self._callbacks: dict[int, Callable[[], None]] = {}
        self._log = LogFile(self._home.log("supervisor"))
        self._terminal = Terminal(terminal, colour=terminal is not None and _wants_colour(terminal))
        self._logs: dict[str, LogFile] = {}
        self._names = stack.services()
        self._services: dict[str, Process] = {}
        self._jobs: list[Process] = []
        self._stopping: list[list[Process]] | None = None
        self._dirty = True
        self._unwritten = False
        self._disk = FullDisk(lambda: shutil.disk_usage(self._home.path).free)
        self._started = time.time()
        self._renewal_due = 0.0
        self._was_ready = False
        self._failed: str | None = None

    # -- the loop

    def run(self) -> int:
        """Run until told to stop; returns the exit code."""
        wake, wake_end = socket.socketpair()
        wake.setblocking(False)
        wake_end.setblocking(False)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGCHLD):
            signal.signal(number, lambda *_: None)
        signal.set_wakeup_fd(wake_end.fileno(), warn_on_full_buffer=False)
        self._watch(wake.fileno(), lambda: self._signalled(wake))
        self._prepare(then=self._start_bus)
        while not self._is_over():
            self._write_status()
            for key, _ in self._selector.select(self._sleep()):
                # An earlier callback of this round may have closed it.
                if callback := self._callbacks.get(key.fd):
                    callback()
            self._tick()
        self._write_status()
        return EXIT_FAILED if self._failed else EXIT_OK

    def _is_over(self) -> bool:
        alive = any(process.is_alive for process in (*self._services.values(), *self._jobs))
        return self._stopping == [] and not alive

    def _sleep(self) -> float:
        """Never long: files are watched, and the renewal's clock is the wall's (a laptop may have slept for days)."""
        dues = [due for process in (*self._services.values(), *self._jobs) if (due := process.due) is not None]
        return max(0.0, min([WATCH_SECONDS, *(due - time.monotonic() for due in dues)]))

    def _tick(self) -> None:
        now = time.monotonic()
        for process in (*self._services.values(), *self._jobs):
            process.tick(now)
        self._jobs = [job for job in self._jobs if job.is_alive or job.due is not None]
        if self._stopping is None:
            self._forget_stopped()
        if self._stopping:
            self._stop_next()
        elif self._stopping is None and self._renewal_due and time.time() >= self._renewal_due:
            self._renew()
        elif self._was_ready and self._stopping is None and self._configuration.changed():
            self._say("configuration changed")
            self._apply(then=lambda: None)
        if self._stopping is None and BUS in self._services and self._disk.over(now):
            self._say("there is room on the disk again: the bus is started anew")
            self._services[BUS].restart(GRACE_SECONDS)
        self._check_ready()

    def _watch(self, descriptor: int, callback: Callable[[], None]) -> None:
        self._selector.register(descriptor, selectors.EVENT_READ)
        self._callbacks[descriptor] = callback

    def _unwatch(self, descriptor: int) -> None:
        self._selector.unregister(descriptor)
        del self._callbacks[descriptor]

    def _signalled(self, wake: socket.socket) -> None:
        with contextlib.suppress(BlockingIOError):
            for number in dict.fromkeys(wake.recv(4096)):
                self._on_signal(signal.Signals(number))

    def _on_signal(self, number: signal.Signals) -> None:
        if number is signal.SIGCHLD:
            for process in (*self._services.values(), *self._jobs):
                process.reap()
        elif number is signal.SIGUSR1:
            self._dirty = True
        elif number is signal.SIGHUP and not _terminal_is_gone():
            self._say("configuration changed")
            self._configuration.settle()
            self._renew()
        elif self._stopping is None:
            self._say("stopping")
            self._stop()
        elif number is not signal.SIGHUP:
            for process in (*self._services.values(), *self._jobs):
                process.kill()

    # -- starting

    def _prepare(self, then: Callable[[], None]) -> None:
        self._renewal_due = time.time() + RENEWAL_SECONDS

        def prepared(code: int) -> None:
            if self._stopping is not None:
                return
            if code == 0:
                then()
            elif BUS in self._services:
                self._say("certificates were not renewed; the next try is in a minute")
                self._renewal_due = time.time() + 60
            else:
                self._give_up(PROVISIONER)

        self._job(self._stack.prepare(), prepared)

    def _start_bus(self) -> None:
        self._add(self._stack.bus(), on_ready=self._bus_ready)
        self._apply(then=self._start_services)
        if self._fork:
            self._preload()

    def _bus_ready(self) -> None:
        """A bus that was started again may have lost streams: a disk failed, or somebody removed its folder."""
        if self._services[BUS].starts > 1 and self._stopping is None:
            self._apply(then=self._retry)

    def _apply(self, then: Callable[[], None]) -> None:
        def applied(code: int) -> None:
            if self._stopping is not None:
                return
            if code == 0:
                then()
            elif len(self._services) > 1:
                self._say("the configuration was not applied, see the provisioner's lines; the old one stays in force")
            else:
                self._give_up(PROVISIONER)

        self._job(self._stack.apply(), applied)

    def _start_services(self) -> None:
        for program in self._stack.demo():
            self._add(program)
        for name in self._names:
            self._add(self._stack.service(name))

    def _renew(self) -> None:
        """Certificates, ``nats.conf``, streams and configuration, all again."""

        def prepared() -> None:
            self._services[BUS].hang_up()
            self._apply(then=self._follow)

        if BUS in self._services:
            self._prepare(then=prepared)

    def _follow(self) -> None:
        """The configuration may name other channels than before: start and stop what belongs to them."""
        self._retry()
        try:
            self._names = self._stack.services()
        except ConfigError:  # the provisioner has said what is wrong with it
            return
        for name, process in self._services.items():
            if name not in (BUS, *self._names) and not name.startswith(SIMULATED):
                process.stop(GRACE_SECONDS)
        self._start_missing()

    def _start_missing(self) -> None:
        for name in self._names:
            if name not in self._services:
                self._add(self._stack.service(name))

    def _forget_stopped(self) -> None:
        """Services that were taken out of the configuration, once they have ended."""
        gone = [name for name, process in self._services.items() if process.state is State.STOPPED]
        for name in gone:
            del self._services[name]
            self._dirty = True
        if gone:
            self._start_missing()  # one that was put in again meanwhile

    def _retry(self) -> None:
        """What failed because of its certificate or the configuration need not wait any longer."""
        for process in self._services.values():
            process.try_again()

    def _preload(self) -> None:
        """Import once what every service needs: they share these pages, and start in no time."""
        modules = ["opencrust.service", "opencrust.bus", "uvloop", "aiohttp.web"]
        for module in modules + [entry_module(name) for name in self._names]:
            try:
                importlib.import_module(module)
            except Exception as error:  # noqa: BLE001 - the service itself will fail with it, and say so in its log
                self._say(f"cannot preload {module}: {type(error).__name__}: {error}")
        gc.collect()
        gc.freeze()

    def _add(self, program: Program, on_ready: Callable[[], None] | None = None) -> None:
        process = self._process(
            program, self._sink(program.name), keep=True, on_ready=on_ready, on_end=self._service_ended
        )
        self._services[program.name] = process
        process.start()

    def _service_ended(self, code: int) -> None:
        if code == TURNED_AWAY and self._stopping is None and not self._jobs:
            self._renew()

    def _job(
        self, program: Program, on_end: Callable[[int], None], sink: Callable[[bytes], None] | None = None
    ) -> None:
        job = self._process(program, sink or self._sink(program.name), keep=False, on_end=on_end)
        self._jobs.append(job)
        job.start()

    def _process(
        self,
        program: Program,
        sink: Callable[[bytes], None],
        *,
        keep: bool,
        on_end: Callable[[int], None],
        on_ready: Callable[[], None] | None = None,
    ) -> Process:
        return Process(
            program,
            sink=sink,
            watch=self._watch,
            unwatch=self._unwatch,
            changed=self._changed,
            fork=self._fork,
            keep=keep,
            on_ready=on_ready,
            on_end=on_end,
        )

    def _sink(self, name: str) -> Callable[[bytes], None]:
        """Into the log of `name`, and to the terminal."""
        if name not in self._logs:
            self._logs[name] = LogFile(self._home.log(name))
        log = self._logs[name]

        def put(line: bytes) -> None:
            log.write(line)
            self._terminal.show(name, line)
            if name == BUS:
                self._disk.heard(line)

        return put

    def _check_ready(self) -> None:
        if self._was_ready or not self._is_ready():
            return
        self._was_ready = True
        self._say(f"ready on http://127.0.0.1:{self._stack.gateway_port} after {time.time() - self._started:.1f} s")
        if self._announce:
            self._print_login_link()

    def _is_ready(self) -> bool:
        wanted = {BUS, *self._names}
        return all(name in self._services and self._services[name].state is State.READY for name in wanted)

    def _print_login_link(self) -> None:
        """The link goes to the person alone, not into a log."""

        def put(line: bytes) -> None:
            with contextlib.suppress(OSError):
                print(line.decode("utf-8", "replace"), flush=True)

        self._job(self._stack.login_link(), lambda code: None, put)

    # -- stopping

    def _give_up(self, name: str) -> None:
        self._failed = f"{name} failed: the reason is in {self._home.log(name)}"
        self._say(self._failed)
        self._stop()

    def _stop(self) -> None:
        for job in self._jobs:
            job.stop(GRACE_SECONDS)
        order = [
            [process for name, process in self._services.items() if fnmatch.filter([name], pattern)]
            for group in STOP_ORDER
            for pattern in group
        ]
        self._stopping = [group for group in order if group]
        for process in self._services.values():
            process.start_due = None
        self._stop_next()

    def _stop_next(self) -> None:
        """Stop the first group that still runs; the next one waits until it is gone."""
        while self._stopping:
            group = self._stopping[0]
            for process in group:
                if process.state not in (State.STOPPING, State.STOPPED):
                    process.stop(GRACE_SECONDS)
            if any(process.is_alive for process in group):
                return
            self._stopping.pop(0)

    # -- telling

    def _changed(self) -> None:
        self._dirty = True

    def _say(self, text: str) -> None:
        self._log.write(f"{time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime())} {text}".encode())
        self._terminal.show("opencrust", text.encode())

    def _write_status(self) -> None:
        if not self._dirty:
            return
        try:
            write_private(self._home.status, json.dumps(self._describe(), indent=1).encode())
        except OSError as error:  # a full disk: everything goes on, and the next round tries again
            if not self._unwritten:
                self._say(f"the status cannot be written: {error.strerror}")
            self._unwritten = True
        else:
            self._dirty = self._unwritten = False

    def _describe(self) -> dict[str, Any]:
        services = {name: process.describe() for name, process in self._services.items()}
        missing = {text for service in services.values() for text in service["not_enforced"]}
        sizes = [service["pss_kib"] for service in services.values()]
        own = _own_pss()
        return {
            "services": services,
            "state": "stopping" if self._stopping is not None else "ready" if self._is_ready() else "starting",
            "failed": self._failed,
            "supervisor": {"pid": os.getpid(), "pss_kib": own, "version": opencrust.__version__, "forks": self._fork},
            "pss_kib": None if own is None or None in sizes else own + sum(sizes),
            "url": f"http://127.0.0.1:{self._stack.gateway_port}",
            "bus_url": self._stack.bus_url,
            "landlock": landlock_abi(),
            "not_enforced": sorted(missing),
            "started": self._started,
            "written": time.time(),
        }


def choose_bus_port(home: Home) -> int:
    """The port of the bus: chosen once and kept, and chosen anew only if somebody else took it meanwhile."""
    make_private_directory(home.run)
    with contextlib.suppress(FileNotFoundError, ValueError):
        port = int(home.bus_port.read_text())
        if is_free(port):
            return port
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        chosen: int = probe.getsockname()[1]
    write_private(home.bus_port, f"{chosen}\n".encode())
    return chosen


def is_free(port: int) -> bool:
    """Whether we could listen on this port of 127.0.0.1."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def _terminal_is_gone() -> bool:
    """SIGHUP means two things: "read your configuration", and "your terminal was closed"."""
    try:
        os.tcgetpgrp(0)
    except OSError as error:
        return error.errno not in (25, 19)  # ENOTTY, ENODEV: we never had one
    return False


def _wants_colour(stream: TextIO) -> bool:
    return stream.isatty() and "NO_COLOR" not in os.environ


def _own_pss() -> int | None:
    try:
        text = Path("/proc/self/smaps_rollup").read_text()
    except OSError:
        return None
    return next((int(line.split()[1]) for line in text.splitlines() if line.startswith("Pss:")), None)


def main(arguments: list[str] | None = None) -> int:
    """Entry point of the process that ``opencrust up`` starts."""
    parser = argparse.ArgumentParser(prog="opencrust-supervisor", description=__doc__)
    parser.add_argument("--home", type=Path, required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--no-fork", action="store_true")
    parser.add_argument("--simulators", action="store_true", help="also the simulators of a demo")
    parser.add_argument("--quiet", action="store_true", help="nothing on the terminal, and no login link")
    options = parser.parse_args(arguments)
    home = Home(options.home)
    try:
        # Held until the process ends.
        lock = Lock(home)
        stack = Stack(
            home,
            options.port,
            choose_bus_port(home),
            Configuration.load(home.path).otlp_endpoint,
            dict(os.environ),
            options.simulators,
        )
        for directory in stack.directories():
            make_private_directory(directory)
        supervisor = Supervisor(
            stack,
            fork=not options.no_fork,
            terminal=None if options.quiet else sys.stderr,
            announce=not options.quiet,
        )
        code = supervisor.run()
        del lock
    except (CommandError, ConfigError) as error:
        print(f"opencrust: {error}", file=sys.stderr)
        return EXIT_FAILED
    return code


if __name__ == "__main__":
    sys.exit(main())
