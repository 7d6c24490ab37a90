"""Figures of the channels' engine: how long a message takes, what an adapter costs, how fast another takes over.

Real processes of ours with real certificates on a real bus with a real vault; simulators in the platforms' place, in
this process, which shares the machine's cores with all of them. ``--write`` puts the table into docs/delivery.md.
"""

import argparse
import asyncio
import datetime as dt
import json
import logging
import os
import platform as machine
import signal
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from channels import AdapterProcess, ChannelHouse, until
from faults.channel_matrix import DOCUMENT, Platform, echo
from faults.test_channel_discord import Discord
from faults.test_channel_slack import Slack
from faults.test_channel_telegram import Telegram
from harness import BusServer
from opencrust.bus import StreamReader, subjects
from opencrust.config import Configuration, Provider, ProviderKind
from opencrust.contracts import InboundMessage, ReplyAddress, Sender, decode, encode
from opencrust.contracts.messages import now
from simulators.conversation import agent
from simulators.model import ModelSimulator

Row = tuple[str, str, str]
"""What, the figure, and what it is held against."""


@asynccontextmanager
async def bus() -> AsyncIterator[BusServer]:
    """A bus of its own, gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="opencrust-bench-") as place:
        server = BusServer(Path(place) / "home")
        server.home.mkdir(mode=0o700)
        server.start()
        try:
            await server.provision()
            yield server
        finally:
            await server.close()
            server.stop()


@asynccontextmanager
async def channel(server: BusServer, driver: Platform) -> AsyncIterator[ChannelHouse]:
    """One channel's house, without a replica yet."""
    settings = await driver.start()
    try:
        async with ChannelHouse(server, driver.channel, driver.secrets, **settings) as house:
            yield house
    finally:
        await driver.stop()


def percentile(values: list[float], share: int) -> float:
    """The ``share``-th of a hundred, in milliseconds."""
    return 1000 * statistics.quantiles(values, n=100)[share - 1]


def cpu_seconds(adapter: AdapterProcess) -> float:
    """What a replica has used so far."""
    assert adapter.process is not None
    fields = Path(f"/proc/{adapter.process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def costs(driver: Platform, idle: float) -> list[Row]:
    """Of one adapter: seconds to ready, memory, and what it uses while nobody writes."""
    async with bus() as server, channel(server, driver) as house:
        first = await asyncio.to_thread(house.adapter, start=False)
        ready = [await asyncio.to_thread(first.start)]

        async def connected() -> bool:
            return any(facts["link"] == "connected" for facts in await house.health())

        await until(connected, 20)
        before, begin = cpu_seconds(first), time.monotonic()
        await asyncio.sleep(idle)
        used = 100 * (cpu_seconds(first) - before) / (time.monotonic() - begin)
        rss = first.rss() / 2**20
        for _ in range(2):
            first.kill()
            ready.append(await asyncio.to_thread(first.start))
        name = driver.channel.capitalize()
        return [
            (f"{name}: ready after", f"{max(ready):.1f} s (worst of {len(ready)})", "≤ 3 s"),
            (f"{name}: resident memory", f"{rss:.0f} MiB", "≤ 80 MB (76 MiB)"),
            (f"{name}: CPU while nobody writes", f"{used:.1f} % of a core", ""),
        ]


async def latency(messages: int) -> list[Row]:
    """One message after another: Telegram's update → bus, and → the reply at Telegram, by the agent and a model that
    answers at once."""
    driver = Telegram()
    async with bus() as server, channel(server, driver) as house, ModelSimulator() as model:
        provisioner = await server.connect("provisioner")
        provider = Provider(name="sim", kind=ProviderKind.OPENAI, base_url=model.url, model="echo")
        for key, value in Configuration(providers=(provider,)).for_services().items():
            if not key.startswith("channel-"):
                await provisioner.kv("cfg").put(key, value)
        await asyncio.to_thread(house.adapter)
        said: dict[str, float] = {}
        through: list[float] = []
        with tempfile.TemporaryDirectory() as state:
            async with agent(server, Path(state)):
                for number in range(messages):
                    text = f"number {number}"
                    chat = number + 10
                    said[text] = time.time()
                    await driver.simulator.say(text, chat=chat, user=chat)
                    await until(lambda chat=chat: bool(driver.simulator.texts(chat)), 30, 0.002)
                    through.append(driver.simulator.sent[-1].at - said[text])
        stored = await _stored_times(house)
        to_bus = [stored[text] - at for text, at in said.items()]
        acked = await _acks(server, messages)
        return [
            ("Telegram's update → on the bus, p95", f"{percentile(to_bus, 95):.0f} ms", "≤ 300 ms"),
            ("publish → PubAck, p99", f"{percentile(acked, 99):.1f} ms", "≤ 50 ms"),
            ("update → reply at Telegram, p50", f"{percentile(through, 50):.0f} ms", ""),
            ("update → reply at Telegram, p95", f"{percentile(through, 95):.0f} ms", ""),
        ]


async def _stored_times(house: ChannelHouse) -> dict[str, float]:
    reader, found, after = StreamReader(house.bus, "MSG_IN"), {}, 0
    while (stored := await reader.next(subjects.wildcard(subjects.MSG_IN), after=after)) is not None:
        after = stored.seq
        at = dt.datetime.fromisoformat(stored.headers["Nats-Time-Stamp"][:26].rstrip("Z") + "+00:00")
        found[decode(InboundMessage, stored.data).text] = at.timestamp()
    return found


async def _acks(server: BusServer, count: int) -> list[float]:
    """A message's publish until the stream's acknowledgement, as an adapter does it."""
    connection, times = await server.connect("channel-telegram"), []
    address = ReplyAddress(channel="telegram", account="1", conversation="5")
    for number in range(count):
        message = InboundMessage(
            id=f"ack{number}", channel="telegram", account="1", conversation="5", reply_to=address, text="x" * 200,
            sender=Sender(channel="telegram", account="1", user="5"), platform_time=now(), received_time=now(),
        )  # fmt: skip
        begin = time.perf_counter()
        subject = subjects.msg_in("telegram", message.key)
        await connection.publish_stored(subject, encode(message), message_id=message.dedupe_id)
        times.append(time.perf_counter() - begin)
    return times


async def throughput(messages: int) -> list[Row]:
    """A burst of updates to one replica, and a burst of replies from it."""
    driver = Telegram()
    async with bus() as server, channel(server, driver) as house:
        await asyncio.to_thread(house.adapter)
        begin = time.monotonic()
        for number in range(messages):
            await driver.simulator.say(f"m{number}", chat=number % 50 + 1, user=number % 50 + 1)
        await until(lambda: driver.simulator.pending() == 0, 120, 0.01)
        taken = messages / (time.monotonic() - begin)
        received = await house.received()
        assert len({message.text for message in received}) == len(received) == messages
        replies, begin = min(200, messages), time.monotonic()
        for number, message in enumerate(received[:replies]):
            await house.reply(message, f"re {number}", id=f"re:{number}:0")
        await until(lambda: len(driver.simulator.sent) == replies, 120, 0.02)
        sent = replies / (time.monotonic() - begin)
        return [
            ("updates taken by one replica", f"{taken:.0f} a second", ""),
            ("replies sent by one replica", f"{sent:.0f} a second", "28, our limit (Telegram's is about 30)"),
        ]


async def failover(tries: int) -> list[Row]:
    """Three replicas; the one that listens goes, somebody writes, and another has it."""
    driver = Telegram()
    simulator, took = driver.simulator, {signal.SIGKILL: [0.0] * 0, signal.SIGTERM: [0.0] * 0}
    async with bus() as server, channel(server, driver) as house:
        for _ in range(3):
            await asyncio.to_thread(house.adapter)

        async def settled() -> bool:
            roles = sorted(str(facts["role"]) for facts in await house.health())
            return roles == ["leader", "standby", "standby"]

        said = 0
        for number, times in took.items():
            for _ in range(tries):
                await until(settled, 30)
                leader = await house.leader()
                polls, begin = driver.simulator.polls, time.monotonic()
                assert leader.process is not None
                leader.process.send_signal(number)
                said += 1
                await driver.simulator.say(f"try {said}", chat=3, user=3)
                await until(lambda polls=polls: simulator.polls > polls + 1 and simulator.pending() == 0, 20, 0.005)
                times.append(time.monotonic() - begin)
                await asyncio.to_thread(leader.kill)
                await asyncio.to_thread(leader.start)
        received = [message.text for message in await house.received()]
        assert received == [f"try {number + 1}" for number in range(said)], "lost, doubled or out of order"
    return [
        (
            f"failover after {number.name}, {tries} tries",
            f"median {statistics.median(times):.2f} s, worst {max(times):.2f} s",
            "≤ 4 s" if number is signal.SIGKILL else "≤ 0.5 s",
        )
        for number, times in took.items()
    ]


async def soak(minutes: float, rate: float = 10.0) -> list[Row]:
    """A steady flow through one replica and an echo; memory must not grow."""
    driver, sizes = Telegram(), []
    async with bus() as server, channel(server, driver) as house:
        adapter = await asyncio.to_thread(house.adapter)
        await house.agent(echo)
        begin, number = time.monotonic(), 0
        while (passed := time.monotonic() - begin) < 60 * minutes:
            number += 1
            await driver.simulator.say(f"soak {number}", chat=number % 20 + 1, user=number % 20 + 1)
            if passed >= 60 * minutes * 0.1 * (len(sizes) + 1):
                sizes.append(adapter.rss() / 2**20)
            await asyncio.sleep(max(0.0, begin + number / rate - time.monotonic()))
        await until(lambda: len(driver.simulator.sent) >= number, 120, 0.1)
        sizes.append(adapter.rss() / 2**20)
        counted = Counter(message.text for message in await house.received())
        shown = Counter(driver.simulator.texts())
    lost = sum(f"soak {n}" not in counted or f"re soak {n}" not in shown for n in range(1, number + 1))
    doubled = sum(count - 1 for count in (*counted.values(), *shown.values()))
    return [
        (
            f"soak, {rate:.0f} messages a second for {minutes:.0f} min",
            f"{number}: {lost} lost, {doubled} twice",
            "0, 0",
        ),
        ("memory in the soak, each tenth", " ".join(f"{size:.0f}" for size in sizes) + " MiB", "flat"),
    ]


def write(rows: list[Row]) -> None:
    """Put the table into docs/delivery.md, between its two marks."""
    head = "| what | measured | held against |\n| --- | ---: | ---: |\n"
    table = head + "".join(f"| {what} | {figure} | {floor} |\n" for what, figure, floor in rows)
    begin, end = "<!-- figures: written by tests/bench/run channel -->\n", "<!-- end of figures -->"
    before, rest = DOCUMENT.read_text().split(begin, 1)
    DOCUMENT.write_text(before + begin + table + end + rest.split(end, 1)[1])


async def measure(parts: list[str], *, messages: int, tries: int, minutes: float, idle: float) -> list[Row]:
    """The named parts."""
    rows: list[Row] = []
    if "latency" in parts:
        rows += await latency(messages)
    if "throughput" in parts:
        rows += await throughput(2 * messages)
    if "costs" in parts:
        for driver in (Telegram(), Discord(), Slack()):
            rows += await costs(driver, idle)
    if "failover" in parts:
        rows += await failover(tries)
    if "soak" in parts:
        rows += await soak(minutes)
    return rows


PARTS = ("latency", "throughput", "costs", "failover", "soak")


def main() -> int:
    """Measure, print, and where asked write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", default=[], metavar="PART", help=f"of {', '.join(PARTS)}; default: all")
    parser.add_argument("--messages", type=int, default=500, help="of the latencies; twice as many in the burst")
    parser.add_argument("--tries", type=int, default=20, help="of each failover")
    parser.add_argument("--soak", type=float, default=10, metavar="MINUTES")
    parser.add_argument("--idle", type=float, default=20, metavar="SECONDS")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--write", action="store_true", help="the table goes into docs/delivery.md")
    options = parser.parse_args()
    logging.getLogger("asyncio").setLevel(logging.ERROR)
    if unknown := set(options.parts) - set(PARTS):
        parser.error(f"no such part: {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")
    rows = asyncio.run(
        measure(
            options.parts or list(PARTS),
            messages=options.messages,
            tries=options.tries,
            minutes=options.soak,
            idle=options.idle,
        )
    )
    where = f"{os.cpu_count()} cores, Python {machine.python_version()}, {sys.platform}"
    if options.json:
        print(json.dumps({"where": where, "rows": rows}))
    else:
        print(where)
        for what, figure, floor in rows:
            print(f"{what:<48} {figure:<40} {floor}")
    if options.write:
        write(rows)
    return 0


if __name__ == "__main__":
    sys.exit(main())
