"""Cutting a request down to what the demo model can hold and follow. Pure."""

from __future__ import annotations

from opencrust_agent.models import Message, Request, Text

CONTEXT = 2048
MAX_TOKENS = 256
SYSTEM = "You are a helpful assistant."
"""Measured: without a system prompt, or with a longer one, the capital of France comes out wrong."""

_SHORT = 80
_TEMPLATE_TOKENS = 64


def fit(request: Request, share: float = 1.0) -> Request:
    """The request with a short system prompt, no tools, and as much of the conversation's end as fits.

    `share` of the context window is filled, by an estimate that errs on the long side for English; for text that the
    tokenizer splits finely, ask again with a smaller share. A last message that is too long keeps its beginning.
    """
    max_tokens = min(request.max_tokens, MAX_TOKENS)
    room = (CONTEXT - max_tokens - _TEMPLATE_TOKENS) * share
    kept: list[Message] = []
    for message in reversed(request.messages):
        text = "\n\n".join([message.text, *(result.content for result in message.tool_results)]).strip()
        cost = estimate(text)
        if not kept and cost > room:
            text = text[: max(1, int(len(text) * room / cost))]
        elif cost > room:
            break
        room -= cost
        if text:
            kept.append(Message(message.role, (Text(text),)))
    if kept[-1].role == "assistant" and len(kept) > 1:
        kept.pop()  # a conversation that begins with an answer confuses it
    return Request(
        system=request.system if 0 < len(request.system) <= _SHORT else SYSTEM,
        messages=tuple(reversed(kept)),
        max_tokens=max_tokens,
        temperature=0.0 if request.temperature is None else request.temperature,
    )


def estimate(text: str) -> float:
    """Tokens of `text`, roughly: a third of its ASCII, every other byte."""
    size = len(text.encode("utf-8", "replace"))
    ascii_size = sum(character < "\x80" for character in text)
    return ascii_size / 3 + (size - ascii_size) + 8
