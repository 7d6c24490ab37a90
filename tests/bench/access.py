"""Who may speak, in figures: looking up, blocking until it holds, redeeming, and what a locked guesser is worth."""

import argparse
import asyncio
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

import uvloop

from harness import BusServer
from opencrust.access.desk import InviteWish
from opencrust.access.directory import People
from opencrust.access.people import PairingOutcome, Person, PersonId, Role, Verdict
from opencrust.contracts import encode
from opencrust_gateway.limits import Rate
from opencrust_gateway.pairing import Desk, Wire
from strangers import ask

UNLIMITED = Rate(burst=1e9, per_second=1e9)


@dataclass(frozen=True)
class Figures:
    """Times in milliseconds unless they say otherwise."""

    admission_remembered_us: float
    admission_read_p50: float
    blocked_until_it_holds_p50: float
    blocked_until_it_holds_max: float
    redeem_p50: float
    redeem_p99: float
    locked_answers_per_second: float


def someone(number: int, letter: str = "u") -> PersonId:
    return PersonId(channel="telegram", account="bot", user=f"{letter}{number}")


async def timed(count: int, work: Callable[[int], Awaitable[object]]) -> list[float]:
    times = []
    for number in range(count):
        begin = time.perf_counter()
        await work(number)
        times.append((time.perf_counter() - begin) * 1000)
    return times


async def run(home: Path, each: int) -> Figures:
    server = BusServer(home)
    server.start()
    try:
        await server.provision()
        gateway, telegram = await server.connect("gateway"), await server.connect("channel-telegram")
        desk = Desk(gateway, rate=UNLIMITED)
        await Wire(gateway, desk).start()
        people = People(telegram)
        await people.start()
        anna = Person(id=someone(0), role=Role.USER, since=datetime.now(UTC))
        bucket = gateway.kv("access")
        await bucket.put(anna.id.key, encode(anna))

        async def admitted(person: PersonId) -> Verdict:
            return (await people.admission(person, is_group=False, mentioned=False)).verdict

        async def block(number: int) -> None:
            wanted = Verdict.DROP if number % 2 == 0 else Verdict.ADMIT
            changed = anna.model_copy(update={"blocked": number % 2 == 0})
            await bucket.put(anna.id.key, encode(changed))
            while await admitted(anna.id) is not wanted:
                await asyncio.sleep(0)

        remembered = await timed(each * 20, lambda _: admitted(anna.id))
        read = await timed(each, lambda number: admitted(someone(number, "fresh")))
        blocked = await timed(each, block)
        codes = [(await desk.invite(InviteWish(channel="telegram"), by="bench"))[0] for _ in range(each)]

        async def redeem(number: int) -> None:
            reply = await ask(telegram, "redeem", person=someone(number, "guest"), code=codes[number])
            assert reply.outcome is PairingOutcome.PAIRED

        redeemed = await timed(each, redeem)
        guesser = someone(0, "guesser")
        for _ in range(6):
            locked = await ask(telegram, "redeem", person=guesser, code="0000-0000")
        assert locked.outcome is PairingOutcome.LOCKED
        begin = time.perf_counter()
        for _ in range(each):
            await asyncio.gather(
                *(ask(telegram, "redeem", person=someone(0, "guesser"), code="0000-0000") for _ in range(8))
            )
        per_second = each * 8 / (time.perf_counter() - begin)
    finally:
        await server.close()
        server.stop()
    return Figures(
        admission_remembered_us=statistics.median(remembered) * 1000,
        admission_read_p50=statistics.median(read),
        blocked_until_it_holds_p50=statistics.median(blocked),
        blocked_until_it_holds_max=max(blocked),
        redeem_p50=statistics.median(redeemed),
        redeem_p99=sorted(redeemed)[int(len(redeemed) * 0.99)],
        locked_answers_per_second=per_second,
    )


async def measure(each: int) -> Figures:
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder) / "home"
        home.mkdir(mode=0o700)
        return await run(home, each)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--each", type=int, default=100)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    figures = asdict(uvloop.run(measure(options.each)))
    print(
        json.dumps(figures)
        if options.json
        else "\n".join(f"{name:28} {value:10.3f}" for name, value in figures.items())
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
