"""The whole embedded stack as a person starts it: start-up, first answer, memory and CPU at rest."""

import argparse
import asyncio
import json
import os
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import aiohttp

from house import House
from simulators.model import ModelSimulator

REST = 10.0
TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Figures:
    """Seconds; KiB; and CPU as a share of one core, in percent."""

    cold_ready: float
    warm_ready: float
    warm_first_answer: float
    pss_kib: int
    pss_by_service: dict[str, int]
    cpu_percent_at_rest: float


async def answer(house: House, token: str) -> None:
    """One answer over /v1/chat/completions."""
    body = {"model": "opencrust", "user": "bench", "messages": [{"role": "user", "content": "hello"}]}
    headers = {"Authorization": f"Bearer {token}"}
    async with (
        aiohttp.ClientSession(headers=headers) as session,
        session.post(f"{house.url}/v1/chat/completions", json=body) as response,
    ):
        response.raise_for_status()
        await response.json()


def cpu_seconds(pids: list[int]) -> float:
    """User and system time of these processes so far."""
    spent = 0.0
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
        spent += (int(fields[11]) + int(fields[12])) / TICKS
    return spent


async def measure(*options: str) -> Figures:
    """Start cold, stop, start warm, answer, rest."""
    with tempfile.TemporaryDirectory() as directory:
        async with ModelSimulator() as simulator:
            house = House(Path(directory) / "home", *options)
            cold = await asyncio.to_thread(house.up)
            try:
                await asyncio.to_thread(house.provider, simulator.url, "echo")
                token = await asyncio.to_thread(house.token, "chat")
                await asyncio.to_thread(house.run, "down")
                begin = time.monotonic()
                warm = await asyncio.to_thread(house.up)
                await answer(house, token)
                first = time.monotonic() - begin
                await asyncio.sleep(REST)
                status: dict[str, Any] = await asyncio.to_thread(house.status)
                pids = [service["pid"] for service in status["services"].values()] + [status["supervisor"]["pid"]]
                before = cpu_seconds(pids)
                await asyncio.sleep(REST)
                percent = (cpu_seconds(pids) - before) / REST * 100
            finally:
                await asyncio.to_thread(house.run, "down", check=False)
    by_service = {name: service["pss_kib"] for name, service in status["services"].items()}
    by_service["supervisor"] = status["supervisor"]["pss_kib"]
    return Figures(cold, warm, first, sum(by_service.values()), by_service, percent)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--no-fork", action="store_true", help="separate processes instead of forked ones")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    figures = asyncio.run(measure(*(["--no-fork"] if options.no_fork else [])))
    if options.json:
        print(json.dumps(asdict(figures)))
        return
    print(f"ready, first time ever  {figures.cold_ready:.2f} s")
    print(f"ready, warm             {figures.warm_ready:.2f} s")
    print(f"first answer, warm      {figures.warm_first_answer:.2f} s")
    print(f"memory at rest          {figures.pss_kib / 1024:.0f} MiB PSS")
    for name, size in figures.pss_by_service.items():
        print(f"    {name:12} {size / 1024:6.1f}")
    print(f"CPU at rest             {figures.cpu_percent_at_rest:.1f} % of one core")


if __name__ == "__main__":
    main()
