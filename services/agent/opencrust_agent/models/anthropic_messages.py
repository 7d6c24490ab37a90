"""The Anthropic messages format: the JSON body of a request, and an incremental parser of the answer.

Source: the Messages API reference and its streaming guide (message_start, content_block_*, message_delta,
message_stop, ping, error). Unknown events and blocks are ignored, as the guide asks.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from opencrust_agent.models.assembly import (
    MAX_TOOL_CALLS,
    Answer,
    OpenCall,
    TextStream,
    as_count,
    as_list,
    as_object,
    as_text,
    load_object,
    protocol_error,
    valid_unicode,
)
from opencrust_agent.models.errors import ErrorKind, ModelError
from opencrust_agent.models.events import Finish
from opencrust_agent.models.messages import Image, Message, Part, Reasoning, Request, Text, ToolCall, ToolResult
from opencrust_agent.models.provider_errors import from_event
from opencrust_agent.models.sse import EventTooLarge, SSEParser
from opencrust_agent.models.turns import merge_turns
from opencrust_agent.models.usage import Usage

PATH = "/messages"
VERSION_HEADER = {"anthropic-version": "2023-06-01"}

_FINISH: dict[str, Finish] = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "pause_turn": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
}
_THINKING = ("thinking", "redacted_thinking")


def request_body(request: Request, *, model: str, origin: str) -> dict[str, Any]:
    """The body to send. `origin` is the endpoint's name: opaque parts written by others are left out."""
    messages = [
        {"role": message.role, "content": _blocks(message, origin)} for message in merge_turns(request.messages)
    ]
    if messages and messages[0]["role"] == "assistant":  # refused by the API; a cut history can begin so
        messages.insert(0, {"role": "user", "content": [{"type": "text", "text": "(earlier messages are left out)"}]})
    body: dict[str, Any] = {
        "model": model,
        "messages": messages,
        "stream": True,
        "max_tokens": request.max_tokens,
    }
    if request.system:
        body["system"] = request.system
    if request.temperature is not None:
        body["temperature"] = request.temperature
    if request.tools:
        body["tools"] = [
            {"name": t.name, "description": t.description, "input_schema": dict(t.parameters)} for t in request.tools
        ]
    return body


def _blocks(message: Message, origin: str) -> list[dict[str, Any]]:
    own = bool(message.origin) and message.origin == origin
    blocks: list[dict[str, Any]] = []
    for part in message.parts:
        match part:
            case Text(text):
                blocks.append({"type": "text", "text": text})
            case Image(media_type, data):
                source = {"type": "base64", "media_type": media_type, "data": data}
                blocks.append({"type": "image", "source": source})
            case ToolCall(id=call_id, name=name, arguments=arguments):
                blocks.append({"type": "tool_use", "id": call_id, "name": name, "input": dict(arguments)})
            case ToolResult(call_id, content, is_error):
                block: dict[str, Any] = {"type": "tool_result", "tool_use_id": call_id, "content": content}
                blocks.append(block | {"is_error": True} if is_error else block)
            case Reasoning(data):
                if own and data.get("type") in _THINKING:
                    blocks.append(dict(data))
    return blocks


@dataclass(slots=True)
class _Block:
    type: str
    call: OpenCall = field(default_factory=OpenCall)
    text: TextStream = field(default_factory=TextStream)
    opaque: dict[str, Any] = field(default_factory=dict)
    thinking: list[str] = field(default_factory=list)

    def part(self, number: int, response_id: str, taken: set[str]) -> Part | None:
        match self.type:
            case "text":
                text = self.text.whole()
                return Text(text) if text else None
            case "tool_use":
                return self.call.close(number, response_id, taken)
            case "thinking" | "redacted_thinking":
                said = {"thinking": valid_unicode("".join(self.thinking))} if self.type == "thinking" else {}
                return Reasoning({"type": self.type, **self.opaque, **said})
        return None


class MessagesParser:
    """Implements `assembly.Parser` for a stream of message events."""

    def __init__(self) -> None:
        self._events = SSEParser()
        self._blocks: dict[int, _Block] = {}
        self._started = False
        self._stopped = False
        self._stop_reason = ""
        self._input = 0
        self._cached = 0
        self._output = 0
        self._reported = False
        self._model = ""
        self._id = ""

    @property
    def finished(self) -> bool:
        return self._stopped

    @property
    def done(self) -> bool:
        return self._stopped

    @property
    def usage(self) -> Usage:
        return Usage(self._input, self._output, self._cached, reported=self._reported)

    def feed(self, chunk: bytes) -> list[str]:
        shown: list[str] = []
        try:
            for _, data in self._events.feed(chunk):
                if self._stopped:
                    break
                self._event(load_object(data), shown)
        except EventTooLarge as error:
            raise protocol_error(str(error)) from None
        return shown

    def read(self, body: bytes) -> list[str]:
        """A whole `message` object, from a server that did not stream."""
        message = load_object(body)
        if error := message.get("error"):
            raise from_event(error)
        shown: list[str] = []
        self._start(message)
        for index, block in enumerate(as_list(message.get("content"))):
            self._open(index, as_object(block), shown)
        self._stop_reason = as_text(message.get("stop_reason"))
        self._stopped = bool(self._stop_reason)
        return shown

    def close(self) -> Answer:
        if not self._stopped or not self._stop_reason:
            raise ModelError(ErrorKind.TRUNCATED, "the answer ended without a finish marker")
        if self._stop_reason == "refusal":
            raise ModelError(ErrorKind.REFUSED, "the model refused to answer")
        finish = _FINISH.get(self._stop_reason)
        calls = any(block.type == "tool_use" for block in self._blocks.values())
        if calls and finish == "stop":
            finish = "tool_calls"
        if calls and finish is None:
            raise protocol_error("tool calls with an unknown stop reason")
        if finish == "tool_calls" and not calls:
            raise protocol_error("tool calls were announced and none came")
        parts: list[Part] = []
        taken: set[str] = set()
        for number, index in enumerate(sorted(self._blocks)):
            block = self._blocks[index]
            if block.type == "tool_use" and finish != "tool_calls":
                continue  # cut by max_tokens: its arguments may be a prefix of what was meant
            if part := block.part(number, self._id, taken):
                parts.append(part)
        return Answer(tuple(parts), finish or "stop", self.usage, self._model, self._id)

    def _event(self, event: dict[str, Any], shown: list[str]) -> None:
        match event.get("type"):
            case "message_start":
                self._start(as_object(event.get("message")))
            case "content_block_start":
                self._open(self._index(event), as_object(event.get("content_block")), shown)
            case "content_block_delta":
                self._delta(self._index(event), as_object(event.get("delta")), shown)
            case "message_delta":
                self._stop_reason = as_text(as_object(event.get("delta")).get("stop_reason")) or self._stop_reason
                self._count(as_object(event.get("usage")))
            case "message_stop":
                if not self._started:
                    raise protocol_error("a message ended that had not begun")
                self._stopped = True
            case "error":
                raise from_event(event.get("error") or event)

    def _start(self, message: dict[str, Any]) -> None:
        self._started = True
        self._id = valid_unicode(as_text(message.get("id")))
        self._model = valid_unicode(as_text(message.get("model")))
        self._count(as_object(message.get("usage")))

    def _count(self, usage: dict[str, Any]) -> None:
        if not usage:
            return
        self._reported = True
        if "input_tokens" in usage:  # the counts are cumulative; cached input is not part of input_tokens
            self._cached = as_count(usage.get("cache_read_input_tokens"))
            created = as_count(usage.get("cache_creation_input_tokens"))
            self._input = as_count(usage.get("input_tokens")) + self._cached + created
        if "output_tokens" in usage:
            self._output = as_count(usage.get("output_tokens"))

    def _index(self, event: dict[str, Any]) -> int:
        index = event.get("index")
        if not self._started or not isinstance(index, int) or index < 0:
            raise protocol_error("a content block out of place")
        return index

    def _open(self, index: int, content: dict[str, Any], shown: list[str]) -> None:
        if index in self._blocks:
            raise protocol_error("a content block began twice")
        if len(self._blocks) >= MAX_TOOL_CALLS:
            raise protocol_error(f"more than {MAX_TOOL_CALLS} content blocks")
        block = self._blocks[index] = _Block(as_text(content.get("type")))
        match block.type:
            case "text":
                self._show(block, as_text(content.get("text")), shown)
            case "tool_use":
                block.call.id = as_text(content.get("id"))
                block.call.name = as_text(content.get("name"))
                block.call.ready_arguments = as_object(content.get("input"))
            case "thinking" | "redacted_thinking":
                block.opaque = {key: as_text(content.get(key)) for key in ("data", "signature") if key in content}
                block.thinking.append(as_text(content.get("thinking")))

    def _delta(self, index: int, delta: dict[str, Any], shown: list[str]) -> None:
        block = self._blocks.get(index)
        if block is None:
            raise protocol_error("a piece of a content block that had not begun")
        match delta.get("type"):
            case "text_delta":
                self._show(block, as_text(delta.get("text")), shown)
            case "input_json_delta":
                block.call.arguments.append(as_text(delta.get("partial_json")))
            case "thinking_delta":
                block.thinking.append(as_text(delta.get("thinking")))
            case "signature_delta":
                block.opaque["signature"] = as_text(delta.get("signature"))

    @staticmethod
    def _show(block: _Block, piece: str, shown: list[str]) -> None:
        if text := block.text.add(piece):
            shown.append(text)
