"""What a plugin may use: defaults, and the maxima that no manifest can raise (research: measured on the runtime)."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

KiB = 1024
MiB = 1024 * KiB

MAX_COMPONENT = 32 * MiB
"""Bytes of a component. One made by componentize-py has 18.5 MB."""
MAX_MANIFEST = 32 * KiB
MAX_DESCRIPTION = 64 * KiB
"""Bytes of what ``describe`` returns."""
MAX_TOOLS = 16
MAX_TOOLS_IN_ALL = 96
"""Of all enabled plugins: providers refuse a request with more than 128 functions, our own included."""

COMPILE_CPU = 60
"""Seconds of processor time. componentize-py's need 11 to 20; 200 kB of hostile code would take 32 and more."""
COMPILE_WALL = 180.0
COMPILE_MEMORY = 1536 * MiB
COMPILE_AGAIN = 600.0
"""Seconds after which a component that is installed and could not be compiled here is tried again."""
COMPILE_FILES = 32

WORKER_MEMORY = 512 * MiB
"""Address space of a worker on top of what its compiled code takes, whatever the guest's memories add up to."""
WORKER_FILES = 16
WORKER_STACK = 512 * KiB
"""Of WebAssembly; must stay well below the native stack, or recursion ends the process instead of the call."""
MEMORIES = 10
INSTANCES = 50
TABLES = 20
TABLE_ELEMENTS = 20_000

TICK = 0.01
"""Seconds between two looks at the clock while a guest computes."""
WATCHDOG = 0.25
"""Seconds after the deadline at which the worker is killed: what neither fuel nor epochs stop ends here."""
IDLE = 300.0
"""Seconds after its last call at which a worker is stopped."""
WORKERS = 8
"""Processes of all plugins together."""

UNUSED = 24 * 3600.0
"""Seconds for which a component is kept that was looked at and not installed."""
SWEEP = 3600.0
"""Seconds between two looks for such components."""

LOG_LINES = 200
LOG_LINE = 2 * KiB
KV_KEYS = 256
KV_KEY = 128
KV_VALUE = 64 * KiB

_WHOLE = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class Limits(BaseModel):
    """The limits of one plugin: a manifest's ``[limits]`` over our defaults."""

    model_config = _WHOLE

    timeout_ms: Annotated[int, Field(ge=10, le=60_000)] = 10_000
    """A whole call, what it waits for included."""
    compute_ms: Annotated[int, Field(ge=10, le=60_000)] = 2_000
    """Of it, its own computing."""
    fuel: Annotated[int, Field(ge=1_000_000, le=1_000_000_000_000)] | None = None
    """Instructions, about: the same count on every machine, at half the speed. None: not counted."""
    memory_mib: Annotated[int, Field(ge=1, le=64)] = 32
    """Of each linear memory."""
    input_kib: Annotated[int, Field(ge=1, le=1024)] = 256
    output_kib: Annotated[int, Field(ge=1, le=1024)] = 256
    host_calls: Annotated[int, Field(ge=0, le=5_000)] = 1_000
    http_calls: Annotated[int, Field(ge=0, le=50)] = 10
    calls_per_minute: Annotated[int, Field(ge=1, le=600)] = 60
