"""Messages as we keep them: neutral between providers, immutable, and JSON both ways for storage on the bus."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

JsonObject: TypeAlias = Mapping[str, Any]
_TOOL_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
Role: TypeAlias = Literal["user", "assistant"]


@dataclass(frozen=True, slots=True)
class Text:
    text: str


@dataclass(frozen=True, slots=True)
class Image:
    """A picture in a user's message; `data` is its bytes in base64. Models that take none are told its `name`."""

    media_type: str
    data: str = field(repr=False)
    name: str = "image"


@dataclass(frozen=True, slots=True)
class ToolCall:
    """What the model wants done.

    `arguments` is the parsed JSON object. When the model wrote something else, `arguments` is empty and `malformed`
    says what was wrong: answer the call with that as an error result, never run it. `extra` is what this provider
    wants to see again beside the call (Gemini's thought signatures); it goes back to the same provider only.
    """

    id: str
    name: str
    arguments: JsonObject
    malformed: str = ""
    extra: JsonObject = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ToolResult:
    """The answer to the `ToolCall` with the id `call_id`, as text for the model."""

    call_id: str
    content: str
    is_error: bool = False


@dataclass(frozen=True, slots=True)
class Reasoning:
    """Opaque thinking that its provider wants returned while tools are used. Never shown, never sent elsewhere."""

    data: JsonObject


Part: TypeAlias = Text | Image | ToolCall | ToolResult | Reasoning


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a conversation.

    A user message holds `Text`, `Image` and `ToolResult` parts; an assistant's `Text`, `ToolCall` and `Reasoning`.
    `origin` is the endpoint's name that wrote an assistant message: opaque parts return only there.
    """

    role: Role
    parts: tuple[Part, ...]
    origin: str = ""

    def __post_init__(self) -> None:
        allowed = (Text, Image, ToolResult) if self.role == "user" else (Text, ToolCall, Reasoning)
        for part in self.parts:
            if not isinstance(part, allowed):
                raise ValueError(f"a {self.role} message cannot hold a {type(part).__name__} part")

    @property
    def text(self) -> str:
        """All text parts joined, nothing between them."""
        return "".join(part.text for part in self.parts if isinstance(part, Text))

    @property
    def tool_calls(self) -> tuple[ToolCall, ...]:
        return tuple(part for part in self.parts if isinstance(part, ToolCall))

    @property
    def tool_results(self) -> tuple[ToolResult, ...]:
        return tuple(part for part in self.parts if isinstance(part, ToolResult))


def user(text: str) -> Message:
    return Message("user", (Text(text),))


def assistant(text: str) -> Message:
    return Message("assistant", (Text(text),))


@dataclass(frozen=True, slots=True)
class ToolSpec:
    """A tool offered to the model; `parameters` is a JSON Schema of type object."""

    name: str
    description: str
    parameters: JsonObject

    def __post_init__(self) -> None:
        if not _TOOL_NAME.fullmatch(self.name):
            raise ValueError(f"tool name {self.name!r}: providers accept 1 to 64 letters, digits, '_' and '-' only")


@dataclass(frozen=True, slots=True)
class Request:
    """One question to a model.

    `messages` ends with a user message (text or tool results), and each tool call in it is answered in the message
    after it: providers refuse anything else, so it raises ValueError here, before money or time is spent.
    `max_tokens` bounds the answer and is always sent. `temperature` is sent only when set: some models refuse it.
    """

    system: str
    messages: tuple[Message, ...]
    tools: tuple[ToolSpec, ...] = ()
    max_tokens: int = 1024
    temperature: float | None = None

    def __post_init__(self) -> None:
        if self.max_tokens < 1:
            raise ValueError(f"max_tokens must be at least 1, not {self.max_tokens}")
        if not self.messages or self.messages[-1].role != "user":
            raise ValueError("a request's messages must end with a user message")
        if not self.messages[-1].text.strip() and not self.messages[-1].tool_results:
            raise ValueError("a request's last message is empty")
        open_calls: set[str] = set()
        for number, message in enumerate(self.messages):
            answered = {result.call_id for result in message.tool_results}
            if answered != open_calls:
                wrong = ", ".join(sorted(answered ^ open_calls))
                raise ValueError(f"message {number}: tool calls and results do not match up: {wrong}")
            calls = message.tool_calls
            open_calls = {call.id for call in calls}
            if len(open_calls) != len(calls):
                raise ValueError(f"message {number}: two tool calls share an id")


def message_to_json(message: Message) -> dict[str, Any]:
    """Plain JSON data; `message_from_json` gives an equal message back."""
    body: dict[str, Any] = {"role": message.role, "parts": [_part_to_json(part) for part in message.parts]}
    if message.origin:
        body["origin"] = message.origin
    return body


def message_from_json(body: Mapping[str, Any]) -> Message:
    """Raises ValueError, without quoting the content, when `body` is not what `message_to_json` wrote."""
    try:
        role, parts, origin = body["role"], body["parts"], body.get("origin", "")
        if role not in ("user", "assistant") or not isinstance(origin, str):
            raise ValueError("a stored message has an unknown role or origin")
        return Message(role, tuple(_parts_from_json(parts)), origin)
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"a stored message is not readable ({type(error).__name__})") from None


def _part_to_json(part: Part) -> dict[str, Any]:
    match part:
        case Text(text):
            return {"type": "text", "text": text}
        case Image(media_type, data, name):
            return {"type": "image", "media_type": media_type, "data": data, "name": name}
        case ToolCall(id=call_id, name=name, arguments=arguments, malformed=malformed, extra=extra):
            call: dict[str, Any] = {"type": "tool_call", "id": call_id, "name": name, "arguments": dict(arguments)}
            if malformed:
                call["malformed"] = malformed
            if extra:
                call["extra"] = dict(extra)
            return call
        case ToolResult(call_id, content, is_error):
            return {"type": "tool_result", "call_id": call_id, "content": content, "is_error": is_error}
        case Reasoning(data):
            return {"type": "reasoning", "data": dict(data)}


def _parts_from_json(parts: Iterable[Mapping[str, Any]]) -> Iterable[Part]:
    for part in parts:
        match part["type"]:
            case "text":
                yield Text(_string(part["text"]))
            case "image":
                yield Image(_string(part["media_type"]), _string(part["data"]), _string(part["name"]))
            case "tool_call":
                yield ToolCall(
                    _string(part["id"]),
                    _string(part["name"]),
                    _object(part["arguments"]),
                    _string(part.get("malformed", "")),
                    _object(part.get("extra", {})),
                )
            case "tool_result":
                yield ToolResult(_string(part["call_id"]), _string(part["content"]), part["is_error"] is True)
            case "reasoning":
                yield Reasoning(_object(part["data"]))
            case _:
                raise ValueError("a stored message has a part of unknown type")


def _object(value: object) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise TypeError
    return value


def _string(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError
    return value
