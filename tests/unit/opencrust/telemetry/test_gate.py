from __future__ import annotations

from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import Link, SpanContext, Status, StatusCode, TraceFlags

from opencrust.telemetry.gate import GateExporter
from opencrust.telemetry.redaction import Redactor

CONTENT = "what the person wrote"
KEY = "sk-ant-canary0123456789abcdefghijklmnop"


def test_only_allowed_names_leave_and_their_values_are_redacted() -> None:
    inner = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(GateExporter(inner, Redactor())))
    link = Link(SpanContext(1, 2, True, TraceFlags(1)), {"note": CONTENT})
    with provider.get_tracer("library").start_as_current_span(
        f"chat {KEY}",
        links=[link],
        attributes={
            "gen_ai.input.messages": CONTENT,
            "gen_ai.tool.call.arguments": CONTENT,
            "gen_ai.request.model": f"model {KEY}",
            "gen_ai.response.finish_reasons": ("stop", KEY),
            "gen_ai.usage.input_tokens": 7,
            "db.query.text": CONTENT,
            "messaging.destination.name": "x" * 1000,
        },
    ) as span:
        span.add_event("gen_ai.content", {"prompt": CONTENT})
        span.record_exception(ValueError(CONTENT))
        span.set_status(Status(StatusCode.ERROR, CONTENT))
    (out,) = inner.get_finished_spans()
    assert out.name == "chat [redacted]"
    attributes = dict(out.attributes or {})
    assert len(str(attributes.pop("messaging.destination.name"))) < 300
    assert attributes == {
        "gen_ai.request.model": "model [redacted]",
        "gen_ai.response.finish_reasons": ("stop", "[redacted]"),
        "gen_ai.usage.input_tokens": 7,
    }
    assert out.events == ()
    assert out.status.status_code is StatusCode.ERROR
    assert out.status.description is None
    assert [(x.context.span_id, dict(x.attributes or {})) for x in out.links] == [(2, {})]
    assert CONTENT not in out.to_json()
    assert KEY not in out.to_json()
    assert out.start_time is not None
    assert out.end_time is not None
    provider.shutdown()
