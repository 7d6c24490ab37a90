"""The fault matrix of channels: what may go wrong, while messages flow, and what is counted afterwards.

Generic over platforms: a :class:`Platform` says how a simulator is spoken to, and which of its moments a fault can be
tied to. Every row runs on a real bus with a real vault and real adapter processes; an echo stands in for the agent.
:func:`write_table` puts what was counted into docs/delivery.md.
"""

import asyncio
import itertools
import signal
import time
from abc import ABC, abstractmethod
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from channels import ChannelHouse, until
from harness import BusServer
from opencrust.contracts import InboundMessage

DOCUMENT = Path(__file__).parents[2] / "docs" / "delivery.md"
CONVERSATIONS = 5


class Platform(ABC):
    """A simulator, as the matrix uses it."""

    channel: str
    secrets: dict[str, str]
    rotates = "token"
    """Which of the credentials :meth:`rotate` replaces."""
    idempotent = False
    """It knows keys: nothing may be shown twice."""

    @abstractmethod
    async def start(self) -> dict[str, Any]:
        """Start the simulator; returns what of ChannelSettings leads to it."""

    @abstractmethod
    async def stop(self) -> None: ...

    @abstractmethod
    async def say(self, conversation: int, text: str, *, file: bytes | None = None) -> None:
        """Somebody writes."""

    @abstractmethod
    def shown(self) -> list[tuple[int, str]]:
        """What the bot sent, in order: conversation and text, twice where it is there twice."""

    @abstractmethod
    def at(self, moment: str, action: Callable[[], None]) -> None:
        """Do ``action``, once, when ``moment`` comes next: ``fetch`` (a file of an event is asked for: before the
        publish), ``ack`` (our acknowledgement arrives, and is not taken), ``acked`` (it was taken), ``send`` (a message
        of ours arrives, and is not taken), ``sent`` (it was taken, and is not answered)."""

    @abstractmethod
    def trouble(self, kind: str, times: int) -> None:
        """``429``, ``500``, ``html``, ``cut``, ``cut_after_accept`` for the next sends; ``session`` for the link."""

    @abstractmethod
    async def odd(self) -> None:
        """Send events that are malformed, and kinds that nobody knows."""

    @abstractmethod
    async def again(self) -> None:
        """Bring the last events again."""

    def rotate(self) -> str:
        """Replace the token; returns the new one. The old one is void."""
        raise NotImplementedError


@dataclass(frozen=True, slots=True)
class Counted:
    """What came of one row."""

    row: str
    messages: int
    lost: int
    doubled: int
    """To the agent."""
    inverted: int
    """In a conversation, in or out."""
    lost_out: int
    doubled_out: int
    unknown: int
    """How many sends' ends nobody knew, by the receipts and the ledger."""
    seconds: float

    def holds(self, *, idempotent: bool) -> None:
        """Raises AssertionError where a promise was broken."""
        assert self.lost == 0, self
        assert self.doubled == 0, self
        assert self.inverted == 0, self
        assert self.lost_out == 0, self
        assert self.doubled_out <= (0 if idempotent else self.unknown), self


class Run:
    """One platform's house, in which rows are run one after another."""

    def __init__(self, house: ChannelHouse, platform: Platform) -> None:
        self.house = house
        self.platform = platform
        self._number = 0

    async def row(self, name: str, fault: Callable[["Run", int], Awaitable[None]], messages: int) -> Counted:
        """Let ``messages`` flow while ``fault`` happens; count when everything has come to rest."""
        begin = time.monotonic()
        first = self._number + 1
        said: dict[int, list[str]] = defaultdict(list)
        before = len(self.platform.shown())
        unknown = await self._unknown()

        async def flow() -> None:
            for _ in range(messages):
                self._number += 1
                conversation = self._number % CONVERSATIONS + 1
                text = f"{name} {self._number}"
                said[conversation].append(text)
                await self.platform.say(conversation, text)
                await asyncio.sleep(0.02)

        await asyncio.gather(flow(), fault(self, messages))
        wanted = {f"re {text}" for texts in said.values() for text in texts}
        await until(lambda: wanted <= {text for _, text in self.platform.shown()[before:]}, 90, 0.1)

        async def settled() -> bool:
            return await self.house.waiting() == 0

        await until(settled, 60, 0.1)
        heard: dict[int, list[str]] = defaultdict(list)
        for message in await self.house.received():
            if message.text.startswith(f"{name} ") and int(message.text.rsplit(" ", 1)[-1]) >= first:
                heard[int(message.text.rsplit(" ", 1)[-1]) % CONVERSATIONS + 1].append(message.text)
        shown: dict[int, list[str]] = defaultdict(list)
        for conversation, text in self.platform.shown()[before:]:
            if text.startswith(f"re {name} "):
                shown[conversation].append(text.removeprefix("re "))
        heard_all = Counter(text for texts in heard.values() for text in texts)
        shown_all = Counter(text for texts in shown.values() for text in texts)
        said_all = {text for texts in said.values() for text in texts}
        return Counted(
            row=name,
            messages=messages,
            lost=len(said_all - set(heard_all)),
            doubled=sum(heard_all.values()) - len(heard_all),
            inverted=sum(inversions(texts, said[c]) for kind in (heard, shown) for c, texts in kind.items()),
            lost_out=len(said_all - set(shown_all)),
            doubled_out=sum(shown_all.values()) - len(shown_all),
            unknown=await self._unknown() - unknown,
            seconds=round(time.monotonic() - begin, 1),
        )

    async def _unknown(self) -> int:
        """Sends whose end nobody knew: told by the receipts, whoever of the replicas lived to count them."""
        total = 0
        for receipt in await self.house.receipts():
            words = receipt.reason.split()
            total += int(words[3]) if words[:3] == ["the", "end", "of"] else receipt.state == "unknown"
        return total

    def kill(self, number: int = 0) -> None:
        """Kill one replica without warning, and start it again in a moment."""
        adapter = self.house.adapters[number]
        adapter.kill()

        def again() -> None:
            if adapter.process is None:  # two kills within the moment are one
                adapter.start(ready=False)

        asyncio.get_running_loop().call_later(0.3, again)


def inversions(texts: list[str], order: list[str]) -> int:
    """How many neighbours stand in the wrong order, doubles left out: a double comes after its first."""
    first = list(dict.fromkeys(texts))
    places = [order.index(text) for text in first]
    return sum(a > b for a, b in itertools.pairwise(places))


def echo(message: InboundMessage) -> str:
    """The stand-in for the agent."""
    return f"re {message.text}"


# -- the rows


def killed(moment: str, *, file: bytes | None = None) -> Callable[[Run, int], Awaitable[None]]:
    """Killed at a moment, once for every 25 messages."""

    async def fault(run: Run, messages: int) -> None:
        for _ in range(max(1, messages // 25)):
            struck = asyncio.Event()

            def strike(struck: asyncio.Event = struck) -> None:
                run.kill()
                struck.set()

            run.platform.at(moment, strike)
            if file is not None:
                await run.platform.say(9, "with a file", file=file)
            await asyncio.wait_for(struck.wait(), 30)
            await asyncio.sleep(0.2)

    return fault


def trouble(kind: str, share: int = 4) -> Callable[[Run, int], Awaitable[None]]:
    """Trouble of the platform's, for one send of ``share``."""

    async def fault(run: Run, messages: int) -> None:
        for _ in range(max(1, messages // share)):
            run.platform.trouble(kind, 1)
            await asyncio.sleep(0.02 * share)

    return fault


def bus_down(seconds: float) -> Callable[[Run, int], Awaitable[None]]:
    """The bus is killed, and away for a while."""

    async def fault(run: Run, messages: int) -> None:
        await asyncio.sleep(0.05)
        await asyncio.to_thread(run.house.server.stop, 9)
        await asyncio.sleep(seconds)
        await asyncio.to_thread(run.house.server.start)

    return fault


async def odd_events(run: Run, messages: int) -> None:
    """Between good ones."""
    for _ in range(max(1, messages // 10)):
        await run.platform.odd()
        await asyncio.sleep(0.1)


async def replayed(run: Run, messages: int) -> None:
    """The platform brings events again."""
    await asyncio.sleep(0.02 * messages + 0.5)
    await run.platform.again()


async def two_leaders(run: Run, messages: int) -> None:
    """The lease vanishes under its holder, and another takes it before he notices."""
    other = run.house.adapter(start=False)
    await asyncio.to_thread(other.start)
    await run.house.drop_lease()
    await asyncio.sleep(2)
    other.kill()
    run.house.adapters.remove(other)


async def rotated(run: Run, messages: int) -> None:
    """The token is replaced at the platform, then in the vault."""
    await asyncio.sleep(0.05)
    token = run.platform.rotate()
    await asyncio.to_thread(run.house.put_secret, run.platform.rotates, token)


async def silent(run: Run, messages: int) -> None:
    """A send is taken by nobody, and the line stays open."""
    run.platform.trouble("stall", 1)


PNG = b"\x89PNG\r\n\x1a\n" + bytes(64)

ROWS: dict[str, Callable[[bool], Callable[[Run, int], Awaitable[None]]]] = {
    "killed before the publish": lambda long: killed("fetch", file=PNG),
    "killed after the bus has it, before the platform is told": lambda long: killed("ack"),
    "killed after the platform was told": lambda long: killed("acked"),
    "killed before the send": lambda long: killed("send"),
    "killed after the send, before it is noted": lambda long: killed("sent"),
    "bus killed, and away": lambda long: bus_down(10 if long else 1),
    "platform says 429": lambda long: trouble("429"),
    "platform says 500": lambda long: trouble("500"),
    "platform answers in HTML": lambda long: trouble("html"),
    "connection cut before it is accepted": lambda long: trouble("cut", 8),
    "connection cut after it is accepted": lambda long: trouble("cut_after_accept", 8),
    "link lost": lambda long: trouble("session", 8),
    "events brought again": lambda long: replayed,
    "two leaders": lambda long: two_leaders,
    "token rotated": lambda long: rotated,
    "malformed and unknown events": lambda long: odd_events,
}


LONG_ROWS: dict[str, Callable[[bool], Callable[[Run, int], Awaitable[None]]]] = {
    "a send is never answered": lambda long: silent,
}
"""They take a minute each."""


def write_table(channel: str, counted: list[Counted]) -> None:
    """Put a channel's rows into docs/delivery.md, between its two marks."""
    head = (
        "| what goes wrong | messages | lost | twice to the agent | out of order | replies lost | replies twice "
        "| sends of unknown end |\n| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |\n"
    )
    rows = "".join(
        f"| {c.row} | {c.messages} | {c.lost} | {c.doubled} | {c.inverted} | {c.lost_out} | {c.doubled_out} "
        f"| {c.unknown} |\n"
        for c in counted
    )
    total = [sum(getattr(c, n) for c in counted) for n in (
        "messages", "lost", "doubled", "inverted", "lost_out", "doubled_out", "unknown"
    )]  # fmt: skip
    rows += "| **all** | " + " | ".join(f"**{number}**" for number in total) + " |\n"
    text = DOCUMENT.read_text()
    begin, end = f"<!-- {channel}: written by the test run -->\n", f"<!-- end of {channel} -->"
    if begin not in text:
        text = text.rstrip() + f"\n\n## {channel.capitalize()}\n\n{begin}{end}\n"
    before, rest = text.split(begin, 1)
    DOCUMENT.write_text(before + begin + head + rows + end + rest.split(end, 1)[1])


async def matrix(server: BusServer, platform: Platform, messages: int, rows: dict[str, Any], *, long: bool) -> None:
    """Rows, in one house."""
    settings = await platform.start()
    counted = []
    try:
        async with ChannelHouse(server, platform.channel, platform.secrets, **settings) as house:
            await asyncio.to_thread(house.adapter)
            await house.agent(echo)
            run = Run(house, platform)
            for name, fault in rows.items():
                row = await run.row(name, fault(long), messages)
                print(row)
                counted.append(row)
                row.holds(idempotent=platform.idempotent)
    finally:
        await platform.stop()
    if long:
        write_table(platform.channel, counted)


QUARTERS = 4
"""So that the quick suite runs a platform's rows side by side."""


def quarter_of(rows: dict[str, Any], quarter: int) -> dict[str, Any]:
    """Every fourth row, from the given one on."""
    return dict(list(rows.items())[quarter::QUARTERS])


async def killed_in_turn(house: ChannelHouse, say: Callable[[str], Awaitable[object]]) -> None:
    """300 messages of one conversation while each of three replicas is killed in turn, with and without warning, and
    comes back: all arrive once, in their order."""
    said = [str(number) for number in range(300)]
    for number, text in enumerate(said):
        await say(text)
        if number % 30 == 20:
            adapter = house.adapters[number // 30 % 3]
            adapter.kill(signal.SIGTERM if number % 60 == 20 else signal.SIGKILL)
            asyncio.get_running_loop().call_later(1.0, lambda one=adapter: one.start(ready=False))
        await asyncio.sleep(0.05)

    async def all_there() -> bool:
        return len(await house.received()) >= len(said)

    await until(all_there, 30)
    await asyncio.sleep(1)  # what would come twice
    found = [message.text for message in await house.received()]
    print(f"{len(found)} of {len(said)} came, {inversions(found, said)} out of order")
    assert found == said
    await until(lambda: all(adapter.process is not None for adapter in house.adapters))
