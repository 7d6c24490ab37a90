"""What happens in the throw-away process that compiles one component, forked from the zygote.

Compiling is the one thing that a size limit does not bound: 200 kB can take half a minute, a few MB all the memory
there is, and some input aborts the compiler. So it happens here, once for each component, under limits of processor
time and memory, with the input and the output open and nothing else.
"""

import os
from typing import Any

from opencrust_agent.plugins import frames, limits, worker
from opencrust_agent.plugins.engine import Refused, compile_component

_NICENESS = 10


def compile(connection: int, source: int, target: int, order: dict[str, Any]) -> None:
    """Read a component from descriptor `source`, write its machine code to `target`, say so on `connection`."""
    try:
        os.nice(_NICENESS)
        unlocked = bool(order.get("unlocked"))
        worker.lock(memory=order["memory"], cpu=order["cpu"], files=limits.COMPILE_FILES, unlocked=unlocked)
        worker.restrict(may_map_code=True, unlocked=unlocked)
        code = compile_component(_read(source), fuel=bool(order.get("fuel")))
        _write(target, code)
        frames.write_blocking(connection, {"ok": len(code)})
    except Refused as error:
        frames.write_blocking(connection, {"fault": "refused", "detail": str(error)})
    except worker.LockFailed as error:
        frames.write_blocking(connection, {"fault": "lock", "detail": str(error)})
    except MemoryError:
        frames.write_blocking(connection, {"fault": "refused", "detail": "it takes more memory to compile than it may"})


def _read(descriptor: int) -> bytes:
    pieces = []
    while piece := os.read(descriptor, limits.MiB):
        pieces.append(piece)
    return b"".join(pieces)


def _write(descriptor: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(descriptor, rest) :]
