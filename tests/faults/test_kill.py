"""kill -9 of agent, gateway and nats-server at random under load: every accepted message answered exactly once.

Counted twice: by a client that comes back over its WebSocket, and in CONVLOG, the stream of all replies.
"""

import asyncio
import contextlib
import json
import random
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from house import House
from opencrust.bus import Bus
from opencrust.contracts import OutboundMessage, decode
from opencrust.identity import Identity
from simulators.model import ModelSimulator

SERVICES = ("agent", "gateway", "bus")


class Client:
    """Sends messages and comes back after every loss, as the documented protocol says. Knows nothing of the server."""

    def __init__(self, url: str, token: str) -> None:
        self._url = url
        self._headers = {"Authorization": f"Bearer {token}"}
        self.accepted: set[str] = set()
        self.replies: dict[str, set[str]] = defaultdict(set)
        self.texts: dict[str, str] = {}
        self.order: dict[str, list[str]] = defaultdict(list)
        self.reconnects = 0

    async def converse(self, conversation: str, messages: list[str]) -> None:
        """Send each message, repeat it until it is accepted, and stay until all are answered."""
        waiting = list(messages)
        while waiting or not all(self.replies[m] for m in messages):
            try:
                await self._session(conversation, waiting, messages)
            except (aiohttp.ClientError, OSError, TimeoutError, ConnectionResetError):
                self.reconnects += 1
                await asyncio.sleep(random.uniform(0.05, 0.3))

    async def _session(self, conversation: str, waiting: list[str], messages: list[str]) -> None:
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=3)
        async with (
            aiohttp.ClientSession(headers=self._headers, timeout=timeout) as session,
            session.ws_connect(f"{self._url}/v1/ws", heartbeat=10) as socket,
        ):
            await self._send(socket, "open", "open", conversation=conversation)
            sent: str | None = None
            while waiting or not all(self.replies[m] for m in messages):
                frame = await socket.receive(timeout=10)
                if frame.type is not aiohttp.WSMsgType.TEXT:
                    raise ConnectionResetError
                value = json.loads(frame.data)
                if value["type"] == "res" and not value["ok"]:
                    await asyncio.sleep(0.2)
                    sent = None
                elif value["type"] == "res" and value["id"] == "open":
                    for turn in value["result"]["history"]:
                        self._answered(conversation, turn)
                elif value["type"] == "res":
                    self.accepted.add(value["id"])
                    waiting.remove(value["id"])
                    if "reply" in value["result"]:
                        self._answered(conversation, {"message_id": value["id"], **value["result"]["reply"]})
                    sent = None
                elif value["type"] == "event" and value["event"] == "reply":
                    self._answered(conversation, value)
                if sent is None and waiting:
                    sent = waiting[0]
                    await self._send(
                        socket, sent, "send", conversation=conversation, text=f"say {sent}", message_id=sent
                    )

    def _answered(self, conversation: str, reply: dict[str, Any]) -> None:
        message = reply["message_id"]
        if reply["reply_id"] not in self.replies[message]:
            self.order[conversation].append(message)
        self.replies[message].add(reply["reply_id"])
        self.texts[message] = reply["text"]

    @staticmethod
    async def _send(socket: aiohttp.ClientWebSocketResponse, number: str, op: str, **params: Any) -> None:
        await socket.send_json({"type": "req", "id": number, "op": op, "params": params})


async def murder(house: House, dice: random.Random, pause: tuple[float, float], done: asyncio.Event) -> Counter[str]:
    """Kill a random service every so often until ``done``."""
    killed: Counter[str] = Counter()
    while not done.is_set():
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(done.wait(), dice.uniform(*pause))
            break
        service = SERVICES[sum(killed.values()) % len(SERVICES)]
        if await asyncio.to_thread(house.kill, service):
            killed[service] += 1
    return killed


async def logged(house: House) -> list[OutboundMessage]:
    """All of CONVLOG, read as the provisioner."""
    url = house.status()["bus_url"]
    bus = await Bus.connect(url, Identity(house.home / "identity" / "provisioner"))
    try:
        manager = bus.jetstream_manager()
        state = (await manager.stream_info("CONVLOG")).state
        return [
            decode(OutboundMessage, (await manager.get_msg("CONVLOG", seq=seq)).data or b"")
            for seq in range(state.first_seq, state.last_seq + 1)
            if state.messages
        ]
    finally:
        await bus.close()


async def under_fire(directory: Path, *, conversations: int, each: int, seed: int) -> str:
    """The whole test; returns a line of figures."""
    dice = random.Random(seed)
    loop = asyncio.get_running_loop()
    async with ModelSimulator() as simulator:
        house = House(directory / "home")
        await asyncio.to_thread(house.up)
        try:
            await asyncio.to_thread(house.provider, simulator.url, "delay:150")
            client = Client(house.url, await asyncio.to_thread(house.token, "chat", "read"))
            work = {f"c{c}": [f"c{c}-m{m}" for m in range(each)] for c in range(conversations)}
            done = asyncio.Event()
            murdering = asyncio.create_task(murder(house, dice, (0.5, 2.0), done))
            begin = loop.time()
            async with asyncio.timeout(60 + conversations * each):
                await asyncio.gather(*(client.converse(name, messages) for name, messages in work.items()))
            done.set()
            killed = await murdering
            seconds = loop.time() - begin
            await asyncio.sleep(1)
            replies = await logged(house)
        finally:
            await asyncio.to_thread(house.run, "down", check=False)
    total = conversations * each
    assert len(client.accepted) == total
    assert {message: len(ids) for message, ids in client.replies.items()} == dict.fromkeys(client.accepted, 1)
    assert Counter(_message(reply) for reply in replies) == dict.fromkeys(client.accepted, 1)
    assert all(client.texts[message] == f"say {message}" for message in client.accepted)
    by_conversation: dict[str, list[str]] = defaultdict(list)
    for reply in replies:
        by_conversation[reply.address.conversation].append(_message(reply))
    assert {name: sorted(messages) for name, messages in work.items()} == {
        name: sorted(messages) for name, messages in by_conversation.items()
    }
    return (
        f"{total} accepted, {total} answered once (client and CONVLOG), {dict(killed)} killed -9, "
        f"{client.reconnects} reconnects, {len(simulator.requests)} model calls, {seconds:.0f} s"
    )


def _message(reply: OutboundMessage) -> str:
    """The client's own id; the gateway puts the conversation's key before it."""
    return reply.in_reply_to.rpartition(".")[2]


@pytest.mark.timeout(300)
async def test_a_hundred_messages_under_kill_9(tmp_path: Path) -> None:
    print("\n" + await under_fire(tmp_path, conversations=10, each=10, seed=1))


@pytest.mark.long
@pytest.mark.timeout(900)
async def test_five_hundred_messages_under_kill_9(tmp_path: Path) -> None:
    print("\n" + await under_fire(tmp_path, conversations=20, each=25, seed=2))
