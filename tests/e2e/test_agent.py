"""The agent's things at the keyboard: the persona file, `opencrust approvals`, `opencrust stop`."""

import asyncio
import json
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from house import House
from simulators.model import ModelSimulator


async def ask(house: House, token: str, text: str) -> dict[str, Any]:
    """One answer over /v1/chat/completions."""
    body = {"model": "opencrust", "messages": [{"role": "user", "content": text}]}
    headers = {"Authorization": f"Bearer {token}"}
    async with (
        aiohttp.ClientSession(headers=headers) as session,
        session.post(f"{house.url}/v1/chat/completions", json=body) as response,
    ):
        answer: dict[str, Any] = await response.json()
        return answer


@pytest.mark.timeout(120)
async def test_a_persona_is_taken_over_while_it_runs_and_commands_reach_the_agent(tmp_path: Path) -> None:
    async with ModelSimulator() as simulator:
        house = House(tmp_path / "home")
        await asyncio.to_thread(house.up)
        try:
            await asyncio.to_thread(house.provider, simulator.url, "echo")
            token = await asyncio.to_thread(house.token, "chat")
            (house.home / "config" / "persona.md").write_text("You are Marvin, and tired.")
            async with asyncio.timeout(20):
                while True:
                    await ask(house, token, "hello")
                    if "You are Marvin" in json.dumps(simulator.requests[-1].body["messages"][0]):
                        break
                    await asyncio.sleep(0.3)
            assert json.loads(await asyncio.to_thread(house.run, "approvals", "list", "--json")) == {"approvals": []}
            await refused(house, "approvals", "approve", "a" * 16, says="no such question")
            await refused(house, "approvals", "deny", "nonsense", says="16 letters")
            simulator.queue("stall")
            asking = asyncio.create_task(ask(house, token, "long"))
            while simulator.open_streams == 0:
                await asyncio.sleep(0.02)
            assert "Stopped" in await asyncio.to_thread(house.run, "stop")
            answer = await asyncio.wait_for(asking, 5)
            assert answer["choices"][0]["finish_reason"] in ("stop", "length")
            assert simulator.open_streams == 0
        finally:
            await asyncio.to_thread(house.run, "down", check=False)


async def refused(house: House, *arguments: str, says: str) -> None:
    with pytest.raises(RuntimeError, match=says):
        await asyncio.to_thread(house.run, *arguments)
