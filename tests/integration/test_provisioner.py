"""The provisioner's command against the real server: idempotent, migrating, fail-safe."""

import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.hashes import SHA256

from guests import binary, guest, manifest, text
from harness import BusServer, free_port
from integration.test_plugins import Operator
from opencrust.bus import Bus, subjects
from opencrust.bus.blobs import PART, Blobs
from opencrust.bus.registry import CHANNELS, IDENTITIES, STREAMS
from opencrust.bus.topology import _stream
from opencrust.config import AgentSettings, Configuration
from opencrust.identity import Identity
from simulators.conversation import agent

ENVIRONMENT = {"PATH": os.environ["PATH"], "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}


def command(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "opencrust_provisioner", *arguments],
        capture_output=True, text=True, env=ENVIRONMENT, timeout=60, check=False,
    )  # fmt: skip


def test_prepare_makes_every_identity_and_is_idempotent(tmp_path: Path) -> None:
    arguments = ("prepare", "--home", str(tmp_path / "home"), "--port-bus", str(free_port()))
    first, second = command(*arguments), command(*arguments)
    assert first.returncode == second.returncode == 0, first.stderr + second.stderr
    issued = json.loads(first.stdout)
    assert set(issued["issued"]) == {identity.service for identity in IDENTITIES} | {"bus"}
    assert issued["reload"] is True
    assert json.loads(second.stdout) == {"issued": [], "configuration": False, "reload": False}
    for identity in IDENTITIES:
        directory = tmp_path / "home" / "identity" / identity.service
        assert Identity(directory).service == identity.service
        assert directory.stat().st_mode & 0o077 == 0
        assert {p.stat().st_mode & 0o777 for p in directory.iterdir()} == {0o600}
    assert (tmp_path / "home" / "ca").stat().st_mode & 0o077 == 0


async def test_apply_publishes_the_configuration_and_repairs_what_is_missing(bus_server: BusServer) -> None:
    arguments = ("apply", "--home", str(bus_server.home), "--port-bus", str(bus_server.port))
    first = command(*arguments)
    assert first.returncode == 0, first.stderr
    assert sorted(json.loads(first.stdout)["published"]) == [
        "agent.providers",
        "agent.settings",
        *(
            f"{channel.service}.settings"
            for channel in sorted(CHANNELS, key=lambda c: c.service)
            if channel.name != "web"
        ),
    ]
    assert json.loads(command(*arguments).stdout) == {"created": [], "updated": [], "published": []}
    provisioner = await bus_server.connect("provisioner")
    await provisioner.jetstream_manager().delete_consumer("MSG_IN", "agent")
    assert json.loads(command(*arguments).stdout)["created"] == ["MSG_IN/agent"]


async def test_a_changed_size_migrates_without_loss(bus_server: BusServer) -> None:
    gateway = await bus_server.connect("gateway")
    for number in range(20):
        await gateway.publish_stored(f"msg.in.web.{'a' * 26}", b"x", message_id=str(number))
    Configuration(stream_bytes={"MSG_IN": 2 << 20}).save(bus_server.home)
    done = command("apply", "--home", str(bus_server.home), "--port-bus", str(bus_server.port))
    assert json.loads(done.stdout)["updated"] == ["MSG_IN"]
    provisioner = await bus_server.connect("provisioner")
    info = await provisioner.jetstream_manager().stream_info("MSG_IN")
    assert (info.state.messages, info.config.max_bytes) == (20, 2 << 20)


async def test_apply_with_reload_serves_a_renewed_certificate(bus_server: BusServer) -> None:
    (bus_server.home / "identity" / "bus" / "cert.pem").unlink()
    prepared = command("prepare", "--home", str(bus_server.home), "--port-bus", str(bus_server.port))
    assert json.loads(prepared.stdout)["issued"] == ["bus"]
    applied = command("apply", "--home", str(bus_server.home), "--port-bus", str(bus_server.port), "--reload")
    assert applied.returncode == 0, applied.stderr
    await bus_server.connect("agent")


async def test_the_authority_is_replaced_while_everything_runs(bus_server: BusServer) -> None:
    """A service that renews its certificate in place stays connected through all three steps, and comes back after."""
    home, port = str(bus_server.home), str(bus_server.port)
    identity = bus_server.identity("agent")
    agent = await Bus.connect(bus_server.url, identity)
    before = identity.trusted[0].fingerprint(SHA256())
    for step in ("begin", "switch", "finish"):
        assert command("rotate", "--home", home, step).returncode == 0
        assert command("prepare", "--home", home, "--port-bus", port).returncode == 0
        done = command("apply", "--home", home, "--port-bus", port, "--reload")
        assert done.returncode == 0, done.stderr
        identity.reload_if_changed()
        assert agent.connected
    assert before not in [authority.fingerprint(SHA256()) for authority in identity.trusted]
    bus_server.restart()
    await agent.publish_stored(subjects.msg_out("web", "a" * 26), b"x", message_id="after", timeout=15)
    await agent.close()
    refused = command("rotate", "--home", home, "finish")
    assert refused.returncode == 1


@pytest.mark.parametrize(
    ("text", "says"), [("{", "line 1"), ('{"stream_bytes": {"NOPE": 9999999}}', "no such stream to size: NOPE")]
)
async def test_a_wrong_configuration_publishes_nothing(bus_server: BusServer, text: str, says: str) -> None:
    Configuration.path(bus_server.home).parent.mkdir(mode=0o700)
    Configuration.path(bus_server.home).write_text(text)
    done = command("apply", "--home", str(bus_server.home), "--port-bus", str(bus_server.port))
    assert done.returncode == 1
    assert says in done.stderr
    agent = await bus_server.connect("agent")
    assert await agent.kv("cfg").get("agent.providers") is None


def test_a_bus_that_is_away_is_said(tmp_path: Path) -> None:
    port = str(free_port())
    command("prepare", "--home", str(tmp_path / "home"), "--port-bus", port)
    done = command("apply", "--home", str(tmp_path / "home"), "--port-bus", port, "--timeout", "1")
    assert done.returncode == 1
    assert "no connection to the bus" in done.stderr


async def test_a_server_that_reads_its_configuration_again_is_waited_for(bus_server: BusServer) -> None:
    """As `opencrust providers add` does it: SIGHUP to the server, and apply in the same moment."""
    assert bus_server.process is not None
    for number in range(4):
        Configuration(agent=AgentSettings(slots=10 + number)).save(bus_server.home)
        bus_server.process.send_signal(signal.SIGHUP)
        done = command("apply", "--home", str(bus_server.home), "--port-bus", str(bus_server.port))
        assert done.returncode == 0, done.stderr
        assert "agent.settings" in json.loads(done.stdout)["published"]


async def test_a_home_of_before_keeps_what_is_installed_and_loses_the_duplicates(
    bus_server: BusServer, tmp_path: Path
) -> None:
    """MEDIA and PLUGINS once kept every message of a subject; now the last. Changed in place, under what is stored."""
    manager = (await bus_server.connect("provisioner")).jetstream_manager()
    for stream in STREAMS:
        if stream.latest_only:
            await manager.delete_stream(stream.name)
            await manager.add_stream(_stream(replace(stream, latest_only=False)))
    component = binary(guest(data=text(9000, "x" * 2 * PART), memory="40"))
    picture = bytes(range(256)) * 1024
    cli, telegram = await bus_server.connect("cli"), await bus_server.connect("channel-telegram")
    media = Blobs(telegram, "MEDIA", partial(subjects.media, "telegram"))
    operator = Operator(cli)
    async with agent(bus_server, tmp_path / "before"):
        for version in ("1.0.0", "1.1.0"):  # looked at twice, so its bytes are there twice
            assert (await operator.install(component, manifest(version=version))).error == ""
        name = await media.put(picture)
        assert await media.put(picture) == name

    async def counts(stream: str) -> tuple[int, int]:
        state = (await manager.stream_info(stream, subjects_filter=">")).state
        return state.messages, len(state.subjects or {})

    before = {stream: await counts(stream) for stream in ("PLUGINS", "MEDIA")}
    assert all(messages == 2 * names for messages, names in before.values()), before
    assert before["PLUGINS"][1] >= 3, "a component of several parts"
    done = command("apply", "--home", str(bus_server.home), "--port-bus", str(bus_server.port))
    assert done.returncode == 0, done.stderr
    assert sorted(json.loads(done.stdout)["updated"]) == ["MEDIA", "PLUGINS"]
    assert {stream: await counts(stream) for stream in before} == {
        s: (names, names) for s, (_, names) in before.items()
    }
    assert await media.get(name, limit=1 << 20) == picture
    async with agent(bus_server, tmp_path / "after"):  # an empty cache: it is compiled from the stream's bytes
        assert (await operator.ask("call", name="guest", arguments={})).error == ""
        assert (await operator.ask("rollback", name="guest")).plugins[0].current.version == "1.0.0"
        assert (await operator.ask("call", name="guest", arguments={})).error == ""
