"""The agent's things at the keyboard: the persona file, `opencrust approvals`, `opencrust stop`."""

import asyncio
import contextlib
import json
import re
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from house import House
from simulators.model import ModelSimulator
from simulators.model_replies import Call, Reply


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
            await told_of_itself(house, token, simulator, "You are Marvin")
            (house.home / "config" / "persona.md").write_bytes(b"You are \xff")
            async with asyncio.timeout(20):
                while "the old one stays in force" not in (said := await asyncio.to_thread(house.run, "logs")):
                    await asyncio.sleep(0.2)
            assert "persona.md cannot be read" in said
            await ask(house, token, "hello")
            assert "You are Marvin" in json.dumps(simulator.requests[-1].body["messages"][0])
            (house.home / "config" / "persona.md").write_text("You are Eeyore.")
            await told_of_itself(house, token, simulator, "You are Eeyore")
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


@pytest.mark.timeout(120)
async def test_a_provider_that_is_out_of_use_is_named_by_status(tmp_path: Path) -> None:
    async with ModelSimulator() as simulator:
        house = House(tmp_path / "home")
        await asyncio.to_thread(house.up)
        try:
            await asyncio.to_thread(house.provider, simulator.url, "echo")
            token = await asyncio.to_thread(house.token, "chat")
            async with asyncio.timeout(20):
                while not simulator.requests:
                    await ask(house, token, "hello")
            (known,) = (await asyncio.to_thread(house.status))["providers"]
            assert (known["provider"], known["state"], known["open_for"]) == ("sim", "closed", 0)
            assert "provider sim" not in await asyncio.to_thread(house.run, "status")
            simulator.queue("401")
            await ask(house, token, "and now?")
            (known,) = (await asyncio.to_thread(house.status))["providers"]
            assert (known["state"], known["last_error"]) == ("open", "auth")
            assert 0 < known["retry_in"] <= 30
            said = await asyncio.to_thread(house.run, "status")
            assert re.search(
                r"^provider sim: out of use since \S+: it refuses the key; tried again at \S+$", said, re.MULTILINE
            )
        finally:
            await asyncio.to_thread(house.run, "down", check=False)


async def told_of_itself(house: House, token: str, simulator: ModelSimulator, words: str) -> None:
    """Wait until a persona reached the model; nothing is restarted."""
    async with asyncio.timeout(20):
        while True:
            await ask(house, token, "hello")
            if words in json.dumps(simulator.requests[-1].body["messages"][0]):
                return
            await asyncio.sleep(0.3)


@pytest.mark.timeout(120)
async def test_a_question_outlives_kill_9_and_is_answered_at_the_keyboard(tmp_path: Path) -> None:
    """A rule of the person's own asks before a file is written; the agent is killed while the question waits."""
    async with ModelSimulator() as simulator:
        house = House(tmp_path / "home")
        (house.home / "config").mkdir(parents=True, mode=0o700)
        rule = {"then": "ask", "tools": ["file_write"], "why": "I want to see it"}
        (house.home / "config" / "config.json").write_text(json.dumps({"agent": {"policy": {"rules": [rule]}}}))
        await asyncio.to_thread(house.up)
        try:
            await asyncio.to_thread(house.provider, simulator.url, "echo")
            token = await asyncio.to_thread(house.token, "chat")
            simulator.queue(Reply(calls=(Call("file_write", {"path": "plan.txt", "text": "rest"}),)))
            answer = await ask(house, token, "write rest into plan.txt")
            assert "May I do this?" in answer["choices"][0]["message"]["content"]
            assert list(house.home.rglob("plan.txt")) == []
            assert await asyncio.to_thread(house.kill, "agent")
            simulator.queue(Reply("It is written."))
            async with asyncio.timeout(30):
                waiting: list[Any] = []
                while not waiting:
                    with contextlib.suppress(RuntimeError):  # the agent is only just coming back
                        listed = await asyncio.to_thread(house.run, "approvals", "list", "--json")
                        waiting = json.loads(listed)["approvals"]
                card = waiting[0]["card"]
                assert "asked because I want to see it" in card["lines"]
                await asyncio.to_thread(house.run, "approvals", "approve", card["id"])
                while not list(house.home.rglob("plan.txt")):
                    await asyncio.sleep(0.1)
            (written,) = house.home.rglob("plan.txt")
            assert written.read_text() == "rest"
            await refused(house, "approvals", "deny", card["id"], says="decided before")
        finally:
            await asyncio.to_thread(house.run, "down", check=False)


async def refused(house: House, *arguments: str, says: str) -> None:
    with pytest.raises(RuntimeError, match=says):
        await asyncio.to_thread(house.run, *arguments)
