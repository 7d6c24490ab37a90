"""The last gate before the wire: what is not allowed by name does not leave, whoever set it.

Wraps the real exporter. Attributes are allow-listed (:data:`opencrust.telemetry.semconv.ALLOWED`), values pass the
redactor, events (where libraries put exception texts and prompts) and status texts are dropped.
Only imported when an endpoint is configured.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.trace import Link, Status
from opentelemetry.util.types import AttributeValue

from opencrust.telemetry.redaction import HIDDEN, Redactor
from opencrust.telemetry.semconv import ALLOWED

_LOG = logging.getLogger(__name__)
_MAX_VALUE = 256
_COMPLAIN_EVERY = 60.0  # seconds


class GateExporter(SpanExporter):
    """Exports through ``inner`` what the allow-list lets pass."""

    def __init__(self, inner: SpanExporter, redactor: Redactor) -> None:
        self._inner = inner
        self._redactor = redactor
        self._complain_after = 0.0

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        result = self._inner.export([self._pass(span) for span in spans])
        if result is not SpanExportResult.SUCCESS and time.monotonic() >= self._complain_after:
            self._complain_after = time.monotonic() + _COMPLAIN_EVERY
            _LOG.warning("spans could not be exported: no OTLP receiver takes them; they are dropped")
        return result

    def shutdown(self) -> None:
        self._inner.shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        return self._inner.force_flush(timeout_millis)

    def _pass(self, span: ReadableSpan) -> ReadableSpan:
        return ReadableSpan(
            name=self._redactor.text(span.name, _MAX_VALUE),
            context=span.context,
            parent=span.parent,
            resource=span.resource,
            attributes=self._attributes(span.attributes),
            events=(),
            links=tuple(Link(link.context) for link in span.links),
            kind=span.kind,
            status=Status(span.status.status_code),
            start_time=span.start_time,
            end_time=span.end_time,
            instrumentation_scope=span.instrumentation_scope,
        )

    def _attributes(self, attributes: Mapping[str, AttributeValue] | None) -> dict[str, AttributeValue]:
        return {name: self._value(value) for name, value in (attributes or {}).items() if name in ALLOWED}

    def _value(self, value: AttributeValue) -> AttributeValue:
        if isinstance(value, str):
            return self._redactor.text(value, _MAX_VALUE)
        if isinstance(value, (bool, int, float)):
            return value
        if isinstance(value, Sequence) and not isinstance(value, bytes):
            return tuple(self._redactor.text(str(item), _MAX_VALUE) for item in value)
        return HIDDEN
