"""The process that plugins' processes are forked from. Run as a file, by :mod:`.processes`.

It starts from nothing (exec, an empty environment), so it never held a secret; it has the runtime's library loaded, so
a fork is ready in milliseconds; and it has one thread, so forking is safe. Standard input is its socket to the agent:
first a line with the path to import from, then orders, one at a time, with the descriptors that each needs. Its end is
the end of all that it forked.
"""

import json
import os
import select
import signal
import socket
import sys
from typing import Any

_CONTROL = 0
_KEPT = 64  # descriptors below stay with the zygote
_MOST = 4


def main() -> None:
    """Serve until the agent is gone."""
    control = socket.socket(fileno=os.dup(_CONTROL))
    line = bytearray()
    while not line.endswith(b"\n"):
        piece = control.recv(1)
        if not piece:
            return
        line += piece
    sys.path[:] = json.loads(line)
    from opencrust.confine import die_with_parent, name_process
    from opencrust_agent.plugins import compiler, worker

    name_process("oc-plugins")
    die_with_parent(os.getppid())
    wake = _wake_on_children()
    children: set[int] = set()
    control.sendall(b"{}\n")
    while True:
        ready, _, _ = select.select([control, wake], [], [])
        if wake in ready:
            wake.recv(4096)
        if control not in ready:
            continue
        data, descriptors, _, _ = socket.recv_fds(control, 65536, _MOST)
        if not data:
            return
        order: dict[str, Any] = json.loads(data)
        if order["do"] == "end":
            answer: dict[str, Any] = {"status": _end(order["pid"], children)}
        else:
            parent = os.getpid()
            pid = os.fork()
            if pid == 0:
                try:
                    signal.set_wakeup_fd(-1)
                    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                    die_with_parent(parent)
                    given = _keep_only(descriptors)
                    name_process(f"oc-{order.get('name', 'plugin')}"[:15])
                    if order["do"] == "compile":
                        compiler.compile(given[0], given[1], given[2], order)
                    else:
                        worker.serve(given[0], given[1], order)
                finally:
                    os._exit(0)
            children.add(pid)
            answer = {"pid": pid}
        for descriptor in descriptors:
            os.close(descriptor)
        control.sendall(json.dumps(answer).encode() + b"\n")


def _wake_on_children() -> socket.socket:
    """Ends a wait when a child ends. Children are reaped when the agent asks for it: until then no other process has
    their number, so the agent never ends a stranger."""
    ours, signals = socket.socketpair()
    for side in (ours, signals):
        side.setblocking(False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(signals.detach(), warn_on_full_buffer=False)
    return ours


def _end(pid: int, children: set[int]) -> int:
    """Kill a child if it still runs; returns its wait status."""
    if pid not in children:
        return 0
    done, status = os.waitpid(pid, os.WNOHANG)
    if not done:
        os.kill(pid, signal.SIGKILL)
        _, status = os.waitpid(pid, 0)
    children.discard(pid)
    return status


def _keep_only(descriptors: list[int]) -> list[int]:
    """Close everything but 1 and 2, which lead nowhere, and `descriptors`; returns these by their new numbers, from 3
    on."""
    import fcntl

    high = [fcntl.fcntl(descriptor, fcntl.F_DUPFD, _KEPT) for descriptor in descriptors]
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 0)
    given = []
    for number, descriptor in enumerate(high, 3):
        os.dup2(descriptor, number)
        given.append(number)
    os.closerange(3 + len(given), os.sysconf("SC_OPEN_MAX") if os.sysconf("SC_OPEN_MAX") > 0 else 1024)
    return given


if __name__ == "__main__":
    main()
