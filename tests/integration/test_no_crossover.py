"""Two people, and one of them in two conversations: nothing of one conversation is ever seen in another.

Random turns through the real store and drain, several at a time, on two replicas of which one is replaced in the middle
of turns. Every message carries a word of its conversation's own, and the model repeats whatever words it is shown, in
answers, calls of tools and summaries; so what leaked once would be seen again and again. The same over the pure parts:
tests/unit/opencrust_agent/test_no_crossover.py.
"""

import asyncio
import json
import random
import re
from collections import Counter
from contextlib import AsyncExitStack
from typing import Any

import pytest

from harness import BusServer
from integration.test_tools import Fake, call, fake, inbound, mail, replica
from opencrust.bus import Bus, Message
from opencrust.contracts import InboundMessage, OutboundMessage, Sender, TurnEvent, decode, encode
from opencrust_agent.summarise import INSTRUCTIONS
from opencrust_agent.tools import Effect, Tool
from simulators.model import ModelSimulator
from simulators.model_replies import Reply, last_text

PEOPLE = {"garden": "anna", "cellar": "anna", "kitchen": "bert"}
"""Who writes in which conversation."""
WORD = re.compile(r"\[(garden|cellar|kitchen):(\d+)\]")
TALK = ("remember", "my secret word is", "what did I say before", "(look) look up", "(mail) send")
FILLING = "and so on " * 1200
SHOWN = 6
"""Most words that the model repeats of the oldest, and of the newest."""


def owners(text: str) -> set[str]:
    """The conversations whose words stand in a text."""
    return {match[1] for match in WORD.finditer(text)}


class Gossip(ModelSimulator):
    """A provider that repeats what it hears, and notes every request in which two conversations meet."""

    def __init__(self) -> None:
        super().__init__()
        self.crossovers: list[dict[str, Any]] = []
        self.asked: Counter[str] = Counter()
        self.delay = 0.0

    @property
    def cut(self) -> int:
        """Requests that were given up by who asked, when no one is asking now."""
        return self.asked["all"] - self.answered

    def _by_name(self, model: str, body: dict[str, Any]) -> Reply:
        self.requests.clear()  # ten thousand would be too many to keep
        self.asked["all"] += 1
        text = json.dumps(body)
        if len(owners(text)) != 1:
            self.crossovers.append(body)
        words = [match[0] for match in sorted(WORD.finditer(text), key=lambda match: int(match[2]))]
        newest = WORD.search(last_text(body))
        if str(body["messages"][0]["content"]).startswith(INSTRUCTIONS):
            self.asked["summary"] += 1
        elif newest is not None and body["messages"][-1]["role"] == "user" and "tools" in body:
            if "(look)" in last_text(body):
                self.asked["look"] += 1
                return Reply(calls=(call("look_up", what=newest[0]),), delay=self.delay)
            if "(mail)" in last_text(body):
                self.asked["mail"] += 1
                return Reply(calls=(call("send_mail", to="carol@example.org", text=newest[0]),), delay=self.delay)
        return Reply("You spoke of " + " ".join(words[:SHOWN] + words[-SHOWN:]), delay=self.delay)


class House:
    """The channel's side of all conversations."""

    def __init__(self, bus: Bus) -> None:
        self.bus = bus
        self.keys = {inbound(0, "x", conversation=name).key: name for name in PEOPLE}
        self.crossovers: list[str] = []
        self.answered: dict[str, OutboundMessage] = {}
        self.twice: list[str] = []
        self.cards: list[tuple[str, str]] = []
        self._news = asyncio.Event()

    async def start(self) -> None:
        await self.bus.subscribe("log.web.*", self._reply)
        await self.bus.subscribe("evt.conv.web.*", self._event)

    async def _reply(self, message: Message) -> None:
        reply, here = decode(OutboundMessage, message.data), self.keys[message.subject.split(".")[-1]]
        if reply.address.conversation != here or not owners(message.data.decode()) <= {here}:
            self.crossovers.append(f"{here}: {reply}")
        answers = str(reply.in_reply_to)
        if answers in self.answered:
            self.twice.append(answers)
        self.answered[answers] = reply
        if reply.approval is not None:
            self.cards.append((here, reply.approval.id))
        self._news.set()

    async def _event(self, message: Message) -> None:
        here = self.keys[message.subject.split(".")[-1]]
        decode(TurnEvent, message.data)
        if not owners(message.data.decode()) <= {here}:
            self.crossovers.append(f"event in {here}: {message.data!r}")

    async def say(self, number: int, conversation: str, text: str) -> str:
        message = _message(number, conversation, text)
        await self.bus.publish_stored(f"msg.in.web.{message.key}", encode(message), message_id=message.dedupe_id)
        return message.id

    async def hear(self, *ids: str, seconds: float = 30) -> None:
        """Wait until all of these are answered."""
        async with asyncio.timeout(seconds):
            while not all(id in self.answered for id in ids):
                self._news.clear()
                await self._news.wait()


def _message(number: int, conversation: str, text: str) -> InboundMessage:
    sender = Sender(channel="web", account="operator", user=PEOPLE[conversation], display_name="Alex")
    return inbound(number, text, conversation=conversation).model_copy(update={"sender": sender})


async def play(server: BusServer, turns: int, seed: int) -> tuple[Gossip, House, list[Fake]]:
    """``turns`` messages of people; after half of them a replica is replaced while it answers.

    Which replica gets a message is chance: it is replaced again until it was in the middle of a turn.
    """
    dice = random.Random(seed)
    house = House(await server.connect("gateway"))
    await house.start()
    look = fake("look_up", Effect.READ, arguments=("what",), says=_found, taints=True, source="web")
    tools: list[Tool] = [look, send := mail()]
    number = 0
    async with Gossip() as gossip, AsyncExitStack() as others, AsyncExitStack() as first:
        await first.enter_async_context(replica(server, gossip, tools, "one"))
        await others.enter_async_context(replica(server, gossip, tools, "two"))
        while number < turns:
            waiting, replacing = [], number >= turns // 2 and not gossip.cut
            for _ in range(min(dice.randint(1, 8), turns - number)):
                number += 1
                where = dice.choice(list(PEOPLE))
                text = f"{dice.choice(TALK)} [{where}:{number}]" + FILLING * (dice.random() < 0.2)
                waiting.append(await house.say(number, where, "/new" if dice.random() < 0.02 else text))
            if replacing:
                gossip.delay = 0.6  # longer than it is given to end what it does
                await asyncio.sleep(0.1)
                await first.aclose()
                gossip.delay = 0.0
                await first.enter_async_context(replica(server, gossip, tools, f"one-{number}"))
            await house.hear(*waiting)
            cards, house.cards = house.cards, []
            for where, card in cards:
                if dice.random() < 0.5:
                    await _decide(house, number := number + 1, where, card)
        return gossip, house, [look, send]


async def _found(given: dict[str, Any]) -> str:
    return f"There is much to be said of {given['what']}."


async def _decide(house: House, number: int, where: str, card: str) -> None:
    said = await house.say(number, where, f"/approve {card}")
    await house.hear(said)
    if house.answered[said].text.startswith("Approved"):
        await house.hear(f"approval:{card}")


def check(gossip: Gossip, house: House, tools: list[Fake]) -> None:
    assert gossip.crossovers == []
    assert house.crossovers == []
    assert house.twice == []
    for tool in tools:
        assert tool.made, f"{tool.spec.name} was never called: the test saw nothing of it"
        for given, context in zip(tool.made, tool.contexts, strict=True):
            assert owners(json.dumps(given)) == {context.address.conversation}
            assert context.person.user == PEOPLE[context.address.conversation]
    assert gossip.cut > 0
    assert gossip.asked["summary"] > 0
    assert any(id.startswith("approval:") for id in house.answered)


async def test_no_crossover_in_the_store(bus_server: BusServer) -> None:
    check(*await play(bus_server, 60, seed=1))


@pytest.mark.long
@pytest.mark.timeout(1800)
async def test_no_crossover_in_the_store_in_ten_thousand_turns(bus_server: BusServer) -> None:
    check(*await play(bus_server, 10_000, seed=2))


async def test_a_crossover_in_the_store_would_be_seen(bus_server: BusServer) -> None:
    """The record of one conversation is put in another's place."""
    house = House(await bus_server.connect("gateway"))
    await house.start()
    sessions = (await bus_server.connect("agent")).kv("sess")
    keys = {name: key for key, name in house.keys.items()}
    async with Gossip() as gossip, replica(bus_server, gossip, [], "one"):
        await house.hear(await house.say(1, "garden", "my secret word is [garden:1]"))
        await asyncio.sleep(0.2)  # its outbox is cleared after the reply
        entry = await sessions.get(f"web.{keys['garden']}")
        assert entry is not None
        await sessions.put(f"web.{keys['kitchen']}", entry.value)
        await house.hear(await house.say(2, "kitchen", "what did I say before [kitchen:2]"))
    assert len(gossip.crossovers) == 1
    assert len(house.crossovers) >= 1
