"""Mutated frames and requests: whatever comes, nothing is our fault (no 5xx, no `internal`), nothing crashes, and
memory stays bounded. A short run in the quick suite; the whole, 100,000 frames and 20,000 requests, in the long one.
"""

import asyncio
import json
import os
import random
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from harness import BusServer
from opencrust.bus import Message, subjects
from opencrust_gateway.limits import Rate
from opencrust_gateway.permissions import OPERATIONS, ROUTES
from opencrust_gateway.settings import Limits
from simulators.web import running_gateway

UNLIMITED = Rate(burst=1e9, per_second=1e9)
LIMITS = Limits(frames=UNLIMITED, requests=UNLIMITED, logins=UNLIMITED, upgrades=UNLIMITED, uploads=UNLIMITED)
GROWTH = 64 * 1024 * 1024
"""Bytes by which this process, gateway and client in one, may grow."""
AT_ONCE = 32
PATIENCE = 1.0
"""Seconds until a request that the mutation made longer than it is counts as unanswered."""
ODD: list[Any] = [None, True, -1, 2**70, 1e308, "", "\x00", "\ud800", "x" * 70_000, [], {}, [[[]]], {"a": {"b": []}}]
CHARACTERS = '\x00"\\{}[],:-0x\u202e\U0001f600\ud800'
PARAMS: dict[str, dict[str, Any]] = {
    "ping": {},
    "open": {"conversation": "x"},
    "resume": {"conversation": "x", "after": 0},
    "close": {"conversation": "x"},
    "stop": {"conversation": "x"},
    "send": {"conversation": "x", "text": "", "message_id": "m", "attachments": []},
    "approve": {"id": "a" * 16, "approve": "yes"},
}


def rss() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def mutated(value: Any, dice: random.Random) -> Any:
    """A JSON value with something in it that does not belong there."""
    if isinstance(value, dict) and value and dice.random() < 0.8:
        key = dice.choice(sorted(value))
        match dice.randrange(4):
            case 0:
                return {name: part for name, part in value.items() if name != key}
            case 1:
                return value | {dice.choice(["v", "x", "", "__proto__", key + "s"]): dice.choice(ODD)}
            case _:
                return value | {key: mutated(value[key], dice)}
    return dice.choice(ODD)


def frame(dice: random.Random) -> str:
    op = dice.choice(sorted(PARAMS))
    good = {"type": "req", "id": "1", "op": op, "params": PARAMS[op]}
    text = json.dumps(mutated(good, dice) if dice.random() < 0.6 else good)
    if dice.random() < 0.5 and len(text) < 2_000:
        letters = list(text)
        for _ in range(dice.randint(1, 6)):
            letters[dice.randrange(len(letters))] = dice.choice(CHARACTERS)
        text = "".join(letters)
    if dice.random() < 0.05:
        text = text[: dice.randrange(len(text) + 1)]
    return text.encode(errors="replace").decode()


async def fuzz_frames(session: aiohttp.ClientSession, count: int, seed: int) -> int:
    """Send `count` frames, each answered; the number of those that were accepted."""
    dice = random.Random(seed)
    accepted = 0
    async with session.ws_connect("/v1/ws", max_msg_size=0) as socket:
        await socket.receive_json()
        for _ in range(count):
            await socket.send_str(frame(dice))
            answer = await socket.receive_json(timeout=20)
            while answer["type"] == "event":
                answer = await socket.receive_json(timeout=20)
            assert answer["type"] == "res", answer
            assert answer["ok"] or answer["error"]["code"] != "internal", answer
            accepted += answer["ok"]
        await socket.send_json({"type": "req", "id": "end", "op": "ping"})
    return accepted


def request(dice: random.Random, port: int, token: str) -> bytes:
    route = dice.choice(ROUTES)
    path = route.path
    for name in ("name", "asset", "id", "key", "sha256"):
        path = path.replace("{" + name + "}", dice.choice(["x", "a" * 64, "%00", "..%2f", "%ff", "b" * 3_000, "é"]))
    body = json.dumps(mutated({"approve": True, "ticket": "x", "messages": [{"role": "user", "content": ""}]}, dice))
    kind = dice.choice(["application/json", "text/plain", "image/png", "application/x-msdownload", "x", ""])
    query = dice.choice(["", "?", "?limit=9", "?limit=-1&before=x", "?limit=1&limit=2", "?%ff=%00"])
    head = (
        f"{dice.choice([route.method, 'GET', 'POST', 'PUT', 'DELETE', 'PATCH', 'TRACE'])} {path}{query} HTTP/1.1\r\n"
        f"Host: 127.0.0.1:{port}\r\nAuthorization: Bearer {token}\r\nContent-Type: {kind}\r\n"
        f"X-File-Name: {dice.choice(['x', '%ff', '%00', 'a' * 300])}\r\n"
        f"Last-Event-ID: {dice.choice(['', '1', 'x'])}\r\n"
        f"Connection: close\r\nContent-Length: {len(body.encode(errors='replace'))}\r\n\r\n"
    )
    raw = bytearray(head.encode() + body.encode(errors="replace"))
    if dice.random() < 0.7:
        for _ in range(dice.randint(1, 8)):
            raw[dice.randrange(len(raw))] = dice.randrange(256)
    return bytes(raw)


async def fuzz_requests(port: int, token: str, count: int, seed: int) -> dict[str, int]:
    """Send `count` requests, each on its own connection; how often each status came ("" where the connection ended)."""
    dice = random.Random(seed)
    statuses: dict[str, int] = {}
    for _ in range(count):
        raw = request(dice, port, token)
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            writer.write(raw)
            answer = await asyncio.wait_for(reader.read(64), PATIENCE)  # of event streams the beginning
        except (ConnectionError, TimeoutError):  # it waits for the rest of a request that has none
            answer = b""
        finally:
            writer.close()
        status = answer[9:12].decode(errors="replace")
        assert not status.startswith("5"), (answer, raw)
        statuses[status] = statuses.get(status, 0) + 1
    return statuses


@pytest.mark.parametrize(
    ("frames", "requests"),
    [(1_600, 480), pytest.param(100_000, 20_000, marks=[pytest.mark.long, pytest.mark.timeout(1_200)])],
    ids=["short", "whole"],
)
async def test_whatever_comes_nothing_is_our_fault(bus_server: BusServer, frames: int, requests: int) -> None:
    async with running_gateway(bus_server, limits=LIMITS, answering=False) as gateway:
        token, _ = await gateway.bearer()
        agent = await bus_server.connect("agent")

        async def refuse(message: Message) -> None:
            await agent.respond(message, b'{"v": 1, "error": "there is none"}')

        for template in (subjects.CTL_APPROVALS, subjects.CTL_PLUGINS):
            await agent.subscribe(subjects.wildcard(template), refuse, queue="agent")
        async with gateway.client(token) as session:
            await fuzz_frames(session, 100, seed=0)  # what is loaded once is loaded
            before = rss()
            each = frames // AT_ONCE
            accepted = await asyncio.gather(*(fuzz_frames(session, each, seed) for seed in range(AT_ONCE)))
            statuses: dict[str, int] = {}
            each = requests // AT_ONCE
            for told in await asyncio.gather(
                *(fuzz_requests(gateway.port, token, each, seed) for seed in range(AT_ONCE))
            ):
                for status, count in told.items():
                    statuses[status] = statuses.get(status, 0) + count
            async with session.get("/v1/models") as found:
                assert found.status == 200
        grown = rss() - before
        counted = f"{frames} frames ({sum(accepted)} accepted), {requests} requests: {statuses}"
        print(f"{counted}; RSS {grown / 2**20:+.0f} MiB")
        assert 0 < sum(accepted) < frames
        assert {"200", "400", "404"} <= statuses.keys()
        assert grown < GROWTH
        assert gateway.gateway.facts()["sockets"] == 0


def test_every_operation_is_among_what_is_mutated() -> None:
    assert PARAMS.keys() == OPERATIONS.keys()
