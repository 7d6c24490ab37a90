"""A message's way through the bus and the agent, without the model, against a bare NATS request in the same run."""

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import uvloop

from harness import BusServer
from opencrust.bus import Bus, Message
from opencrust.contracts import InboundMessage, OutboundMessage, ReplyAddress, Sender, decode, encode
from opencrust.contracts.messages import now

CONVERSATIONS = [f"c{number}" for number in range(8)]

AGENT = textwrap.dedent("""
    import asyncio, sys
    from pathlib import Path
    import uvloop
    from opencrust.bus import Bus
    from opencrust.identity import Identity
    from opencrust.service import Context, Settings
    from opencrust.telemetry import Redactor
    from opencrust_agent import main as agent
    from opencrust_agent.models import Attempt, Completion, TextDelta, Usage, assistant

    class Instant:
        provider, model, supports_tools = "bench", "instant", True
        def __init__(self, transport): pass
        async def stream(self, request):
            yield Attempt(1, "bench", "instant")
            yield TextDelta("ok")
            yield Completion(assistant("ok"), "stop", Usage(10, 1), "bench", "instant")
        async def close(self): pass

    async def main(url, home, state):
        agent.DemoModel = Instant  # who answers where no provider is configured; the rest is the product's own wiring
        identity = Path(home) / "agent"
        bus = await Bus.connect(url, Identity(identity))
        settings = Settings(identity_dir=identity, state_dir=Path(state), bus_url=url)
        context = Context("agent", settings, {}, Identity(identity), bus, "bench", Redactor())
        await agent.run(context)

    uvloop.run(main(*sys.argv[1:]))
""")

ECHO = textwrap.dedent("""
    import asyncio, sys
    from pathlib import Path
    import uvloop
    from opencrust.bus import Bus
    from opencrust.identity import Identity

    async def main(url, home, state):
        bus = await Bus.connect(url, Identity(Path(home) / "dlq"))
        async def answer(message):
            await bus.respond(message, message.data)
        await bus.subscribe("ctl.dlq.echo", answer, queue="dlq")
        await asyncio.Event().wait()

    uvloop.run(main(*sys.argv[1:]))
""")


@dataclass(frozen=True)
class Figures:
    """Milliseconds, except ratio and rate."""

    request_p50: float
    request_p99: float
    pipeline_p50: float
    pipeline_p99: float
    ratio_p50: float
    messages_per_second: float


class Channel:
    """The gateway's identity as a channel: publishes, and gets the reply when the log has it."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._waiting: dict[str, asyncio.Future[None]] = {}
        self._number = 0

    async def start(self) -> None:
        async def arrived(message: Message) -> None:
            waiting = self._waiting.pop(decode(OutboundMessage, message.data).in_reply_to, None)
            if waiting is not None:
                waiting.set_result(None)

        await self._bus.subscribe("log.web.*", arrived)

    async def exchange(self, conversation: str) -> float:
        """One message and its reply; milliseconds."""
        self._number += 1
        address = ReplyAddress(channel="web", account="bench", conversation=conversation)
        message = InboundMessage(
            id=f"m{self._number}", channel="web", account="bench", conversation=conversation,
            sender=Sender(channel="web", account="bench", user="bench"), reply_to=address, text="hello, how are you?",
            platform_time=now(), received_time=now(),
        )  # fmt: skip
        answered = self._waiting[message.id] = asyncio.get_running_loop().create_future()
        begin = time.perf_counter()
        await self._bus.publish_stored(f"msg.in.web.{message.key}", encode(message), message_id=message.dedupe_id)
        await asyncio.wait_for(answered, 20)
        return (time.perf_counter() - begin) * 1000


async def bare(bus: Bus) -> float:
    """One request and its answer; milliseconds."""
    begin = time.perf_counter()
    await bus.request("ctl.dlq.echo", b"x" * 200)
    return (time.perf_counter() - begin) * 1000


async def rate(channel: Channel, each: int) -> float:
    """Messages a second, eight conversations at once."""

    async def converse(name: str) -> None:
        for _ in range(each):
            await channel.exchange(name)

    begin = time.perf_counter()
    await asyncio.gather(*map(converse, CONVERSATIONS))
    return len(CONVERSATIONS) * each / (time.perf_counter() - begin)


@asynccontextmanager
async def _running(server: BusServer) -> AsyncIterator[None]:
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    children = [
        subprocess.Popen(
            [sys.executable, "-c", program, server.url, str(server.home / "identity"), str(server.home)],
            env=environment,
        )
        for program in (AGENT, ECHO)
    ]
    try:
        yield
    finally:
        for child in children:
            child.kill()
            child.wait()


async def measure(rounds: int, each: int) -> Figures:
    """All figures, over ``rounds`` alternating rounds."""
    requests: list[float] = []
    pipeline: list[float] = []
    rates: list[float] = []
    with tempfile.TemporaryDirectory() as directory:
        server = BusServer(Path(directory) / "home")
        server.home.mkdir(mode=0o700)
        server.start()
        try:
            await server.provision()
            async with _running(server):
                bus = await server.connect("gateway")
                channel = Channel(bus)
                await channel.start()
                await asyncio.sleep(2)
                for warm in range(20):
                    await channel.exchange(CONVERSATIONS[warm % 8])
                    await bare(bus)
                for _ in range(rounds):
                    requests += [await bare(bus) for _ in range(each)]
                    pipeline += [await channel.exchange(CONVERSATIONS[n % 8]) for n in range(each)]
                    rates.append(await rate(channel, each // 4))
            await server.close()
        finally:
            server.stop()
    percentile = statistics.quantiles(requests, n=100), statistics.quantiles(pipeline, n=100)
    return Figures(
        request_p50=percentile[0][49],
        request_p99=percentile[0][98],
        pipeline_p50=percentile[1][49],
        pipeline_p99=percentile[1][98],
        ratio_p50=percentile[1][49] / percentile[0][49],
        messages_per_second=statistics.median(rates),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--each", type=int, default=200, help="requests and messages in a round")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    figures = uvloop.run(measure(options.rounds, options.each))
    if options.json:
        print(json.dumps(asdict(figures)))
        return
    print(f"bare request   p50 {figures.request_p50:7.2f} ms   p99 {figures.request_p99:7.2f} ms")
    print(f"pipeline       p50 {figures.pipeline_p50:7.2f} ms   p99 {figures.pipeline_p99:7.2f} ms")
    print(f"ratio of p50   {figures.ratio_p50:.1f} ×")
    print(f"throughput     {figures.messages_per_second:.0f} messages/s over {len(CONVERSATIONS)} conversations")


if __name__ == "__main__":
    main()
