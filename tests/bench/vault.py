"""What the vault costs, as ratios within one run: `python tests/bench/vault.py [--rounds 6] [--requests 150]`.

A bare nats-py echo over the same mTLS broker and across accounts, a sealed hand-out, and an OpenBao KV read by hvac
take turns; then cached reads, throughput, start-up and memory. Client, broker and responders are own processes.
"""

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import psutil
import uvloop
from nats.aio.msg import Msg

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT / part) for part in ("shared", "services/vault", "services/provisioner", "cli", "tests")]

from harness import BusServer  # noqa: E402
from opencrust.bus import Bus  # noqa: E402
from opencrust.credentials import Credentials, VaultUnavailable  # noqa: E402
from opencrust.identity import Identity  # noqa: E402
from opencrust_vault import opening  # noqa: E402
from opencrust_vault.openbao import OpenBaoClient  # noqa: E402
from opencrust_vault.slots import Passphrase  # noqa: E402
from simulators.openbao import OpenBao, binary  # noqa: E402
from simulators.vault_process import VaultProcess  # noqa: E402

AS_LOCKED = (
    # requirements/vault.txt has no aiohttp; nats-py takes it for websockets where it finds it, 14 MiB.
    "import sys, runpy; sys.modules['aiohttp'] = None; sys.argv[:] = ['opencrust_vault'];"
    "runpy.run_module('opencrust_vault', run_name='__main__', alter_sys=True)"
)
SECRETS = 1000
NAME = "provider.p7.api_key"
ECHO = "ctl.dlq.echo"
LIMITS: dict[str, tuple[str, float]] = {
    "sealed p50 / echo p50": ("<=", 4.0),
    "sealed p50 / OpenBao by hvac p50": ("<=", 0.8),
    "sealed per second, 32 in flight": (">=", 500.0),
    "cached read, µs": ("<=", 20.0),
    "ready, s": ("<=", 1.0),
    "ready with a passphrase, s": ("<=", 2.0),
    "RSS, MiB": ("<=", 64.0),
}


async def echo_server(url: str, identity: str) -> None:
    """A bare responder in a process of its own."""
    bus = await Bus.connect(url, Identity(Path(identity)))

    async def echo(message: Msg) -> None:
        await message.respond(message.data)

    await bus._client.subscribe(ECHO, queue="dlq", cb=echo)
    await bus._client.flush()
    print("READY", flush=True)
    await asyncio.Event().wait()


async def timed(count: int, work: Callable[[], Awaitable[object]]) -> list[float]:
    """Seconds of each of `count` calls, one after the other."""
    times = []
    for _ in range(count):
        started = time.perf_counter()
        await work()
        times.append(time.perf_counter() - started)
    return times


async def per_second(work: Callable[[], Awaitable[object]], seconds: float = 0.8, width: int = 32) -> float:
    """Calls a second with `width` in flight."""
    end, count = time.perf_counter() + seconds, 0

    async def worker() -> None:
        nonlocal count
        while time.perf_counter() < end:
            try:
                await work()
            except VaultUnavailable:
                continue  # faster than the 1,000 a second that the vault allows one service: not counted
            count += 1

    started = time.perf_counter()
    await asyncio.gather(*(worker() for _ in range(width)))
    return count / (time.perf_counter() - started)


async def measure(home: Path, rounds: int, requests: int) -> dict[str, float]:
    """Everything, with its own bus, vault and OpenBao."""
    figures: dict[str, float] = {}
    server = BusServer(home)
    server.start()
    await server.provision()
    vault = VaultProcess(server)
    vault.arguments = ["-c", AS_LOCKED]
    first = opening.open_unattended(vault.paths, {})
    first.store.put_many({f"provider.p{number}.api_key": b"sk-%064d" % number for number in range(SECRETS)})
    first.store.add_slot("passphrase", Passphrase("orbit walnut tepid crane lunar fable"))
    first.close()
    starts = []
    for _ in range(4):
        starts.append(await asyncio.to_thread(lambda: vault.start(OPENCRUST_LOG_LEVEL="warning")))
        await asyncio.to_thread(vault.stop)
    figures["ready, s"] = statistics.median(starts)
    figures["ready with a passphrase, s"] = figures["ready, s"] + await asyncio.to_thread(unlock_seconds, vault)
    await asyncio.to_thread(lambda: vault.start(OPENCRUST_LOG_LEVEL="warning"))
    await asyncio.to_thread(
        lambda: vault.admin(
            "grant", service="agent", secrets="provider.*", purposes=["chat"], per_minute=100_000, burst=100_000
        )
    )
    echo_process = subprocess.Popen(
        [sys.executable, __file__, "--echo", server.url, str(home / "identity" / "dlq")], stdout=subprocess.PIPE
    )
    assert echo_process.stdout is not None
    echo_process.stdout.readline()
    bao = OpenBao(home / "bao") if binary() else None
    try:
        asker = await server.connect("cli")
        credentials = Credentials(await server.connect("agent"), server.identity("agent"))
        works: dict[str, Callable[[], Awaitable[object]]] = {
            "echo": lambda: asker._client.request(ECHO, b"x" * 24, timeout=5),
            "sealed": lambda: credentials._exchange("get", NAME, "chat"),
        }
        if bao is not None:
            await asyncio.to_thread(bao.start)
            client = OpenBaoClient(bao.settings)
            path = "opencrust/bench"
            client.call(lambda hvac: hvac.secrets.kv.v2.create_or_update_secret(path, {"value": "x" * 70}))

            def read() -> object:
                return client.call(
                    lambda hvac: hvac.secrets.kv.v2.read_secret_version(path, raise_on_deleted_version=True)
                )

            async def read_in_loop() -> object:
                return read()

            works["hvac"] = read_in_loop  # which no service may do: it stops everything else meanwhile
            works["hvac in a thread"] = lambda: asyncio.to_thread(read)
        times: dict[str, list[float]] = {name: [] for name in works}
        for work in works.values():
            await timed(30, work)
        for _ in range(rounds):
            for name, work in works.items():
                times[name] += await timed(requests, work)
                await asyncio.sleep(0.1)
        median = {name: statistics.median(values) for name, values in times.items()}
        for name, values in times.items():
            figures[f"{name} p50, ms"] = median[name] * 1000
            figures[f"{name} p99, ms"] = sorted(values)[int(len(values) * 0.99)] * 1000
        figures["sealed p50 / echo p50"] = median["sealed"] / median["echo"]
        if bao is not None:
            figures["sealed p50 / OpenBao by hvac p50"] = median["sealed"] / median["hvac"]
            figures["the same, hvac in a thread"] = median["sealed"] / median["hvac in a thread"]
        rates = []
        for _ in range(4):
            await asyncio.sleep(2.5)  # let the vault's rate limit for one service fill up again
            rates.append(await per_second(works["sealed"]))
        figures["sealed per second, 32 in flight"] = statistics.median(rates)
        await credentials.get(NAME, purpose="chat")
        cached = await timed(5000, lambda: credentials.get(NAME, purpose="chat"))
        figures["cached read, µs"] = statistics.median(cached) * 1e6
        assert vault.process is not None
        figures["RSS, MiB"] = psutil.Process(vault.process.pid).memory_info().rss / 2**20
        figures["PSS, MiB"] = psutil.Process(vault.process.pid).memory_full_info().pss / 2**20
        figures["load, 1 minute"] = os.getloadavg()[0]
        await credentials.close()
    finally:
        echo_process.kill()
        echo_process.wait()
        await asyncio.to_thread(vault.stop)
        if bao is not None:
            bao.stop()
        await server.close()
        server.stop()
    return figures


def unlock_seconds(vault: VaultProcess) -> float:
    """What opening with the passphrase takes longer than opening with the key file."""
    times = []
    for unlock in (Passphrase("orbit walnut tepid crane lunar fable"), opening.read_key_file(vault.paths.key_file)):
        started = time.perf_counter()
        opening.open_vault(vault.paths, unlock).close()
        times.append(time.perf_counter() - started)
    return times[0] - times[1]


def main() -> int:
    """Prints the figures; exit code 1 when one is out of its limit."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--requests", type=int, default=150)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--echo", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.echo:
        uvloop.run(echo_server(*options.echo))
        return 0
    with tempfile.TemporaryDirectory() as directory:
        home = Path(directory) / "home"
        home.mkdir(mode=0o700)
        figures = uvloop.run(measure(home, options.rounds, options.requests))
    missed = [
        name
        for name, (relation, limit) in LIMITS.items()
        if name in figures and (figures[name] > limit if relation == "<=" else figures[name] < limit)
    ]
    if options.json:
        print(json.dumps({"figures": figures, "missed": missed}))
    else:
        for name, value in figures.items():
            relation, limit = LIMITS.get(name, ("", 0))
            wanted = f"({relation} {limit:g}{', MISSED' if name in missed else ''})" if relation else ""
            print(f"{name:36} {value:10.3f}  {wanted}")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
