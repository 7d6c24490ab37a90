"""The demo model's process: llama.cpp's server on loopback. Run as a file; imports nothing of ours.

Standard input carries one JSON line of orders (`weights`, `sha256`, `key`, `context`, `threads`), so that the key is
in no argument list and no environment, and then stays open: its end is the end of this process. Standard output
carries one JSON line back, {"url": …} or {"error": …}. What the engine itself prints goes nowhere: it may quote
prompts.
"""

import hashlib
import json
import os
import resource
import select
import sys
from typing import Any, BinaryIO

_NICENESS = 10
_ORPHAN_CHECK = 2.0


def main() -> None:
    parent = os.getppid()
    orders = sys.stdin.buffer
    answer = os.fdopen(os.dup(1), "w")
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    os.nice(_NICENESS)
    try:
        order = json.loads(orders.readline())
        _check(order["weights"], order["sha256"])
        server = _serve(order)
        said = {"url": server.listening_address}
    except Exception as error:  # noqa: BLE001 - the parent is told, whatever it is
        said = {"error": str(error) or type(error).__name__}
    answer.write(json.dumps(said) + "\n")
    answer.close()
    if "error" not in said:
        _wait_for_the_end(orders, parent)
    os._exit(0 if "error" not in said else 1)  # without waiting for the engine's threads


def _check(path: str, sha256: str) -> None:
    with open(path, "rb") as file:
        if hashlib.file_digest(file, "sha256").hexdigest() != sha256:
            raise ValueError("the demo model's weights are damaged: install them again with `./install.sh --demo`")


def _serve(order: dict[str, Any]) -> Any:
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = order["weights"]
    params.hostnames = ["127.0.0.1"]
    params.port = 0
    params.api_keys = [order["key"]]
    params.n_ctx = order["context"]
    params.n_parallel = 1
    params.n_threads_http = 4
    # More threads than idle cores make it slower by a factor of ten: llama.cpp's workers wait by spinning.
    params.cpuparams.n_threads = order["threads"]
    params.cpuparams_batch.n_threads = order["threads"]
    params.n_gpu_layers = 0
    params.cache_ram_mib = 0
    params.warmup = False
    params.offline = True
    params.use_jinja = True
    params.ui = False
    params.endpoint_slots = False
    params.endpoint_props = False
    params.endpoint_metrics = False
    params.verbosity = -1
    return xllamacpp.Server(params)


def _wait_for_the_end(orders: BinaryIO, parent: int) -> None:
    """Until standard input ends. The parent is watched too: a process forked from it may hold the other end."""
    while os.getppid() == parent:
        if select.select([orders], [], [], _ORPHAN_CHECK)[0] and not os.read(orders.fileno(), 4096):
            return


if __name__ == "__main__":
    main()
