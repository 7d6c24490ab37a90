"""Turns in the shape that providers accept: roles alternate, and nothing is empty."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from opencrust_agent.models.messages import Image, Message, Reasoning, Request, Text, ToolResult


def merge_turns(messages: Iterable[Message]) -> list[Message]:
    """Neighbours of one role become one message, tool results first; messages without content are dropped.

    Someone who writes twice before an answer makes two user messages in a row, which several chat templates refuse.
    Assistant messages keep their origin only if all that were merged share it.
    """
    merged: list[Message] = []
    for message in messages:
        parts = tuple(part for part in message.parts if not isinstance(part, Text) or part.text.strip())
        if all(isinstance(part, Reasoning) for part in parts):
            continue
        if merged and merged[-1].role == message.role:
            before = merged[-1]
            parts = before.parts + parts
            origin = message.origin if message.origin == before.origin else ""
            merged[-1] = Message(message.role, parts, origin)
        else:
            merged.append(Message(message.role, parts, message.origin))
    return [_results_first(message) for message in merged]


def joined_text(message: Message) -> str:
    """Text parts with an empty line between them."""
    return "\n\n".join(part.text for part in message.parts if isinstance(part, Text))


def without_images(request: Request) -> Request:
    """The request for a model that takes no pictures: each is named instead."""

    def told(message: Message) -> Message:
        parts = tuple(
            Text(f"(a picture that you cannot see: {part.name})") if isinstance(part, Image) else part
            for part in message.parts
        )
        return Message(message.role, parts, message.origin)

    return replace(request, messages=tuple(told(message) for message in request.messages))


def _results_first(message: Message) -> Message:
    if not message.tool_results:
        return message
    rest = tuple(part for part in message.parts if not isinstance(part, ToolResult))
    return Message(message.role, message.tool_results + rest, message.origin)
