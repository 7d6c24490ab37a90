"""The service runtime as a process: settings, readiness, draining, exit codes, health."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from harness import BusServer
from opencrust.service import EXIT_FAILED, EXIT_SETTINGS, EXIT_STOPPED, READY_FILE, Settings, SettingsError

PROGRAM = textwrap.dedent("""
    import asyncio, sys
    from opencrust import service

    async def run(context):
        context.facts = lambda: {"answered": 7}
        match context.environment.get("HOW"):
            case "crash":
                raise RuntimeError("a bug with canary-77")
            case "settings":
                raise service.SettingsError("HOW should be something else")
            case "ends":
                return
            case "part":
                async def part():
                    await asyncio.sleep(0.1)
                    raise KeyError("a part")
                context.spawn(part())
        context.ready()
        await context.stopping.wait()
        if context.environment.get("HOW") == "slow":
            await asyncio.sleep(60)

    sys.exit(service.main("agent", run))
""")


class Process:
    def __init__(self, server: BusServer, directory: Path, **extra: str) -> None:
        program = directory / "program.py"
        program.write_text(PROGRAM)
        self.state = directory / "state"
        read, write = os.pipe()
        self.notify = read
        environment = {
            "PYTHONPATH": os.pathsep.join(p for p in sys.path if p),
            "OPENCRUST_IDENTITY_DIR": str(server.home / "identity" / "agent"),
            "OPENCRUST_STATE_DIR": str(self.state),
            "OPENCRUST_BUS_URL": server.url,
            "OPENCRUST_READY_FD": str(write),
            **extra,
        }
        self.popen = subprocess.Popen(
            [sys.executable, str(program)], env=environment, stderr=subprocess.PIPE, text=True, pass_fds=(write,)
        )
        os.close(write)

    async def wait_ready(self) -> bytes:
        return await asyncio.wait_for(asyncio.to_thread(os.read, self.notify, 100), 10)

    async def end(self) -> tuple[int, str]:
        _, said = await asyncio.to_thread(self.popen.communicate, timeout=30)
        os.close(self.notify)
        return self.popen.returncode, said


async def test_ready_health_and_a_clean_stop(bus_server: BusServer, tmp_path: Path) -> None:
    process = Process(bus_server, tmp_path)
    assert await process.wait_ready() == b"READY\n"
    assert (process.state / READY_FILE).exists()
    cli = await bus_server.connect("cli")
    stats = json.loads((await cli.request("$SRV.STATS.agent", b"")).data)
    assert stats["type"] == "io.nats.micro.v1.stats_response"
    assert (stats["data"]["ready"], stats["data"]["answered"]) == (True, 7)
    assert json.loads((await cli.request("$SRV.PING.agent", b"")).data)["name"] == "agent"
    process.popen.send_signal(signal.SIGTERM)
    code, _ = await process.end()
    assert code == EXIT_STOPPED
    assert not (process.state / READY_FILE).exists()


async def test_it_waits_for_a_bus_that_starts_later(bus_server: BusServer, tmp_path: Path) -> None:
    await bus_server.close()
    bus_server.stop()
    process = Process(bus_server, tmp_path)
    await asyncio.sleep(1)
    assert process.popen.poll() is None
    bus_server.start()
    assert await process.wait_ready() == b"READY\n"
    process.popen.send_signal(signal.SIGTERM)
    assert (await process.end())[0] == EXIT_STOPPED


async def test_a_stop_while_the_bus_is_away_is_heard(bus_server: BusServer, tmp_path: Path) -> None:
    await bus_server.close()
    bus_server.stop()
    process = Process(bus_server, tmp_path)
    await asyncio.sleep(1.5)
    process.popen.send_signal(signal.SIGTERM)
    assert (await process.end())[0] == EXIT_STOPPED


@pytest.mark.parametrize(
    ("how", "code", "says"),
    [
        ("crash", EXIT_FAILED, "RuntimeError"),
        ("settings", EXIT_SETTINGS, "HOW should be something else"),
        ("ends", EXIT_FAILED, "without being asked"),
        ("part", EXIT_FAILED, "a part of it failed"),
    ],
)
async def test_failures_have_their_codes(bus_server: BusServer, tmp_path: Path, how: str, code: int, says: str) -> None:
    process = Process(bus_server, tmp_path, HOW=how)
    ended, said = await process.end()
    assert ended == code
    assert says in said


async def test_a_service_that_does_not_stop_is_ended_within_ten_seconds(bus_server: BusServer, tmp_path: Path) -> None:
    process = Process(bus_server, tmp_path, HOW="slow")
    await process.wait_ready()
    begin = asyncio.get_running_loop().time()
    process.popen.send_signal(signal.SIGTERM)
    assert (await process.end())[0] == EXIT_FAILED
    assert asyncio.get_running_loop().time() - begin < 11


async def test_another_services_certificate_is_refused(bus_server: BusServer, tmp_path: Path) -> None:
    directory = str(bus_server.home / "identity" / "gateway")
    code, said = await Process(bus_server, tmp_path, OPENCRUST_IDENTITY_DIR=directory).end()
    assert code == EXIT_SETTINGS
    assert "gateway" in said


def test_wrong_settings_are_named() -> None:
    with pytest.raises(SettingsError, match="identity_dir"):
        Settings.from_environment({})
    with pytest.raises(SettingsError, match="ready_fd"):
        Settings.from_environment(
            {"OPENCRUST_IDENTITY_DIR": "/x", "OPENCRUST_STATE_DIR": "/y", "OPENCRUST_READY_FD": "stdout"}
        )
