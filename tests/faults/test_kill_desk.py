"""The pairing desk killed with SIGKILL at its work: a code lets exactly one in, and nothing stays half done."""

import asyncio
import contextlib
import random
import signal
import subprocess
import sys
import textwrap
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from harness import BusServer
from opencrust.access.desk import InviteWish
from opencrust.access.people import PairingOutcome, PersonId
from opencrust.bus import Bus, BusError
from strangers import ask, audit, operator

DESK = textwrap.dedent("""
    import asyncio, sys
    from pathlib import Path
    from opencrust.bus import Bus
    from opencrust.identity import Identity
    from opencrust_gateway.pairing import Desk, Wire

    async def main():
        bus = await Bus.connect(sys.argv[1], Identity(Path(sys.argv[2])))
        desk = Desk(bus)
        await desk.resume()
        await Wire(bus, desk).start()
        print("ready", flush=True)
        await asyncio.sleep(600)

    asyncio.run(main())
""")


class KilledDesk:
    """A desk in a process of its own, that can be killed and started anew."""

    def __init__(self, server: BusServer) -> None:
        self._command = [sys.executable, "-c", DESK, server.url, str(server.home / "identity" / "gateway")]
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        path = {"PYTHONPATH": ":".join(p for p in sys.path if p)}
        self._process = await asyncio.create_subprocess_exec(*self._command, stdout=subprocess.PIPE, env=path)
        assert self._process.stdout is not None
        async with asyncio.timeout(20):
            assert await self._process.stdout.readline() == b"ready\n"

    async def kill(self) -> None:
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(signal.SIGKILL)
            await self._process.wait()


@asynccontextmanager
async def desk_process(server: BusServer) -> AsyncIterator[KilledDesk]:
    desk = KilledDesk(server)
    await desk.start()
    try:
        yield desk
    finally:
        await desk.kill()


async def redeem(bus: Bus, person: PersonId, code: str) -> PairingOutcome | None:
    """The outcome; None where the desk died before it could say."""
    try:
        return (await ask(bus, "redeem", person=person, code=code, timeout=0.5)).outcome
    except BusError:
        return None


async def kill_while_two_redeem(server: BusServer, rounds: int, seed: int) -> None:
    chance = random.Random(seed)
    telegram, cli = await server.connect("channel-telegram"), await server.connect("cli")
    paired: list[PersonId] = []
    died = 0
    async with desk_process(server) as desk:
        for number in range(rounds):
            two = [PersonId(channel="telegram", account="bot", user=f"{number}{letter}") for letter in "ab"]
            code = (await operator(cli, "invite", invite=InviteWish(channel="telegram"))).code
            asked = [asyncio.create_task(redeem(telegram, person, code)) for person in two]
            await asyncio.sleep(chance.uniform(0.0, 0.08))
            await desk.kill()
            first = await asyncio.gather(*asked)
            died += None in first
            await desk.start()  # it carries out what the dead one had claimed
            again = [await redeem(telegram, person, code) for person in two]
            entries = {entry.id for entry in (await operator(cli, "people")).people}
            got_in = [person for person in two if person in entries]
            assert len(got_in) == 1, (number, first, again)
            told = {p for p, *said in zip(two, first, again, strict=True) if PairingOutcome.PAIRED in said}
            assert told == set(got_in), (number, first, again)
            paired += got_in
        waiting = await operator(cli, "list")
        assert waiting.invites == []
    assert died > 0  # or the test killed nobody at work
    records = await audit(await server.connect("gateway"))
    recorded = {record["user"] for record in records if record["event"] == "pairing.redeemed"}
    assert recorded == {person.user for person in paired}


async def test_a_desk_that_is_killed_lets_exactly_one_in(bus_server: BusServer) -> None:
    await kill_while_two_redeem(bus_server, rounds=4, seed=1)


@pytest.mark.long
async def test_a_desk_that_is_killed_fifty_times_lets_exactly_one_in_each_time(bus_server: BusServer) -> None:
    await kill_while_two_redeem(bus_server, rounds=50, seed=2)
