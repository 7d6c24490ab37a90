"""The gateway under load: many sockets with a fan-out of live events, and an echo through the bus against nats-server's
own WebSocket listener.

Fan-out: the gateway as the product runs it (its own process, its own limits), so many authenticated connections that
have one conversation open, and events on the bus at a steady rate. Each client checks that the numbers of the events
are without gap. The clients are in a process of their own.

Echo: 64 requests in flight on one socket, each a question over the bus to a responder and its answer. Through the
gateway: operation `approve`, with its JSON, scope, contract, and TLS to the bus. Through the WebSocket of a nats-server
without TLS: once by nats-py, as a program would (the responder too), and once in the bare protocol, by hand, with a
responder that does nothing but answer. In rounds that alternate; clients and responders are in this process.
"""

import argparse
import asyncio
import base64
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

import aiohttp
import nats
import uvloop
from nats.aio.client import Client
from nats.aio.msg import Msg

from harness import BusServer, free_port
from opencrust.access import ALL_SCOPES, mint_bearer
from opencrust.access.tokenstore import TokenStore
from opencrust.bus import Message, subjects
from opencrust.contracts import (
    Approval,
    ApprovalCard,
    ApprovalsReply,
    Decision,
    EventType,
    ReplyAddress,
    TurnEvent,
    decode,
    encode,
)
from opencrust_gateway.conversations import Conversation
from opencrust_provisioner.prepare import nats_server
from simulators.gateway_process import GatewayProcess, gateway_process

LOAD = Conversation("operator", "load")
IN_FLIGHT = 64
ID = "a" * 16


@dataclass(frozen=True)
class FanOut:
    """Counts; seconds; bytes. `lost`: events that some client did not get."""

    sockets: int
    rate: float
    seconds: float
    sent: int
    expected: int
    received: int
    lost: int
    closed: int
    finished_after: float
    rss_idle: int
    rss_sockets: int
    rss_most: int


@dataclass(frozen=True)
class Echo:
    """Round trips a second, medians of the rounds; and the gateway's share of the two others."""

    gateway: float
    listener: float
    """By nats-py."""
    bare: float
    """By hand."""
    ratio: float
    ratio_bare: float


@asynccontextmanager
async def house() -> AsyncIterator[tuple[BusServer, GatewayProcess, str]]:
    """A provisioned bus, a gateway process, and a token."""
    with tempfile.TemporaryDirectory() as directory:
        server = BusServer(Path(directory) / "home")
        server.home.mkdir(mode=0o700)
        server.start()
        try:
            await server.provision()
            text, record = mint_bearer("bench", ALL_SCOPES, None, held=ALL_SCOPES)
            await TokenStore(await server.connect("cli")).add(record)
            async with gateway_process(server) as gateway:
                yield server, gateway, text
        finally:
            await server.close()
            server.stop()


# -- fan-out


class Listener(asyncio.Protocol):
    """One WebSocket client, as little as it takes: upgrade, open the conversation, count events and look for gaps."""

    def __init__(self, port: int, token: str) -> None:
        self.opened: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.received = 0
        self.next = 0
        self.gaps = 0
        self.closed = False
        self._upgrade = (
            f"GET /v1/ws HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nAuthorization: Bearer {token}\r\nConnection: Upgrade\r\n"
            f"Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
            f"Sec-WebSocket-Key: {base64.b64encode(os.urandom(16)).decode()}\r\n\r\n"
        ).encode()
        self._buffer = b""
        self._upgraded = False
        self._transport: asyncio.WriteTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.WriteTransport)
        self._transport = transport
        transport.write(self._upgrade)

    def connection_lost(self, error: Exception | None) -> None:
        self.closed = True
        if not self.opened.done():
            self.opened.set_exception(ConnectionError(self._buffer[:80].decode(errors="replace") or "closed"))

    def data_received(self, data: bytes) -> None:
        buffer = self._buffer + data
        if not self._upgraded:
            head, end, buffer = buffer.partition(b"\r\n\r\n")
            if not end:
                self._buffer = head
                return
            if b" 101 " not in head:
                self._buffer = head
                assert self._transport is not None
                self._transport.close()
                return
            self._upgraded = True
            self._ask({"type": "req", "id": "1", "op": "open", "params": {"conversation": LOAD.name}})
        at = 0
        while len(buffer) - at >= 2:
            length, start = buffer[at + 1] & 127, at + 2
            if length == 126:
                length, start = int.from_bytes(buffer[at + 2 : at + 4]), at + 4
            elif length == 127:
                length, start = int.from_bytes(buffer[at + 2 : at + 10]), at + 10
            if len(buffer) < start + length:
                break
            self._frame(buffer[at] & 15, buffer[start : start + length])
            at = start + length
        self._buffer = buffer[at:]

    def _frame(self, kind: int, payload: bytes) -> None:
        if kind == 9:
            self._write(10, payload)
        elif kind == 1 and b'"event":"delta"' in payload:
            index = int(payload[payload.rindex(b'"index":') + 8 :].partition(b",")[0])
            self.gaps += index != self.next
            self.next = index + 1
            self.received += 1
        elif kind == 1 and b'"type":"res"' in payload and not self.opened.done():
            self.opened.set_result(None)

    def _ask(self, frame: dict[str, object]) -> None:
        self._write(1, json.dumps(frame).encode())

    def _write(self, kind: int, payload: bytes) -> None:
        assert self._transport is not None
        assert len(payload) < 126
        self._transport.write(bytes([128 | kind, 128 | len(payload), 0, 0, 0, 0]) + payload)  # mask 0: as it is


async def listen(port: int, token: str, sockets: int) -> None:
    """The client process: connect, say READY, and at a line on stdin tell what came, as JSON."""
    loop = asyncio.get_running_loop()
    listeners: list[Listener] = []
    while len(listeners) < sockets:
        _, listener = await loop.create_connection(lambda: Listener(port, token), "127.0.0.1", port)
        try:
            await listener.opened
        except ConnectionError:  # the gateway takes so many upgrades a second from one address, and no more
            await asyncio.sleep(0.2)
            continue
        listeners.append(listener)
    print("READY", flush=True)
    while (line := await loop.run_in_executor(None, sys.stdin.readline)).strip() == "count":
        told = {
            "received": sum(one.received for one in listeners),
            "least": min(one.received for one in listeners),
            "gaps": sum(one.gaps for one in listeners),
            "closed": sum(one.closed for one in listeners),
        }
        print(json.dumps(told), flush=True)
    assert line is not None


class Clients:
    """That process, from outside."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process

    @classmethod
    async def start(cls, gateway: GatewayProcess, token: str, sockets: int) -> "Clients":
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "BENCH_TOKEN": token}
        process = await asyncio.create_subprocess_exec(
            sys.executable, __file__, "--listen", str(gateway.port), "--sockets", str(sockets),
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment,
        )  # fmt: skip
        assert process.stdout is not None
        line = await process.stdout.readline()
        assert line == b"READY\n", line
        return cls(process)

    async def count(self) -> dict[str, int]:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(b"count\n")
        found: dict[str, int] = json.loads(await self.process.stdout.readline())
        return found


async def fan_out(sockets: int = 1_000, rate: float = 50.0, seconds: float = 30.0, patience: float = 240.0) -> FanOut:
    """Publish, and wait up to `patience` seconds until all have come."""
    async with house() as (server, gateway, token):
        agent = await server.connect("agent")
        idle = gateway.rss()
        clients = await Clients.start(gateway, token, sockets)
        try:
            connected = most = gateway.rss()
            subject = subjects.evt_conv("web", LOAD.key)
            count = int(rate * seconds)
            begin = time.monotonic()
            for index in range(count):
                event = TurnEvent(type=EventType.DELTA, message_id=LOAD.bus_id("m"), index=index, text="a few words ")
                await agent.publish(subject, encode(event))
                await asyncio.sleep(max(0.0, begin + (index + 1) / rate - time.monotonic()))
                if index % 50 == 0:
                    most = max(most, gateway.rss())
            expected = count * sockets
            told = await clients.count()
            while told["received"] < expected and told["closed"] == 0 and time.monotonic() < begin + seconds + patience:
                await asyncio.sleep(0.25)
                most = max(most, gateway.rss())
                told = await clients.count()
            took = time.monotonic() - begin
        finally:
            clients.process.kill()
            await clients.process.wait()
        return FanOut(
            sockets, rate, seconds, count, expected, told["received"], expected - told["received"] + told["gaps"],
            told["closed"], round(took, 1), idle, connected, most,
        )  # fmt: skip


# -- echo


async def in_flight(ask: Callable[[int], Awaitable[None]], hear: Callable[[], Awaitable[int]], count: int) -> float:
    """Round trips a second: `ask` sends number n, `hear` waits for some answers and says how many."""
    sent = heard = 0
    begin = time.perf_counter()
    while heard < count:
        while sent < count and sent - heard < IN_FLIGHT:
            await ask(sent)
            sent += 1
        heard += await hear()
    return count / (time.perf_counter() - begin)


async def through_gateway(socket: aiohttp.ClientWebSocketResponse, count: int) -> float:
    params = {"id": ID, "approve": True}

    async def ask(number: int) -> None:
        await socket.send_str(json.dumps({"type": "req", "id": str(number), "op": "approve", "params": params}))

    async def hear() -> int:
        frame = await socket.receive_json(timeout=20)
        if frame["type"] != "res":
            return 0
        assert frame["ok"], frame
        return 1

    return await in_flight(ask, hear, count)


async def through_listener(socket: aiohttp.ClientWebSocketResponse, question: bytes, count: int) -> float:
    async def ask(number: int) -> None:
        await socket.send_bytes(b"PUB echo inbox.%d %d\r\n%b\r\n" % (number, len(question), question))

    async def hear() -> int:
        message = await socket.receive(timeout=20)
        data: bytes = message.data
        if data.startswith(b"PING"):
            await socket.send_bytes(b"PONG\r\n")
        return data.count(b"MSG inbox.")

    return await in_flight(ask, hear, count)


async def by_nats_py(client: Client, question: bytes, count: int) -> float:
    room = asyncio.Semaphore(IN_FLIGHT)

    async def ask() -> None:
        async with room:
            await client.request("question", question, timeout=20)

    begin = time.perf_counter()
    await asyncio.gather(*(ask() for _ in range(count)))
    return count / (time.perf_counter() - begin)


@asynccontextmanager
async def listener(answer: bytes) -> AsyncIterator[tuple[Client, aiohttp.ClientWebSocketResponse]]:
    """A nats-server with a WebSocket listener, responders on it, and a client of either kind connected."""
    plain, port = free_port(), free_port()
    with tempfile.TemporaryDirectory() as directory:
        configuration = Path(directory) / "nats.conf"
        configuration.write_text(
            f'listen: "127.0.0.1:{plain}"\nwebsocket {{ listen: "127.0.0.1:{port}", no_tls: true }}\n'
        )
        process = await asyncio.create_subprocess_exec(
            nats_server(), "-c", str(configuration), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        try:
            await asyncio.sleep(1)
            reader, writer = await asyncio.open_connection("127.0.0.1", plain)
            serving = asyncio.create_task(respond(reader, writer, answer))
            async with (
                aiohttp.ClientSession() as session,
                session.ws_connect(f"ws://127.0.0.1:{port}", max_msg_size=0) as socket,
            ):
                await socket.receive()
                await socket.send_bytes(b'CONNECT {"verbose":false}\r\nSUB inbox.* 1\r\nPING\r\n')
                while not (await socket.receive()).data.startswith(b"PONG"):
                    pass
                responder = await nats.connect(f"nats://127.0.0.1:{plain}")
                client = await nats.connect(f"ws://127.0.0.1:{port}")

                async def serve(message: Msg) -> None:
                    await message.respond(answer)

                await responder.subscribe("question", cb=serve)
                yield client, socket
                await client.close()
                await responder.close()
            serving.cancel()
            writer.close()
        finally:
            process.kill()
            await process.wait()


async def respond(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, answer: bytes) -> None:
    """Answer every message on `echo`, in the protocol of NATS."""
    writer.write(b'CONNECT {"verbose":false}\r\nSUB echo 1\r\n')
    while line := await reader.readline():
        if line.startswith(b"PING"):
            writer.write(b"PONG\r\n")
        elif line.startswith(b"MSG"):
            *_, reply, size = line.split()
            await reader.readexactly(int(size) + 2)
            writer.write(b"PUB %b %d\r\n%b\r\n" % (reply, len(answer), answer))


async def echo(rounds: int = 5, each: int = 2_000) -> Echo:
    """Alternating rounds of both ways."""
    now = datetime.now(UTC)
    card = ApprovalCard(id=ID, tool="echo", lines=[], expires=now)
    address = ReplyAddress(channel="web", account="operator", conversation="main")
    known = Approval(card=card, address=address, requester="operator", digest="0" * 64, created=now)
    answer, question = encode(ApprovalsReply(approvals=[known])), encode(Decision(id=ID, approve=True))
    async with house() as (server, gateway, token), listener(answer) as other:
        agent = await server.connect("agent")

        async def serve(message: Message) -> None:
            decode(Decision, message.data)
            await agent.respond(message, answer)

        await agent.subscribe(subjects.wildcard(subjects.CTL_APPROVALS), serve, queue="agent")
        client, socket_of_theirs = other
        ours: list[float] = []
        theirs: list[float] = []
        bare: list[float] = []
        for _ in range(rounds):
            headers = {"Authorization": f"Bearer {token}"}
            async with (
                aiohttp.ClientSession(headers=headers) as session,
                session.ws_connect(f"{gateway.url}/v1/ws", max_msg_size=0) as socket,
            ):
                await socket.receive_json()
                ours.append(await through_gateway(socket, min(each, 900)))  # a socket may send 1,000 frames at once
            theirs.append(await by_nats_py(client, question, each))
            bare.append(await through_listener(socket_of_theirs, question, each))
            await asyncio.sleep(1)
    one, two, three = statistics.median(ours), statistics.median(theirs), statistics.median(bare)
    return Echo(one, two, three, one / two, one / three)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sockets", type=int, default=1_000)
    parser.add_argument("--rate", type=float, default=50.0, help="events a second to each")
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--listen", type=int, metavar="PORT", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.listen:
        asyncio.run(listen(options.listen, os.environ["BENCH_TOKEN"], options.sockets))
        return
    load = asyncio.run(fan_out(options.sockets, options.rate, options.seconds))
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        both = runner.run(echo())
    if options.json:
        print(json.dumps({"fan_out": asdict(load), "echo": asdict(both)}))
        return
    print(f"fan-out  {load.sockets} sockets, {load.rate:g} events/s each for {load.seconds:g} s:")
    print(f"         {load.received} received, {load.lost} lost, {load.closed} closed,")
    print(f"         all there after {load.finished_after:g} s")
    mib = [size / 2**20 for size in (load.rss_idle, load.rss_sockets, load.rss_most)]
    print(f"RSS      {mib[0]:.0f} MiB idle, {mib[1]:.0f} with the sockets, {mib[2]:.0f} at most")
    print(f"echo     {both.gateway:.0f}/s through the gateway, {IN_FLIGHT} in flight; by nats-server's own listener")
    print(f"         {both.listener:.0f}/s with nats-py (ratio {both.ratio:.2f}),")
    print(f"         {both.bare:.0f}/s by hand (ratio {both.ratio_bare:.2f})")


if __name__ == "__main__":
    main()
