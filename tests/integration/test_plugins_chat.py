"""A running agent while its plugins misbehave: it answers every chat, and STOP ends a plugin's call within a second."""

import asyncio
import json
import time
from pathlib import Path

import pytest

from guests import binary, fetching, guest, manifest
from harness import BusServer
from integration.test_agent import configure, provider
from integration.test_plugins import Operator
from integration.test_tools import Talk, call
from opencrust.contracts import Finish
from opencrust_cli import plugins_package
from simulators.conversation import agent
from simulators.model import ModelSimulator
from simulators.model_replies import Reply

LOOP = "(loop (br 0)) (unreachable)"


async def test_stop_ends_a_plugin_within_a_second(bus_server: BusServer, tmp_path: Path) -> None:
    async with ModelSimulator() as simulator:
        await configure(bus_server, provider(simulator))
        operator = Operator(await bus_server.connect("cli"))
        talk = Talk(await bus_server.connect("gateway"))
        await talk.start()
        async with agent(bus_server, tmp_path / "agent") as context:
            looping = manifest(name="slow", timeout_ms=20_000, compute_ms=20_000)
            assert (await operator.install(binary(guest(LOOP)), looping)).error == ""
            simulator.queue(Reply(calls=(call("slow_echo", text="x"),)), Reply("not reached"))
            message = await talk.say("use it")
            async with asyncio.timeout(10):
                while context.facts()["plugins"]["running"] != ["slow"]:  # type: ignore[index]
                    await asyncio.sleep(0.02)
            await asyncio.sleep(0.3)
            started = time.monotonic()
            await talk.bus.publish(f"ctl.stop.web.{message.key}", b"")
            async with asyncio.timeout(3):
                while context.facts()["plugins"]["running"]:  # type: ignore[index]
                    await asyncio.sleep(0.01)
            assert time.monotonic() - started < 1
            assert (await talk.hear()).finish is Finish.STOPPED


async def test_the_javascript_example_runs_and_is_held_to_its_host(bus_server: BusServer, tmp_path: Path) -> None:
    package = plugins_package.read(Path(__file__).parents[2] / "examples" / "plugins" / "github-issues.zip")
    operator = Operator(await bus_server.connect("cli"))
    async with agent(bus_server, tmp_path / "agent"):
        done = await operator.install(package.component, package.manifest)
        assert done.error == ""
        tools = {tool.name: tool.effects for tool in done.plugins[0].current.tools}
        assert tools == {"list_issues": ["read"], "open_issue": ["send"]}
        said = " ".join(done.plugins[0].current.permissions)
        assert "api.github.com" in said
        assert "plugin.github-issues.gh" in said
        wrong = await operator.ask(
            "call", name="github-issues", tool="list_issues", arguments={"repository": "../../user"}
        )
        assert wrong.failed
        assert "owner/name" in wrong.text
        no_secret = await operator.ask(
            "call", name="github-issues", tool="list_issues", arguments={"repository": "a/b"}
        )
        assert no_secret.failed  # no vault runs here, so no credential: nothing was sent


@pytest.mark.parametrize("url", ["https://evil.example.com/", "http://127.0.0.1:4222/"])
async def test_a_plugin_reaches_nothing_that_was_not_agreed_to(bus_server: BusServer, tmp_path: Path, url: str) -> None:
    operator = Operator(await bus_server.connect("cli"))
    async with agent(bus_server, tmp_path / "agent"):
        more = '[[http]]\nhost = "api.example.com"\n'
        assert (await operator.install(binary(fetching({"url": url})), manifest(more=more))).error == ""
        answer = await operator.ask("call", name="guest", arguments={})
        assert answer.failed
        assert answer.text.startswith("refused: ")
        assert json.dumps(answer.text).isascii()
