from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode, get_current_span

from opencrust.telemetry import client, genai, internal, process, producer, semconv, server
from opencrust.telemetry.propagation import inject
from opencrust.telemetry.spans import use_tracer

TEMPLATE = "msg.in.{channel}.{conv}"
SUBJECT = "msg.in.web.abcdefghijklmnopqrstuvwx23"


@pytest.fixture
def finished() -> Iterator[InMemorySpanExporter]:
    exporter = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    use_tracer(provider.get_tracer("test"))
    yield exporter
    provider.shutdown()


def one(finished: InMemorySpanExporter) -> ReadableSpan:
    (span,) = finished.get_finished_spans()
    return span


def test_producer_follows_the_messaging_conventions(finished: InMemorySpanExporter) -> None:
    with producer(TEMPLATE, SUBJECT, message_id="web:a:1", size=20):
        pass
    span = one(finished)
    assert span.name == "send msg.in.{channel}.{conv}"
    assert span.kind is SpanKind.PRODUCER
    assert dict(span.attributes or {}) == {
        "messaging.system": "nats",
        "messaging.operation.name": "send",
        "messaging.operation.type": "send",
        "messaging.destination.name": SUBJECT,
        "messaging.destination.template": TEMPLATE,
        "messaging.message.id": "web:a:1",
        "messaging.message.body.size": 20,
    }
    assert set(span.attributes or {}) <= semconv.ALLOWED


def test_process_has_the_sender_as_parent_and_link(finished: InMemorySpanExporter) -> None:
    headers: dict[str, str] = {}
    with producer(TEMPLATE, SUBJECT):
        inject(headers)
    with (
        internal("something else is going on here"),
        process(headers, TEMPLATE, SUBJECT, consumer="agent", stream="MSG_IN", sequence=7, deliveries=2),
    ):
        pass
    sent, received, _ = finished.get_finished_spans()
    assert received.name == "process msg.in.{channel}.{conv}"
    assert received.kind is SpanKind.CONSUMER
    assert received.parent is not None
    assert received.parent.span_id == sent.context.span_id
    assert [link.context.span_id for link in received.links] == [sent.context.span_id]
    assert received.context.trace_id == sent.context.trace_id
    attributes = dict(received.attributes or {})
    assert attributes["nats.stream.sequence"] == 7
    assert attributes["nats.num_delivered"] == 2
    assert attributes["messaging.consumer.group.name"] == "agent"
    assert set(attributes) <= semconv.ALLOWED


def test_process_can_only_link(finished: InMemorySpanExporter) -> None:
    headers: dict[str, str] = {}
    with producer(TEMPLATE, SUBJECT):
        inject(headers)
    with process(headers, TEMPLATE, SUBJECT, link_only=True):
        pass
    sent, received = finished.get_finished_spans()
    assert received.parent is None
    assert received.context.trace_id != sent.context.trace_id
    assert [link.context.span_id for link in received.links] == [sent.context.span_id]


def test_process_without_a_sender_starts_a_trace(finished: InMemorySpanExporter) -> None:
    with internal("outer") as outer, process({"traceparent": "rubbish"}, TEMPLATE, SUBJECT) as span:
        assert span.get_span_context().trace_id != outer.get_span_context().trace_id
    assert finished.get_finished_spans()[0].links == ()


def test_server_takes_over_no_trace(finished: InMemorySpanExporter) -> None:
    with internal("outer") as outer, server("GET /") as span:
        assert span.get_span_context().trace_id != outer.get_span_context().trace_id


@pytest.mark.parametrize(
    "error", [ValueError("what the person wrote"), asyncio.CancelledError("what the person wrote")]
)
def test_a_failure_says_its_type_and_never_its_text(finished: InMemorySpanExporter, error: BaseException) -> None:
    with pytest.raises(type(error)), client("chat m"):
        raise error
    span = one(finished)
    assert span.status.status_code is StatusCode.ERROR
    assert (span.attributes or {})["error.type"] == type(error).__qualname__
    assert "person" not in span.to_json()
    assert span.events == ()


def test_genai_spans(finished: InMemorySpanExporter) -> None:
    with genai.invoke_agent("home", conversation="c"):
        with genai.chat("smollm2", provider="demo") as span:
            genai.record_usage(
                span,
                input_tokens=10,
                output_tokens=5,
                response_model="smollm2-135m",
                finish_reason="stop",
                time_to_first_chunk=0.25,
            )
        with genai.execute_tool("get_weather", call_id="c1"):
            pass
    chat, tool, agent = finished.get_finished_spans()
    assert [s.name for s in (agent, chat, tool)] == ["invoke_agent home", "chat smollm2", "execute_tool get_weather"]
    assert chat.kind is SpanKind.CLIENT
    assert chat.parent is not None
    assert chat.parent.span_id == agent.context.span_id
    assert (chat.attributes or {})["gen_ai.usage.input_tokens"] == 10
    assert (chat.attributes or {})["gen_ai.response.finish_reasons"] == ("stop",)
    for span in (chat, tool, agent):
        assert set(span.attributes or {}) <= semconv.ALLOWED


def test_without_an_endpoint_ids_still_name_one_message() -> None:
    headers: dict[str, str] = {}
    with producer(TEMPLATE, SUBJECT) as sent:
        inject(headers)
        with internal("inner") as inner:
            assert get_current_span() is inner
            assert inner.get_span_context().span_id != sent.get_span_context().span_id
    with process(headers, TEMPLATE, SUBJECT) as received:
        assert received.get_span_context().trace_id == sent.get_span_context().trace_id
        assert received.get_span_context().is_valid
        assert not received.is_recording()
    with producer(TEMPLATE, SUBJECT) as other:
        assert other.get_span_context().trace_id != sent.get_span_context().trace_id
    assert not get_current_span().get_span_context().is_valid


async def test_concurrent_tasks_keep_their_own_spans() -> None:
    async def one_turn() -> tuple[int, int]:
        with producer(TEMPLATE, SUBJECT) as span:
            await asyncio.sleep(0.001)
            return span.get_span_context().trace_id, get_current_span().get_span_context().trace_id

    turns = await asyncio.gather(*(one_turn() for _ in range(50)))
    assert len({trace for trace, _ in turns}) == 50
    assert all(a == b for a, b in turns)
