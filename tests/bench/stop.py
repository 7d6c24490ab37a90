"""STOP, in figures: from the moment when somebody says it to the last effect of what was stopped.

    tests/bench/run stop              # 200 tries of each scene
    tests/bench/run stop --tries 20

A real agent (its own ``main``), a real bus, a real gateway, the real Telegram adapter as a process of its own against
its simulator. The scenes, and what counts as an effect of them:

    model          the model streams an answer            a delta that is heard; the stream at the provider
    web_fetch      a page that never ends is fetched      a byte that the server could send
    files          file after file is written             a file's time
    plugin loop    WebAssembly that computes for ever     its process
    plugin http    a host's call that gets no answer      the connection at the server
    parts          a long answer goes out in parts        any request of the bot for that chat

Each try is stopped from another surface in turn: the command line (one conversation, everything), the gateway's
WebSocket and its HTTP interface; in Telegram by ``/stop``. Effects are watched until a second and a half after the last
try, so one that comes late is seen. Zero means: nothing happened any more after the stop was said.
"""

import argparse
import asyncio
import ipaddress
import json
import math
import random
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import uvloop
from aiohttp import web

from channels import ChannelHouse, until
from guests import binary, fetching, guest, manifest
from harness import BusServer, free_port
from integration.test_plugins import LOOP, Operator
from opencrust.access import Scope
from opencrust.bus import Bus, Message
from opencrust.config import AgentSettings, Configuration, Provider, ProviderKind
from opencrust.config.egress import EgressSettings
from opencrust.contracts import (
    EventType,
    Finish,
    InboundMessage,
    OutboundMessage,
    Trust,
    TurnEvent,
    decode,
    encode,
)
from opencrust.service import Context
from opencrust_agent.egress.addresses import Address
from opencrust_agent.egress.resolver import SystemResolver
from opencrust_cli.stop import say
from opencrust_sim.telegram import BOT_ID, TOKEN, TelegramSimulator
from simulators.conversation import agent, inbound
from simulators.model import ModelSimulator
from simulators.model_replies import Call, Reply
from simulators.web import running_gateway

HOUSE = "127.0.0.2"
HANGS = "hangs.example.com"
WATCHED_AFTER = 1.5
SLOW = 0.1
BOUND = 1.0
PLUGINS = {"plugin loop": "busy", "plugin http": "caller"}
SCENES = ("model", "web_fetch", "files", "plugin loop", "plugin http")
PIECE_OF_ANSWER = "A sentence of a long answer that goes on. " * 10
PIECES = 30
LONG_ANSWER = PIECE_OF_ANSWER * PIECES

Say = Callable[[], Awaitable[object]]


class Driver(ModelSimulator):
    """Does what the last message of the person asks for: ``<scene>/<conversation>/<port>``."""

    def _by_name(self, model: str, body: dict[str, Any]) -> Reply:
        messages = body["messages"]
        asked = max(n for n, m in enumerate(messages) if m["role"] == "user")
        scene, _, rest = str(messages[asked]["content"]).partition("/")
        name, _, port = rest.partition(" ")[0].partition("/")
        match scene:
            case "web_fetch":
                return Reply(calls=(Call("web_fetch", {"url": f"http://{HOUSE}:{port}/{name}"}),))
            case "files":
                step = len(messages) - asked
                files = ({"path": f"{name}/{step}-{n}.txt", "text": "x"} for n in range(16))
                return Reply(calls=tuple(Call("file_write", given) for given in files))
            case "plugin loop" | "plugin http":
                return Reply(calls=(Call(f"{PLUGINS[scene]}_echo", {"text": name}),))
            case "parts":
                return Reply(deltas=(PIECE_OF_ANSWER,) * PIECES)
        return Reply(deltas=tuple(f"word{n} " for n in range(2_000)), pace=0.005)


class Effects:
    """When the last one of each conversation was (seconds of ``time.time``), and whether one was seen at all."""

    def __init__(self) -> None:
        self.last: dict[str, float] = defaultdict(float)
        self.replies: dict[str, OutboundMessage] = {}

    def now(self, conversation: str) -> None:
        self.last[conversation] = time.time()

    async def heard(self, message: Message) -> None:
        event = decode(TurnEvent, message.data)
        if event.type is EventType.DELTA:
            self.now(event.message_id)

    async def replied(self, message: Message) -> None:
        reply = decode(OutboundMessage, message.data)
        self.replies[reply.in_reply_to] = reply

    async def drip(self, request: web.Request) -> web.StreamResponse:
        """A page without an end. aiohttp raises here as soon as the client is gone."""
        response = web.StreamResponse(headers={"Content-Type": "text/plain"})
        await response.prepare(request)
        while True:
            await response.write(b"more and more\n")
            self.now(request.match_info["name"])
            await asyncio.sleep(0.005)

    def files(self, workspace: Path) -> None:
        """Look at the files that are there."""
        for path in workspace.rglob("*-*.txt"):
            self.last[path.parent.name] = max(self.last[path.parent.name], path.stat().st_mtime)


class House:
    """What the scenes of the web need."""

    def __init__(self, server: BusServer, context: Context, workspace: Path, page: int) -> None:
        self.server = server
        self.context = context
        self.workspace = workspace
        self.page = page
        self.effects = Effects()
        self.bus: Bus
        self.hanging = ""
        """The conversation whose plugin may connect now."""

    async def hang(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """A server that takes a connection and never answers; the connection is the effect."""
        conversation = self.hanging
        while await reader.read(4096):
            self.effects.now(conversation)
        self.effects.now(conversation)
        writer.close()

    async def say(self, scene: str, conversation: str) -> InboundMessage:
        text = f"{scene}/{conversation}/{self.page}"
        if scene == "web_fetch":
            text += f" http://{HOUSE}:{self.page}/{conversation}"
        message = inbound(0, text, conversation)
        message = message.model_copy(update={"id": conversation, "trust": Trust.OWNER})
        await self.bus.publish_stored(f"msg.in.web.{message.key}", encode(message), message_id=message.dedupe_id)
        return message

    def plugins(self) -> list[str]:
        running: list[str] = self.context.facts()["plugins"]["running"]  # type: ignore[index]
        return running

    async def going(self, scene: str, conversation: str) -> None:
        """Until the effect is there to be stopped."""
        if scene == "plugin loop":
            await until(lambda: self.plugins() == ["busy"])
            await asyncio.sleep(random.uniform(0, 0.05))
            return
        if scene == "files":
            folder = f"{conversation}/*.txt"
            await until(lambda: next(self.workspace.rglob(folder), None) is not None, pause=0.003)
            return
        await until(lambda: self.effects.last[conversation] > 0, pause=0.003)

    async def ended(self, scene: str, conversation: str) -> None:
        if scene == "plugin loop":
            await until(lambda: not self.plugins(), pause=0.002)
            self.effects.now(conversation)
        await until(lambda: conversation in self.effects.replies)
        assert self.effects.replies[conversation].finish is Finish.STOPPED, self.effects.replies[conversation].text


@asynccontextmanager
async def house(server: BusServer, directory: Path, driver: Driver) -> AsyncIterator[House]:
    """A running agent with its tools and two plugins, and a place on the network to be reached."""
    listening = free_port()
    allowed = EgressSettings(allow=(f"{HOUSE}:{listening}", f"{HOUSE}:{listening + 1}"))
    provider = Provider(name="sim", kind=ProviderKind.OPENAI, base_url=driver.url, model="driver")
    configuration = Configuration(providers=(provider,), agent=AgentSettings(egress=allowed))
    for key, value in configuration.for_services().items():
        await (await server.connect("provisioner")).kv("cfg").put(key, value)

    async def here(self: SystemResolver, host: str) -> list[Address]:
        assert host == HANGS, "a test asks no name server"
        return [ipaddress.ip_address(HOUSE)]

    async with AsyncExitStack() as stack:
        stack.enter_context(mock.patch.object(SystemResolver, "addresses", here))
        context = await stack.enter_async_context(agent(server, directory))
        made = House(server, context, directory / "workspace", listening)
        app = web.Application()
        app.router.add_get("/{name}", made.effects.drip)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0, handler_cancellation=True)
        await runner.setup()
        stack.push_async_callback(runner.cleanup)
        await web.TCPSite(runner, HOUSE, listening).start()
        hanging = await asyncio.start_server(made.hang, HOUSE, listening + 1)
        stack.callback(hanging.close)
        made.bus = await server.connect("gateway")
        await made.bus.subscribe("evt.conv.web.*", made.effects.heard)
        await made.bus.subscribe("log.web.*", made.effects.replied)
        operator = Operator(await server.connect("cli"))
        calm = {"timeout_ms": 30_000, "compute_ms": 30_000}
        rule = f'[[http]]\nhost = "{HANGS}"\nport = {listening + 1}\n'
        asking = fetching({"url": f"https://{HANGS}:{listening + 1}/"})
        for name, code, more in (("busy", guest(LOOP), ""), ("caller", asking, rule)):
            done = await operator.install(binary(code), manifest(name=name, more=more, **calm))
            assert done.error == "", done.error
        yield made


@asynccontextmanager
async def surfaces(server: BusServer) -> AsyncIterator[Callable[[str], list[Say]]]:
    """The ways to say STOP to a conversation of the web."""
    cli = await server.connect("cli")
    async with AsyncExitStack() as stack:
        gateway = await stack.enter_async_context(running_gateway(server, answering=False))
        token, _ = await gateway.bearer(Scope.CHAT)
        client = await stack.enter_async_context(gateway.client(token))
        socket = await stack.enter_async_context(client.ws_connect("/v1/ws"))

        async def by_http(conversation: str) -> None:
            said = {"model": "x", "user": conversation, "messages": [{"role": "user", "content": "/stop"}]}
            async with client.post("/v1/chat/completions", json=said) as answer:
                assert answer.status == 200, await answer.text()

        def ways(conversation: str) -> list[Say]:
            frame = {"type": "req", "id": conversation, "op": "stop", "params": {"conversation": conversation}}
            return [
                lambda: say(cli, conversation),
                lambda: say(cli, None),
                lambda: socket.send_json(frame),
                lambda: by_http(conversation),
            ]

        yield ways


async def web_scenes(
    server: BusServer, directory: Path, tries: int, scenes: tuple[str, ...] = SCENES
) -> dict[str, list[float]]:
    """Seconds from each stop to the last effect, by scene."""
    stopped: dict[str, dict[str, float]] = {scene: {} for scene in scenes}
    async with (
        Driver() as driver,
        house(server, directory, driver) as made,
        surfaces(server) as ways,
    ):
        for number in range(tries):
            for scene in scenes:
                conversation = f"{scene.replace(' ', '-')}-{number}"
                made.hanging = conversation
                await made.say(scene, conversation)
                await made.going(scene, conversation)
                said = ways(conversation)[number % 4]
                stopped[scene][conversation] = time.time()
                await said()
                await made.ended(scene, conversation)
        await asyncio.sleep(WATCHED_AFTER)
        made.effects.files(made.workspace)
        assert driver.open_streams == 0
    last = made.effects.last
    return {scene: [max(0.0, last[c] - at) for c, at in found.items()] for scene, found in stopped.items()}


async def parts(server: BusServer, directory: Path, tries: int, together: int = 8) -> list[float]:
    """The same for the parts of a long answer in Telegram."""
    async with (
        TelegramSimulator() as telegram,
        ChannelHouse(
            server, "telegram", {"token": TOKEN}, api_base=telegram.url, options={"poll_seconds": 1}
        ) as channel,
        Driver() as driver,
    ):
        provider = Provider(name="sim", kind=ProviderKind.OPENAI, base_url=driver.url, model="driver")
        for key, value in Configuration(providers=(provider,)).for_services().items():
            if key.startswith("agent."):
                await (await server.connect("provisioner")).kv("cfg").put(key, value)
        async with agent(server, directory):
            await asyncio.to_thread(channel.adapter)
            telegram.fault("sendMessage", "stall", 1_000_000, seconds=SLOW)  # as far away as the real one
            cli = await server.connect("cli")
            everything = asyncio.Lock()
            stopped: dict[int, float] = {}

            async def one(chat: int, together: int) -> None:
                await telegram.say("parts", chat=chat, user=chat)
                key = inbound(0, "x").model_copy(
                    update={"channel": "telegram", "account": str(BOT_ID), "conversation": str(chat)}
                ).key  # fmt: skip
                await until(lambda: any(sent.chat == chat for sent in telegram.sent), 30, pause=0.005)
                await asyncio.sleep(random.uniform(0, 0.1))
                stopped[chat] = time.time()
                if together == 1:
                    await say(cli, None)
                elif chat % 2:
                    await telegram.say("/stop", chat=chat, user=chat)
                else:
                    await say(cli, f"telegram.{key}")

            chat = 0
            while chat < tries:
                batch = 1 if chat % (together + 1) == 0 else min(together, tries - chat)  # alone: everything is stopped
                async with everything:
                    await asyncio.gather(*(one(chat + n + 1, batch) for n in range(batch)))
                chat += batch
            await asyncio.sleep(WATCHED_AFTER)
        whole = math.ceil(len(LONG_ANSWER) / 4096)
        for chat in stopped:
            sent = sum(sent.chat == chat for sent in telegram.sent)
            assert 1 <= sent < whole, f"{sent} of {whole} parts were sent: it must be stopped between"
    last = dict.fromkeys(stopped, 0.0)
    for entry in telegram.journal:
        number = entry["parameters"].get("chat_id")
        if number is not None and int(number) in last:
            last[int(number)] = entry["at"]
    return [max(0.0, last[chat] - at) for chat, at in stopped.items()]


def figures(times: list[float]) -> dict[str, float]:
    """Of seconds: milliseconds."""
    whole = sorted(times)
    at = {"p50": whole[len(whole) // 2], "p99": whole[math.ceil(0.99 * len(whole)) - 1], "max": whole[-1]}
    return {"tries": len(whole), **{name: round(seconds * 1000, 1) for name, seconds in at.items()}}


def table(found: dict[str, dict[str, float]]) -> str:
    lines = [f"{'STOP during':14} tries   p50 ms   p99 ms   max ms"]
    lines += [f"{scene:14} {f['tries']:5} {f['p50']:8} {f['p99']:8} {f['max']:8}" for scene, f in found.items()]
    return "\n".join(lines)


async def measured(home: Path, tries: int) -> dict[str, dict[str, float]]:
    found: dict[str, dict[str, float]] = {}
    for name in ("web", "parts"):
        directory = home / name
        directory.mkdir(mode=0o700)
        server = BusServer(directory / "home")
        server.home.mkdir(mode=0o700)
        server.start()
        try:
            await server.provision()
            if name == "web":
                times = await web_scenes(server, directory / "agent", tries)
            else:
                times = {"parts": await parts(server, directory / "agent", tries)}
            found |= {scene: figures(seconds) for scene, seconds in times.items()}
        finally:
            await server.close()
            server.stop()
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tries", type=int, default=200, help="of each scene")
    parser.add_argument("--json", action="store_true", help="for scripts")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as home:
        found = uvloop.run(measured(Path(home), options.tries))
    print(json.dumps(found) if options.json else table(found))
    return 0 if all(f["p99"] <= BOUND * 1000 for f in found.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
