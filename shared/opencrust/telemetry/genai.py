"""Spans of a turn: ``invoke_agent {name}`` > ``chat {model}`` and ``execute_tool {tool}``.

Only counts, names and ids become attributes. Prompts, answers, tool arguments and tool results never do.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from opentelemetry.trace import Span

from opencrust.telemetry import semconv
from opencrust.telemetry.spans import client, internal


@contextmanager
def invoke_agent(name: str, *, conversation: str) -> Iterator[Span]:
    """One turn of the agent called ``name`` in the conversation with that key."""
    with internal(
        f"invoke_agent {name}",
        {
            semconv.GENAI_OPERATION_NAME: "invoke_agent",
            semconv.GENAI_AGENT_NAME: name,
            semconv.GENAI_CONVERSATION_ID: conversation,
        },
    ) as span:
        yield span


@contextmanager
def chat(model: str, *, provider: str) -> Iterator[Span]:
    """One request to a model. ``provider``: the kind (``openai``, ``anthropic``, ``ollama``, ``demo``)."""
    with client(
        f"chat {model}",
        {
            semconv.GENAI_OPERATION_NAME: "chat",
            semconv.GENAI_PROVIDER_NAME: provider,
            semconv.GENAI_REQUEST_MODEL: model,
        },
    ) as span:
        yield span


@contextmanager
def execute_tool(name: str, *, call_id: str | None = None, kind: str = "function") -> Iterator[Span]:
    """One call of the tool called ``name``."""
    attributes = {
        semconv.GENAI_OPERATION_NAME: "execute_tool",
        semconv.GENAI_TOOL_NAME: name,
        semconv.GENAI_TOOL_TYPE: kind,
    }
    if call_id is not None:
        attributes[semconv.GENAI_TOOL_CALL_ID] = call_id
    with internal(f"execute_tool {name}", attributes) as span:
        yield span


def record_usage(
    span: Span,
    *,
    input_tokens: int | None = None,
    output_tokens: int | None = None,
    response_model: str | None = None,
    finish_reason: str | None = None,
    time_to_first_chunk: float | None = None,
) -> None:
    """Put what a provider reported about one answer on its ``chat`` span. ``time_to_first_chunk``: seconds."""
    if input_tokens is not None:
        span.set_attribute(semconv.GENAI_INPUT_TOKENS, input_tokens)
    if output_tokens is not None:
        span.set_attribute(semconv.GENAI_OUTPUT_TOKENS, output_tokens)
    if response_model is not None:
        span.set_attribute(semconv.GENAI_RESPONSE_MODEL, response_model)
    if finish_reason is not None:
        span.set_attribute(semconv.GENAI_FINISH_REASONS, (finish_reason,))
    if time_to_first_chunk is not None:
        span.set_attribute(semconv.GENAI_TIME_TO_FIRST_CHUNK, time_to_first_chunk)
