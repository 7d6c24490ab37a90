"""The OpenAI chat completions format: the JSON body of a request, and an incremental parser of the answer.

Source: the chat completions API reference (`chat.completion.chunk`). Many servers speak it with small differences;
each difference that was seen is a field of `ChatDialect`, and `presets` says who has which.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
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
from opencrust_agent.models.messages import Image, Message, Part, Reasoning, Request, Text, ToolCall
from opencrust_agent.models.provider_errors import from_event
from opencrust_agent.models.sse import EventTooLarge, SSEParser
from opencrust_agent.models.turns import joined_text, merge_turns
from opencrust_agent.models.usage import Usage

PATH = "/chat/completions"

_FINISH: dict[str, Finish] = {
    "stop": "stop",
    "eos": "stop",
    "length": "length",
    "max_tokens": "length",
    "model_length": "length",
    "tool_calls": "tool_calls",
    "function_call": "tool_calls",
}


@dataclass(frozen=True, slots=True)
class ChatDialect:
    """How a server's chat completions differ from the others'.

    max_tokens_field      "max_completion_tokens" where "max_tokens" is refused by newer models
    asks_usage            send `stream_options.include_usage`; False where unknown fields are refused (Mistral)
    null_finish           `[DONE]` alone ends an answer, because `finish_reason` may stay null (Ollama)
    short_call_ids        tool call ids must be nine letters or digits (Mistral)
    user_after_tool       a user message may follow a tool result directly (not with Mistral)
    returns_reasoning     `reasoning_content` must be sent back while tools are used (DeepSeek)
    """

    max_tokens_field: str = "max_tokens"
    asks_usage: bool = True
    null_finish: bool = False
    short_call_ids: bool = False
    user_after_tool: bool = True
    returns_reasoning: bool = False


def request_body(request: Request, *, model: str, origin: str, dialect: ChatDialect) -> dict[str, Any]:
    """The body to send. `origin` is the endpoint's name: opaque parts written by others are left out."""
    body: dict[str, Any] = {
        "model": model,
        "messages": _messages(request, origin, dialect),
        "stream": True,
        dialect.max_tokens_field: request.max_tokens,
    }
    if dialect.asks_usage:
        body["stream_options"] = {"include_usage": True}
    if request.temperature is not None:
        body["temperature"] = request.temperature
    if request.tools:
        body["tools"] = [
            {
                "type": "function",
                "function": {"name": t.name, "description": t.description, "parameters": dict(t.parameters)},
            }
            for t in request.tools
        ]
    return body


def _messages(request: Request, origin: str, dialect: ChatDialect) -> list[dict[str, Any]]:
    written: list[dict[str, Any]] = []
    if request.system:
        written.append({"role": "system", "content": request.system})
    for message in merge_turns(request.messages):
        if message.role == "assistant":
            written.append(_assistant(message, origin, dialect))
            continue
        for result in message.tool_results:
            content = f"Error: {result.content}" if result.is_error else result.content
            written.append({"role": "tool", "tool_call_id": _call_id(result.call_id, dialect), "content": content})
        if text := joined_text(message):
            if message.tool_results and not dialect.user_after_tool:
                written.append({"role": "assistant", "content": "OK."})
            written.append({"role": "user", "content": _seen(text, message)})
    return written


def _seen(text: str, message: Message) -> str | list[dict[str, Any]]:
    """Text alone as a string, which every server takes; with pictures as typed pieces."""
    images = [part for part in message.parts if isinstance(part, Image)]
    if not images:
        return text
    urls = [f"data:{image.media_type};base64,{image.data}" for image in images]
    return [{"type": "text", "text": text}, *({"type": "image_url", "image_url": {"url": url}} for url in urls)]


def _assistant(message: Message, origin: str, dialect: ChatDialect) -> dict[str, Any]:
    own = bool(message.origin) and message.origin == origin
    written: dict[str, Any] = {"role": "assistant", "content": joined_text(message) or None}
    if calls := message.tool_calls:
        written["tool_calls"] = [_call(call, own, dialect) for call in calls]
        if own and dialect.returns_reasoning:
            for part in message.parts:
                if isinstance(part, Reasoning):
                    written |= part.data
    return written


def _call(call: ToolCall, own: bool, dialect: ChatDialect) -> dict[str, Any]:
    written = {
        "id": _call_id(call.id, dialect),
        "type": "function",
        "function": {"name": call.name, "arguments": json.dumps(dict(call.arguments), ensure_ascii=False)},
    }
    return {**call.extra, **written} if own else written


def _call_id(call_id: str, dialect: ChatDialect) -> str:
    if not dialect.short_call_ids or (len(call_id) == 9 and call_id.isascii() and call_id.isalnum()):
        return call_id
    return hashlib.sha256(call_id.encode()).hexdigest()[:9]


class ChatParser:
    """Implements `assembly.Parser` for a stream of `chat.completion.chunk` events."""

    def __init__(self, dialect: ChatDialect) -> None:
        self._dialect = dialect
        self._events = SSEParser()
        self._text = TextStream()
        self._refusal: list[str] = []
        self._reasoning: list[str] = []
        self._calls: dict[object, OpenCall] = {}
        self._finish = ""
        self._marker = False
        self._usage = Usage()
        self._model = ""
        self._id = ""

    @property
    def finished(self) -> bool:
        return bool(self._finish) or (self._marker and self._dialect.null_finish)

    @property
    def done(self) -> bool:
        return self._marker

    @property
    def usage(self) -> Usage:
        return self._usage

    def feed(self, chunk: bytes) -> list[str]:
        shown: list[str] = []
        try:
            for name, data in self._events.feed(chunk):
                if self._marker:
                    break
                if data == b"[DONE]":
                    self._marker = True
                    break
                body = load_object(data)
                if name == "error":
                    raise from_event(body.get("error") or body)
                self._chunk(body, "delta", shown)
        except EventTooLarge as error:
            raise protocol_error(str(error)) from None
        return shown

    def read(self, body: bytes) -> list[str]:
        """A whole `chat.completion` object, from a server that did not stream."""
        shown: list[str] = []
        self._chunk(load_object(body), "message", shown)
        self._marker = True
        return shown

    def close(self) -> Answer:
        if not self.finished:
            raise ModelError(ErrorKind.TRUNCATED, "the answer ended without a finish marker")
        refusal = valid_unicode("".join(self._refusal))
        if refusal or self._finish == "content_filter":
            raise ModelError(ErrorKind.REFUSED, refusal or "the provider's content filter stopped the answer")
        if self._finish == "error":
            raise ModelError(ErrorKind.SERVER, "the provider stopped with an error")
        finish = _FINISH.get(self._finish or "stop")
        if finish == "stop" and self._calls:
            finish = "tool_calls"  # Ollama and others say "stop" beside tool calls
        if finish is None and self._calls:
            raise protocol_error("tool calls with an unknown finish reason")
        if finish == "tool_calls" and not self._calls:
            raise protocol_error("tool calls were announced and none came")
        parts: list[Part] = []
        if self._reasoning:
            parts.append(Reasoning({"reasoning_content": valid_unicode("".join(self._reasoning))}))
        if text := self._text.whole():
            parts.append(Text(text))
        if finish == "tool_calls":
            taken: set[str] = set()
            parts += [call.close(n, self._id, taken) for n, call in enumerate(self._calls.values())]
        return Answer(tuple(parts), finish or "stop", self._usage, self._model, self._id)

    def _chunk(self, body: dict[str, Any], carrier: str, shown: list[str]) -> None:
        if error := body.get("error"):
            raise from_event(error)
        self._id = self._id or valid_unicode(as_text(body.get("id")))
        self._model = self._model or valid_unicode(as_text(body.get("model")))
        usage = body.get("usage") or as_object(body.get("x_groq")).get("usage")
        if usage:
            usage = as_object(usage)
            details = usage.get("prompt_tokens_details")
            self._usage = Usage(
                as_count(usage.get("prompt_tokens")),
                as_count(usage.get("completion_tokens")),
                as_count(details.get("cached_tokens")) if isinstance(details, dict) else 0,
                reported=True,
            )
        for choice in as_list(body.get("choices")):
            choice = as_object(choice)
            if choice.get("index"):  # we ask for one choice; others are somebody's mistake
                continue
            if error := choice.get("error"):  # OpenRouter
                raise from_event(error)
            self._piece(as_object(choice.get(carrier)), shown)
            self._finish = self._finish or as_text(choice.get("finish_reason"))

    def _piece(self, piece: dict[str, Any], shown: list[str]) -> None:
        if (content := piece.get("content")) and (text := self._text.add(_content(content))):
            shown.append(text)
        if refusal := piece.get("refusal"):
            self._refusal.append(as_text(refusal))
        if self._dialect.returns_reasoning and (reasoning := piece.get("reasoning_content")):
            self._reasoning.append(as_text(reasoning))
        for position, call in enumerate(as_list(piece.get("tool_calls"))):
            self._call(as_object(call), position)

    def _call(self, piece: dict[str, Any], position: int) -> None:
        index = piece.get("index")
        call_id = as_text(piece.get("id"))
        key: object = index if isinstance(index, int) else position
        open_call = self._calls.get(key)
        if open_call is not None and call_id and open_call.id and call_id != open_call.id:
            # Servers that give every call index 0 (or none) tell them apart by id alone.
            key = (key, call_id)
            open_call = self._calls.get(key)
        if open_call is None:
            if len(self._calls) >= MAX_TOOL_CALLS:
                raise protocol_error(f"more than {MAX_TOOL_CALLS} tool calls")
            open_call = self._calls[key] = OpenCall()
        function = as_object(piece.get("function"))
        open_call.id = open_call.id or call_id
        open_call.name = open_call.name or as_text(function.get("name"))
        arguments = function.get("arguments")
        if isinstance(arguments, dict):  # some servers send them parsed
            open_call.ready_arguments = arguments
        else:
            open_call.arguments.append(as_text(arguments))
        if isinstance(extra := piece.get("extra_content"), dict):  # Gemini's thought signature
            open_call.extra = {"extra_content": extra}


def _content(content: object) -> str:
    """Text as a string, or as Mistral's list of typed pieces, of which only text is an answer."""
    if isinstance(content, list):
        pieces = (as_object(piece) for piece in content)
        return "".join(as_text(piece.get("text")) for piece in pieces if piece.get("type") == "text")
    return as_text(content)
