"""One context manager for each step of a message.

Names follow the messaging conventions, ``{operation} {template}``, and are of low cardinality: the template
(``msg.in.{channel}.{conv}``) is in the name, the subject only in an attribute. A span that ends with an exception
says its type, never its text: the text may hold what a person wrote.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Final

from opentelemetry.context import Context
from opentelemetry.trace import (
    Link,
    NonRecordingSpan,
    NoOpTracer,
    Span,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    Tracer,
    get_current_span,
    use_span,
)
from opentelemetry.util.types import Attributes, AttributeValue

from opencrust.telemetry import semconv
from opencrust.telemetry.propagation import context_of, extract

_NATS: Final[dict[str, AttributeValue]] = {semconv.MESSAGING_SYSTEM: "nats"}


class PropagatingTracer(NoOpTracer):
    """Records nothing, but gives every span an id of its own inside its parent's trace.

    OpenTelemetry's own no-op tracer has no ids at all, and then the logs of several services could not be joined.
    """

    def start_span(self, name: str, context: Context | None = None, *args: object, **kwargs: object) -> Span:
        parent = get_current_span(context).get_span_context()
        return NonRecordingSpan(
            SpanContext(
                trace_id=parent.trace_id if parent.is_valid else secrets.randbits(128) | 1,
                span_id=secrets.randbits(64) | 1,
                is_remote=False,
                trace_flags=TraceFlags(TraceFlags.SAMPLED),
            )
        )


_tracer: Tracer = PropagatingTracer()


def use_tracer(tracer: Tracer | None) -> None:
    """Send this process's spans to ``tracer``; None goes back to ids only. Called by ``wiring`` after the fork."""
    global _tracer
    _tracer = PropagatingTracer() if tracer is None else tracer


@contextmanager
def _span(
    name: str,
    kind: SpanKind,
    attributes: Attributes,
    *,
    context: Context | None = None,
    links: tuple[Link, ...] = (),
) -> Iterator[Span]:
    span = _tracer.start_span(name, context, kind, attributes, links)
    with use_span(span, end_on_exit=True, record_exception=False, set_status_on_exception=False):
        try:
            yield span
        except BaseException as error:
            fail(span, type(error).__qualname__)
            raise


def fail(span: Span, error_type: str) -> None:
    """Mark ``span`` as failed. ``error_type``: a class name or a stable code, never a message text."""
    span.set_attribute(semconv.ERROR_TYPE, error_type)
    span.set_status(Status(StatusCode.ERROR))


@contextmanager
def internal(name: str, attributes: Mapping[str, AttributeValue] | None = None) -> Iterator[Span]:
    """A step inside this process."""
    with _span(name, SpanKind.INTERNAL, attributes) as span:
        yield span


@contextmanager
def client(name: str, attributes: Mapping[str, AttributeValue] | None = None) -> Iterator[Span]:
    """A call that waits for somebody else's answer: a model, a platform, the vault."""
    with _span(name, SpanKind.CLIENT, attributes) as span:
        yield span


@contextmanager
def server(name: str, attributes: Mapping[str, AttributeValue] | None = None) -> Iterator[Span]:
    """A request from outside, such as ``POST /v1/chat/completions``. It starts a trace of its own: a stranger's
    trace ids are not taken over."""
    with _span(name, SpanKind.SERVER, attributes, context=Context()) as span:
        yield span


@contextmanager
def producer(template: str, subject: str, *, message_id: str | None = None, size: int | None = None) -> Iterator[Span]:
    """Publishing one message. Inject the headers inside it: ``propagation.inject(headers)``.

    Parameters:
        template: the subject's pattern, ``msg.in.{channel}.{conv}``; becomes part of the span's name.
        subject: the subject that is really published to.
        message_id: the ``Nats-Msg-Id``, if there is one.
        size: the body's size in bytes.
    """
    attributes = _destination("send", template, subject)
    if message_id is not None:
        attributes[semconv.MESSAGING_MESSAGE_ID] = message_id
    if size is not None:
        attributes[semconv.MESSAGING_MESSAGE_BODY_SIZE] = size
    with _span(f"send {template}", SpanKind.PRODUCER, attributes) as span:
        yield span


@contextmanager
def process(
    headers: Mapping[str, str] | None,
    template: str,
    subject: str,
    *,
    message_id: str | None = None,
    consumer: str | None = None,
    stream: str | None = None,
    sequence: int | None = None,
    deliveries: int | None = None,
    link_only: bool = False,
) -> Iterator[Span]:
    """Handling one received message: the sender's span is parent **and** link, so one message is one trace.

    Parameters:
        headers: the message's headers; a missing or malformed ``traceparent`` starts a new trace.
        template, subject: as for :func:`producer`.
        message_id: the ``Nats-Msg-Id``, if there is one.
        consumer, stream, sequence, deliveries: where and how often JetStream delivered it.
        link_only: start a new trace that only links to the sender's: for schedules and batches.
    """
    attributes = _destination("process", template, subject)
    if message_id is not None:
        attributes[semconv.MESSAGING_MESSAGE_ID] = message_id
    if consumer is not None:
        attributes[semconv.MESSAGING_CONSUMER_GROUP] = consumer
    if stream is not None:
        attributes[semconv.NATS_STREAM] = stream
    if sequence is not None:
        attributes[semconv.NATS_STREAM_SEQUENCE] = sequence
    if deliveries is not None:
        attributes[semconv.NATS_NUM_DELIVERED] = deliveries
    sender = extract(headers)
    with _span(
        f"process {template}",
        SpanKind.CONSUMER,
        attributes,
        context=context_of(None if link_only else sender),
        links=() if sender is None else (Link(sender),),
    ) as span:
        yield span


def _destination(operation: str, template: str, subject: str) -> dict[str, AttributeValue]:
    return {
        **_NATS,
        semconv.MESSAGING_OPERATION_NAME: operation,
        semconv.MESSAGING_OPERATION_TYPE: operation,
        semconv.MESSAGING_DESTINATION_TEMPLATE: template,
        semconv.MESSAGING_DESTINATION_NAME: subject,
    }
