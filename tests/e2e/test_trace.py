"""One message is one trace: from the HTTP request through bus and agent to the model and back, in an OTLP receiver."""

import asyncio
from pathlib import Path

import aiohttp
import pytest

from house import House
from simulators.model import ModelSimulator
from simulators.otlp import OtlpReceiver, SpanSeen

CANARY = "canary-of-what-was-said"


async def ask(house: House, token: str, text: str) -> None:
    body = {"model": "opencrust", "user": "traced", "messages": [{"role": "user", "content": text}]}
    headers = {"Authorization": f"Bearer {token}"}
    async with (
        aiohttp.ClientSession(headers=headers) as session,
        session.post(f"{house.url}/v1/chat/completions", json=body) as response,
    ):
        response.raise_for_status()
        assert CANARY in (await response.json())["choices"][0]["message"]["content"]


def of_the_message(spans: list[SpanSeen]) -> list[SpanSeen]:
    """The trace that the request began."""
    requests = [span for span in spans if span.name == "POST /v1/chat/completions"]
    assert len(requests) == 1
    return [span for span in spans if span.trace_id == requests[0].trace_id]


@pytest.mark.timeout(120)
async def test_one_message_is_one_trace_without_content(tmp_path: Path) -> None:
    async with OtlpReceiver() as receiver, ModelSimulator() as simulator:
        house = House(tmp_path / "home", OTEL_EXPORTER_OTLP_ENDPOINT=receiver.url)
        await asyncio.to_thread(house.up)
        try:
            await asyncio.to_thread(house.provider, simulator.url, "echo")
            token = await asyncio.to_thread(house.token, "chat")
            await ask(house, token, CANARY)
            async with asyncio.timeout(20):
                while len({span.service for span in receiver.spans}) < 2 or not any(
                    span.name.startswith("POST") for span in receiver.spans
                ):
                    await asyncio.sleep(0.2)
                await asyncio.sleep(2)
        finally:
            await asyncio.to_thread(house.run, "down", check=False)
    trace = of_the_message(receiver.spans)
    by_name = {span.name: span for span in trace}
    expected = [
        ("POST /v1/chat/completions", "gateway"),
        ("send msg.in.{channel}.{conv}", "gateway"),
        ("process msg.in.{channel}.{conv}", "agent"),
        ("invoke_agent opencrust", "agent"),
        ("chat echo", "agent"),
        ("send msg.out.{channel}.{partition}.{conv}", "agent"),
        ("process msg.out.{channel}.{partition}.{conv}", "gateway"),
    ]
    assert [(name, by_name[name].service) for name, _ in expected if name in by_name] == expected
    ids = {span.span_id for span in trace}
    assert [span.name for span in trace if span.parent_id not in ids] == ["POST /v1/chat/completions"]
    assert all(CANARY not in repr(span) for span in receiver.spans)
