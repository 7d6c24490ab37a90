"""The gateway as a process of its own, as the supervisor and compose start it."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

import aiohttp

from harness import BusServer, free_port
from opencrust.access import ALL_SCOPES, mint_bearer
from opencrust.access.tokenstore import TokenStore
from simulators.web import EchoAgent


def environment(server: BusServer, port: int, **more: str) -> dict[str, str]:
    return {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
        "OPENCRUST_IDENTITY_DIR": str(server.home / "identity" / "gateway"),
        "OPENCRUST_STATE_DIR": str(server.home / "state" / "gateway"),
        "OPENCRUST_BUS_URL": server.url,
        "OPENCRUST_GATEWAY_PORT": str(port),
        **more,
    }


@asynccontextmanager
async def process(environ: dict[str, str], log: Path) -> AsyncIterator[asyncio.subprocess.Process]:
    with log.open("ab") as output:
        started = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "opencrust_gateway", env=environ, stdout=output, stderr=output
        )
    try:
        yield started
    finally:
        if started.returncode is None:
            started.kill()
        await started.wait()


async def until_it_answers(session: aiohttp.ClientSession) -> None:
    async with asyncio.timeout(20):
        while True:
            try:
                async with session.get("/healthz") as answer:
                    assert answer.status == 200
                    return
            except aiohttp.ClientConnectionError:
                await asyncio.sleep(0.05)


async def test_a_killed_gateway_loses_nothing_that_it_accepted(bus_server: BusServer, tmp_path: Path) -> None:
    """kill -9 between "accepted" and the reply; its successor gives the answer to whoever asks again."""
    port = free_port()
    agent = EchoAgent(await bus_server.connect("agent"))
    agent.hold.clear()
    await agent.start()
    now = datetime.now(UTC)
    text, record = mint_bearer("test", ALL_SCOPES, None, held=ALL_SCOPES, now=now)
    await TokenStore(await bus_server.connect("cli")).add(record)
    send = {"conversation": "main", "text": "hello", "message_id": "m1"}
    request = {"type": "req", "id": "1", "op": "send", "params": send}
    environ, log = environment(bus_server, port), tmp_path / "log"
    async with aiohttp.ClientSession(
        f"http://127.0.0.1:{port}", headers={"Authorization": f"Bearer {text}"}
    ) as session:
        async with process(environ, log) as first:
            await until_it_answers(session)
            async with session.ws_connect("/v1/ws") as socket:
                assert (await socket.receive_json())["type"] == "hello"
                await socket.send_json(request)
                while (frame := await socket.receive_json())["type"] != "res":
                    pass
                assert frame["result"]["duplicate"] is False
                first.send_signal(signal.SIGKILL)
                await first.wait()
        agent.hold.set()
        async with process(environ, log) as second:
            await until_it_answers(session)
            async with session.ws_connect("/v1/ws") as socket:
                await socket.send_json(request)
                replies = []
                async with asyncio.timeout(10):
                    while not replies:
                        frame = await socket.receive_json()
                        if frame["type"] == "res":
                            assert frame["result"]["duplicate"] is True
                            replies += [frame["result"]["reply"]] if "reply" in frame["result"] else []
                        elif frame.get("event") == "reply":
                            replies.append(frame)
                assert replies[0]["text"] == "echo: hello"
                second.send_signal(signal.SIGTERM)
                assert (await socket.receive()).type is aiohttp.WSMsgType.CLOSE
                assert socket.close_code == aiohttp.WSCloseCode.SERVICE_RESTART
            async with asyncio.timeout(10):
                assert await second.wait() == 0
    assert len(agent.seen) == 1
    assert text.rsplit("_", 1)[1] not in log.read_text()
    await agent.close()


async def test_it_refuses_to_stand_in_the_open(bus_server: BusServer, tmp_path: Path) -> None:
    environ = environment(bus_server, free_port(), OPENCRUST_GATEWAY_HOST="0.0.0.0")
    async with process(environ, tmp_path / "log") as started, asyncio.timeout(20):
        assert await started.wait() == 78
    told = (tmp_path / "log").read_text()
    assert "refusing to listen on 0.0.0.0" in told
    assert "BEHIND_PUBLISHED_PORT" in told
