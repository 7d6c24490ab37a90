"""The simulated provider is faithful: the vendors' own SDKs talk to it, and it is usable by hand."""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import anthropic
import openai
import pytest

from simulators.model import ModelSimulator
from simulators.model_replies import HELLO, WEATHER

TESTS = Path(__file__).parent.parent


@pytest.fixture
async def simulator() -> AsyncIterator[ModelSimulator]:
    async with ModelSimulator() as running:
        yield running


@pytest.fixture
async def by_openai(simulator: ModelSimulator) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(base_url=simulator.url + "/v1", api_key="k", max_retries=0, timeout=1) as client:
        yield client


@pytest.fixture
async def by_anthropic(simulator: ModelSimulator) -> AsyncIterator[anthropic.AsyncAnthropic]:
    async with anthropic.AsyncAnthropic(base_url=simulator.url, api_key="k", max_retries=0, timeout=1) as client:
        yield client


async def test_openai_sdk(by_openai: openai.AsyncOpenAI) -> None:
    whole = await by_openai.chat.completions.create(model="ok", messages=[{"role": "user", "content": "x"}])
    assert whole.choices[0].message.content == HELLO
    async with by_openai.chat.completions.stream(
        model="tool_text", messages=[{"role": "user", "content": "x"}]
    ) as stream:
        completion = await stream.get_final_completion()
    (call,) = completion.choices[0].message.tool_calls or []
    assert json.loads(call.function.arguments) == WEATHER.arguments


async def test_anthropic_sdk(by_anthropic: anthropic.AsyncAnthropic) -> None:
    whole = await by_anthropic.messages.create(model="ok", max_tokens=9, messages=[{"role": "user", "content": "x"}])
    assert whole.content[0].type == "text"
    assert whole.content[0].text == HELLO
    async with by_anthropic.messages.stream(
        model="tool_text", max_tokens=9, messages=[{"role": "user", "content": "x"}]
    ) as stream:
        message = await stream.get_final_message()
    text, call = message.content
    assert text.type == "text"
    assert call.type == "tool_use"
    assert call.input == WEATHER.arguments


async def test_the_sdks_know_its_errors(by_openai: openai.AsyncOpenAI, by_anthropic: anthropic.AsyncAnthropic) -> None:
    for model, error in (
        ("429", openai.RateLimitError),
        ("401", openai.AuthenticationError),
        ("500", openai.InternalServerError),
        ("context_window", openai.BadRequestError),
        ("hang", openai.APITimeoutError),
    ):
        with pytest.raises(error):
            await by_openai.chat.completions.create(model=model, messages=[{"role": "user", "content": "x"}])
    for name, kind in (
        ("429", anthropic.RateLimitError),
        ("529", anthropic.APIStatusError),
        ("hang", anthropic.APITimeoutError),
    ):
        with pytest.raises(kind):
            await by_anthropic.messages.create(model=name, max_tokens=9, messages=[{"role": "user", "content": "x"}])


async def test_it_refuses_what_the_apis_refuse(simulator: ModelSimulator) -> None:
    async with aiohttp.ClientSession(simulator.url) as session:
        for path, body in (
            ("/v1/chat/completions", {"model": "ok", "messages": []}),
            ("/v1/chat/completions", {"model": "ok", "messages": [{"role": "user", "content": ""}]}),
            (
                "/v1/chat/completions",
                {"model": "ok", "messages": [{"role": "tool", "tool_call_id": "1", "content": "x"}]},
            ),
            ("/v1/messages", {"model": "ok", "messages": [{"role": "user", "content": "x"}]}),
            ("/v1/messages", {"model": "ok", "max_tokens": 1, "messages": [{"role": "assistant", "content": "x"}]}),
            ("/v1/messages", []),
        ):
            async with session.post(path, json=body) as response:
                assert response.status == 400, body


async def test_the_control_api(simulator: ModelSimulator, by_openai: openai.AsyncOpenAI) -> None:
    async with aiohttp.ClientSession(simulator.url) as session:
        queue = ["500", {"text": "scripted"}, {"calls": [{"name": "t", "arguments": {"a": 1}}]}]
        async with session.post("/control/queue", json=queue) as response:
            assert await response.json() == {"queued": 3}
        for wrong in (["nonsense"], [{"txt": 1}], 3):
            async with session.post("/control/queue", json=wrong) as response:
                assert response.status == 400
        with pytest.raises(openai.InternalServerError):
            await by_openai.chat.completions.create(model="m", messages=[{"role": "user", "content": "x"}])
        said = await by_openai.chat.completions.create(model="m", messages=[{"role": "user", "content": "x"}])
        assert said.choices[0].message.content == "scripted"
        called = await by_openai.chat.completions.create(model="m", messages=[{"role": "user", "content": "x"}])
        assert called.choices[0].finish_reason == "tool_calls"
        echoed = await by_openai.chat.completions.create(model="m", messages=[{"role": "user", "content": "x y"}])
        assert echoed.choices[0].message.content == "x y"
        async with session.get("/control/requests") as response:
            journal = await response.json()
        assert [entry["model"] for entry in journal] == ["m"] * 4
        assert "key" not in journal[0]


async def test_by_hand() -> None:
    environment = {**os.environ, "PYTHONPATH": str(TESTS)}
    command = [sys.executable, "-m", "simulators.model"]
    for option, said in (("--help", "control/queue"), ("--list", "truncate_tool")):
        shown = await asyncio.to_thread(
            subprocess.run, [*command, option], env=environment, capture_output=True, text=True, check=True
        )
        assert said in shown.stdout
    process = await asyncio.create_subprocess_exec(*command, env=environment, stdout=asyncio.subprocess.PIPE)
    try:
        assert process.stdout is not None
        url = (await process.stdout.readline()).decode().split()[-1]
        assert url.startswith("http://127.0.0.1:")
    finally:
        process.terminate()
        await process.wait()
