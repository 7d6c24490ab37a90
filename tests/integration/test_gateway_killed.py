"""kill -9 of the gateway in the middle of conversations: resumed here or on another replica, nothing is missing and
nothing comes twice.
"""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from harness import BusServer
from opencrust.access import ALL_SCOPES, mint_bearer
from opencrust.access.tokenstore import TokenStore
from simulators.gateway_process import GatewayProcess, gateway_process
from simulators.web import EchoAgent

MESSAGES = 30


@pytest.fixture
async def token(bus_server: BusServer) -> AsyncIterator[str]:
    agent = EchoAgent(await bus_server.connect("agent"))
    await agent.start()
    text, record = mint_bearer("test", ALL_SCOPES, None, held=ALL_SCOPES)
    await TokenStore(await bus_server.connect("cli")).add(record)
    yield text
    await agent.close()


class Reader:
    """Follows one conversation over whatever gateway there is, by `resume` alone; `seen` is all it was told."""

    def __init__(self, token: str, gateways: list[GatewayProcess]) -> None:
        self._headers = {"Authorization": f"Bearer {token}"}
        self._gateways = gateways
        self.seen: list[str] = []
        self.after = 0
        self.connections = 0

    async def follow(self) -> None:
        while True:
            try:
                await self._once(self._gateways[self.connections % len(self._gateways)])
            except (aiohttp.ClientError, OSError, TypeError):  # TypeError: it was closed
                await asyncio.sleep(0.05)
            self.connections += 1

    async def _once(self, gateway: GatewayProcess) -> None:
        async with (
            aiohttp.ClientSession(headers=self._headers) as session,
            session.ws_connect(f"{gateway.url}/v1/ws") as socket,
        ):
            params = {"conversation": "main", "after": self.after}
            await socket.send_json({"type": "req", "id": "1", "op": "resume", "params": params})
            while True:
                frame: dict[str, Any] = await socket.receive_json(timeout=30)
                if frame["type"] == "res":
                    assert frame["ok"], frame
                    for turn in frame["result"]["history"]:
                        self._take(turn)
                elif frame.get("event") == "reply":
                    self._take(frame)

    def _take(self, reply: dict[str, Any]) -> None:
        assert reply["seq"] > self.after, "it went back"
        self.seen.append(reply["message_id"])
        self.after = reply["seq"]


async def send(gateways: list[GatewayProcess], token: str, message_id: str) -> None:
    """Until it is accepted, by whoever lives."""
    body = {"user": "main", "messages": [{"role": "user", "content": message_id}]}
    headers = {"Authorization": f"Bearer {token}", "Idempotency-Key": message_id}
    turn = 0
    async with aiohttp.ClientSession(headers=headers) as session:
        while True:
            try:
                url = gateways[turn % len(gateways)].url
                async with session.post(f"{url}/v1/chat/completions", json=body) as answer:
                    if answer.status == 200:
                        return
            except (aiohttp.ClientError, OSError):
                pass
            turn += 1
            await asyncio.sleep(0.05)


@pytest.mark.parametrize("replicas", [1, 2])
async def test_resume_after_kill_9_has_no_gap_and_no_duplicate(
    bus_server: BusServer, token: str, replicas: int
) -> None:
    async with gateway_process(bus_server) as first:
        gateways = [first]
        if replicas == 2:
            second = GatewayProcess(bus_server)
            await second.start()
            gateways.append(second)
        reader = Reader(token, gateways)
        following = asyncio.create_task(reader.follow())
        try:
            for number in range(MESSAGES):
                if number in (8, 16):
                    await first.kill()
                    if replicas == 1:
                        await first.start()
                elif number in (12, 20) and replicas == 2:
                    await first.start()
                await send(gateways, token, f"m{number}")
            async with asyncio.timeout(20):
                while len(reader.seen) < MESSAGES:
                    assert not following.done()
                    await asyncio.sleep(0.05)
            assert reader.seen == [f"m{number}" for number in range(MESSAGES)]
            assert reader.connections >= 1
        finally:
            following.cancel()
            await asyncio.gather(following, return_exceptions=True)
            if replicas == 2:
                await second.kill()
