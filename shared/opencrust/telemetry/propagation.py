"""W3C Trace Context (``traceparent``, ``tracestate``) in and out of a message's headers.

Baggage is never read nor written: it would carry values that a stranger on a channel chose into every later service.
``tracestate`` is dropped for the same reason; ``traceparent`` is 55 characters of hexadecimal and nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping
from typing import Final

from opentelemetry.context import Context
from opentelemetry.trace import NonRecordingSpan, SpanContext, get_current_span, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

TRACEPARENT: Final = "traceparent"

_FORMAT: Final = TraceContextTextMapPropagator()


def inject(headers: MutableMapping[str, str], context: Context | None = None) -> None:
    """Write the current span's ``traceparent`` into ``headers``; leave them alone when there is no span."""
    span = get_current_span(context).get_span_context()
    if span.is_valid:
        headers[TRACEPARENT] = f"00-{span.trace_id:032x}-{span.span_id:016x}-{span.trace_flags:02x}"


def extract(headers: Mapping[str, str] | None) -> SpanContext | None:
    """The sender's span, or None where the header is missing or malformed (a stranger's header raises nothing)."""
    value = (headers or {}).get(TRACEPARENT)
    if value is None:
        return None
    span = get_current_span(_FORMAT.extract({TRACEPARENT: value}, Context())).get_span_context()
    return span if span.is_valid else None


def context_of(span: SpanContext | None) -> Context:
    """A context whose current span is ``span``, or an empty one: never the caller's own context."""
    return Context() if span is None else set_span_in_context(NonRecordingSpan(span), Context())
