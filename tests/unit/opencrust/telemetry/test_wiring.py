from __future__ import annotations

import asyncio
import io
import json
import logging
import subprocess
import sys
import threading
import time

import pytest

from opencrust.telemetry import configure, genai, process, producer
from opencrust.telemetry.propagation import inject
from opencrust.telemetry.wiring import traces_url
from simulators.otlp import OtlpReceiver

TEMPLATE = "msg.in.{channel}.{conv}"
SUBJECT = "msg.in.web.abcdefghijklmnopqrstuvwx23"
CANARY = "sk-ant-canary0123456789abcdefghijklmnop"


async def test_one_message_arrives_as_one_trace() -> None:
    async with OtlpReceiver() as receiver:
        telemetry = configure("agent", receiver.url, stream=io.StringIO())
        assert telemetry.exporting
        headers: dict[str, str] = {}
        with producer(TEMPLATE, SUBJECT, message_id="web:a:1") as sent:
            inject(headers)
        with (
            process(headers, TEMPLATE, SUBJECT, stream="MSG_IN", sequence=1),
            genai.invoke_agent("home", conversation="c"),
            genai.chat("m", provider="openai") as chat,
        ):
            chat.set_attribute("gen_ai.input.messages", f"content {CANARY}")
            chat.set_attribute("gen_ai.response.id", CANARY)
        spans = await receiver.wait_for(4)
        await asyncio.to_thread(telemetry.shutdown)
        assert {span.trace_id for span in spans} == {f"{sent.get_span_context().trace_id:032x}"}
        by_name = {span.name: span for span in spans}
        process_span, send_span = by_name["process " + TEMPLATE], by_name["send " + TEMPLATE]
        assert process_span.parent_id == send_span.span_id
        assert process_span.links == (send_span.span_id,)
        assert by_name["chat m"].parent_id == by_name["invoke_agent home"].span_id
        assert [send_span.kind, process_span.kind, by_name["chat m"].kind] == ["producer", "consumer", "client"]
        assert {span.service for span in spans} == {"agent"}
        assert "gen_ai.input.messages" not in by_name["chat m"].attributes
        assert all(CANARY.encode() not in body and b"content" not in body for body in receiver.raw)


async def test_shutdown_sends_what_is_left() -> None:
    async with OtlpReceiver() as receiver:
        telemetry = configure("agent", receiver.url, stream=io.StringIO())
        for _ in range(600):
            with producer(TEMPLATE, SUBJECT):
                pass
        await asyncio.to_thread(telemetry.shutdown)
        assert len(receiver.spans) == 600


async def test_a_receiver_that_hangs_does_not_hold_up_the_exit() -> None:
    async with OtlpReceiver() as receiver:
        receiver.delay = 20.0
        telemetry = configure("agent", receiver.url, stream=io.StringIO())
        with producer(TEMPLATE, SUBJECT):
            pass
        started = time.monotonic()
        await asyncio.to_thread(telemetry.shutdown, 0.5)
        assert time.monotonic() - started < 1.5
        async with asyncio.timeout(15):  # the sender gives up by itself; the next test wants silence
            while any(thread.name == "telemetry-shutdown" for thread in threading.enumerate()):
                await asyncio.sleep(0.05)


async def test_a_receiver_that_is_away_costs_a_line_and_no_message() -> None:
    stream = io.StringIO()
    telemetry = configure("agent", "http://127.0.0.1:9", stream=stream)
    for _ in range(600):  # three batches
        with producer(TEMPLATE, SUBJECT):
            pass
    async with asyncio.timeout(10):
        while not stream.getvalue():
            await asyncio.sleep(0.05)
    await asyncio.to_thread(telemetry.shutdown, 4.0)
    (line,) = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert line["level"] == "warning"
    assert "no OTLP receiver" in line["message"]


async def test_spans_after_shutdown_are_harmless() -> None:
    async with OtlpReceiver() as receiver:
        telemetry = configure("agent", receiver.url, stream=io.StringIO())
        await asyncio.to_thread(telemetry.shutdown)
        telemetry.shutdown()
        with producer(TEMPLATE, SUBJECT) as span:
            assert span.get_span_context().is_valid
        assert not telemetry.exporting


async def test_the_receiver_answers_like_jaeger() -> None:
    import aiohttp

    async with OtlpReceiver() as receiver, aiohttp.ClientSession() as http:
        telemetry = configure("agent", receiver.url, stream=io.StringIO())
        with producer(TEMPLATE, SUBJECT):
            pass
        await receiver.wait_for(1)
        await asyncio.to_thread(telemetry.shutdown)
        async with http.get(receiver.url + "/api/services") as answer:
            assert (await answer.json())["data"] == ["agent"]
        async with http.get(receiver.url + "/api/traces", params={"service": "agent"}) as answer:
            (trace,) = (await answer.json())["data"]
            assert trace["spans"][0]["operationName"] == "send " + TEMPLATE
        async with http.get(f"{receiver.url}/api/traces/{'0' * 32}") as answer:
            assert answer.status == 404
        body = {"resourceSpans": [{"scopeSpans": [{"spans": [{"traceId": "A" * 32, "spanId": "B" * 16, "name": "n",
                "startTimeUnixNano": "1", "endTimeUnixNano": "2", "kind": 3}]}]}]}  # fmt: skip
        async with http.post(receiver.url + "/v1/traces", json=body) as answer:
            assert answer.status == 200
        assert receiver.spans[-1].trace_id == "a" * 32
        assert receiver.spans[-1].kind == "client"
        async with http.post(receiver.url + "/v1/traces", data=b"\xff\xff") as answer:
            assert answer.status in (400, 415)


def test_nothing_heavy_is_imported_without_an_endpoint() -> None:
    script = (
        "import sys, threading\n"
        "from opencrust.telemetry import configure, producer\n"
        "configure('agent').shutdown()\n"
        "with producer('a', 'a'): pass\n"
        "heavy = [m for m in sys.modules if m.split('.')[0] in ('requests', 'google', 'urllib3', 'aiohttp', 'ssl')"
        " or m.startswith(('opentelemetry.sdk', 'opentelemetry.exporter'))]\n"
        "print(heavy, threading.active_count())\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, env={"PYTHONPATH": "shared"}, timeout=60
    )
    assert done.stdout == "[] 1\n", done.stderr


@pytest.mark.parametrize(
    ("endpoint", "url"),
    [
        ("http://127.0.0.1:4318", "http://127.0.0.1:4318/v1/traces"),
        ("http://127.0.0.1:4318/", "http://127.0.0.1:4318/v1/traces"),
        ("https://otel.example/otlp", "https://otel.example/otlp/v1/traces"),
        ("http://[::1]:4318/v1/traces", "http://[::1]:4318/v1/traces"),
    ],
)
def test_traces_url(endpoint: str, url: str) -> None:
    assert traces_url(endpoint) == url


@pytest.mark.parametrize(
    "endpoint", ["127.0.0.1:4318", "grpc://x:4317", "http://", "http://u:p@x", "http://x/?api_key=1", "http://x:99999"]
)
def test_an_unusable_endpoint_is_refused_before_anything_is_set_up(endpoint: str) -> None:
    before = logging.getLogger().handlers[:]
    with pytest.raises(ValueError, match=r"OTLP endpoint|[Pp]ort"):
        configure("agent", endpoint)
    assert logging.getLogger().handlers == before
