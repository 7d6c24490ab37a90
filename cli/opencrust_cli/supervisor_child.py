"""What happens inside a supervised process: it is cut off from its parent, confined, and becomes its program.

File descriptors: 0 is /dev/null, 1 and 2 go to the supervisor's log, 3 (`NOTIFY`) is a socket on which the process
says what the supervisor wants to know, one line each: ``CONFINED {json}``, ``READY``. Along with the first goes an
open descriptor of the process's own memory figures, which nobody else may open once it is undumpable.
"""

import array
import contextlib
import fcntl
import importlib
import importlib.util
import json
import os
import signal
import socket
import sys
import traceback
from typing import NoReturn

from opencrust.confine import Confinement, confine, die_with_parent, name_process
from opencrust_cli.supervisor_program import Binary, Program, Service, Tool, dump, load

NOTIFY = 3
EXIT_CRASHED = 70  # EX_SOFTWARE of sysexits.h
_MEMORY = "/proc/self/smaps_rollup"


def entry_module(service: str) -> str:
    """The module with a service's ``run``: ``opencrust_<name>.main``, or else its ``__main__``."""
    package = "opencrust_" + service.replace("-", "_")
    return f"{package}.main" if importlib.util.find_spec(f"{package}.main") else f"{package}.__main__"


def is_installed(service: str) -> bool:
    """Whether the service's package is there to be run."""
    package = "opencrust_" + service.replace("-", "_")
    return importlib.util.find_spec(package) is not None and importlib.util.find_spec(entry_module(service)) is not None


def interpreter() -> list[str]:
    """This Python, as isolated from the working directory and the user's site as we are."""
    return [sys.executable, "-I" if sys.flags.isolated else "-P"]


def become(program: Program, parent: int, output: int, notify: int, *, fork: bool) -> NoReturn:
    """Turn the forked process into `program`. Never returns, and never runs what the parent left to run at exit."""
    code = EXIT_CRASHED
    try:
        _cut_off(program, parent, output, notify)
        if isinstance(program.what, Binary):
            report(confine(home=program.home, read=program.read, write=program.write, dumpable=True), memory=False)
            os.closerange(NOTIFY, NOTIFY + 1)
            os.execve(program.what.argv[0], program.what.argv, dict(program.environment))  # noqa: S606
        if not fork:
            argv = [*interpreter(), "-m", "opencrust_cli.supervisor_child", dump(program)]
            os.execve(sys.executable, argv, dict(program.environment))  # noqa: S606
        os.environ.clear()
        os.environ.update(program.environment)
        code = run(program)
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else EXIT_CRASHED
    except BaseException:  # noqa: BLE001 - whatever it is, it must not go on as a second supervisor
        traceback.print_exc()
    with contextlib.suppress(OSError, ValueError):
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(code)


def run(program: Program) -> int:
    """Confine this process and run `program` in it. Returns its exit code."""
    name_process(f"oc-{program.name}")
    os.set_inheritable(NOTIFY, False)
    report(confine(home=program.home, read=program.read, write=program.write), memory=True)
    if isinstance(program.what, Tool):
        main = importlib.import_module(program.what.module).main
        return int(main(list(program.what.arguments)))
    assert isinstance(program.what, Service)
    module = importlib.import_module(entry_module(program.name))
    from opencrust.service import Settings, SettingsError, serve

    try:
        settings = Settings.from_environment(program.environment)
    except SettingsError as error:
        print(f"{program.name}: {error}", file=sys.stderr)
        return 78
    return serve(program.name, module.run, settings, program.environment)


def _cut_off(program: Program, parent: int, output: int, notify: int) -> None:
    signal.set_wakeup_fd(-1)
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGCHLD, signal.SIGUSR1, signal.SIGPIPE):
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.setpgid(0, 0)
    die_with_parent(parent)
    # First out of the way of the numbers they are going to have.
    output, notify = (fcntl.fcntl(descriptor, fcntl.F_DUPFD, 64) for descriptor in (output, notify))
    null = os.open(os.devnull, os.O_RDWR)
    for source, target in ((null, 0), (output, 1), (output, 2), (notify, NOTIFY)):
        os.dup2(source, target)
    # The lock, the selector and the other children's pipes stay with the supervisor.
    os.closerange(NOTIFY + 1, os.sysconf("SC_OPEN_MAX"))
    os.umask(0o077)
    os.chdir(program.directory)
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(line_buffering=True)  # type: ignore[union-attr]


def report(confinement: Confinement, *, memory: bool) -> None:
    """Tell the supervisor how this process is confined, and hand it the file of the process's memory figures.

    That file shows the program that was running when it was opened: it is of no use before an `exec`.
    """
    line = f"CONFINED {json.dumps({'landlock': confinement.landlock, 'missing': confinement.missing})}\n".encode()
    with contextlib.suppress(OSError), socket.socket(fileno=os.dup(NOTIFY)) as notify:
        rights = []
        if memory and os.path.exists(_MEMORY):
            figures = os.open(_MEMORY, os.O_RDONLY | os.O_CLOEXEC)
            rights.append((socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [figures])))
        notify.sendmsg([line], rights)


if __name__ == "__main__":
    sys.exit(run(load(sys.argv[1])))
