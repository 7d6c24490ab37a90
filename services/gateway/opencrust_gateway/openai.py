"""The shapes of OpenAI's chat completions: what a client may ask, and what it gets. Pure.
 What we do not do is refused by name (tools of the client's own, several choices, images) rather than
ignored; what only tunes a model (temperature and the like) is ignored, since the operator's configuration
decides that.
"""

import json
import time
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from opencrust.contracts import ContextTurn
from opencrust.contracts.base import explain
from opencrust.contracts.messages import MAX_CONTEXT_TEXT, MAX_CONTEXT_TURNS
from opencrust_gateway.conversations import ConversationName
from opencrust_gateway.errors import ApiError

MODEL = "opencrust"
"""The one model that we list: which model really answers is the operator's choice, and told in each reply."""

_Role = Literal["system", "developer", "user", "assistant"]


class _Part(BaseModel):
    model_config = ConfigDict(extra="ignore", hide_input_in_errors=True)

    type: Literal["text"]
    text: str


class _Message(BaseModel):
    model_config = ConfigDict(extra="ignore", hide_input_in_errors=True)

    role: _Role
    content: str | list[_Part]

    @property
    def text(self) -> str:
        return self.content if isinstance(self.content, str) else "\n".join(part.text for part in self.content)


class _StreamOptions(BaseModel):
    model_config = ConfigDict(extra="ignore", hide_input_in_errors=True)

    include_usage: bool = False


class _Body(BaseModel):
    model_config = ConfigDict(extra="ignore", hide_input_in_errors=True)

    model: str = ""
    """Whatever the client calls it: which model answers is the operator's choice, and told in the reply."""
    messages: Annotated[list[_Message], Field(min_length=1, max_length=2_000)]
    stream: bool | None = None
    stream_options: _StreamOptions | None = None
    user: ConversationName | None = None
    n: int | None = None
    tools: list[Any] | None = None
    functions: list[Any] | None = None


@dataclass(frozen=True, slots=True)
class ChatRequest:
    """One request, understood.

    `conversation` is None for a client that keeps the conversation itself and sends all of it every time:
    `context`.
    """

    text: str
    conversation: str | None
    context: list[ContextTurn]
    stream: bool
    include_usage: bool


def parse(body: bytes) -> ChatRequest:
    """Read the body of POST /v1/chat/completions. Raises ApiError 400."""
    try:
        value = json.loads(body.decode())
    except UnicodeDecodeError as error:
        raise _bad("invalid_encoding", f"the body is not UTF-8 (byte {error.start})") from None
    except (ValueError, RecursionError):
        raise _bad("invalid_json", "the body is not JSON") from None
    try:
        asked = _Body.model_validate(value)
    except ValidationError as error:
        raise _bad("invalid_request", explain(error)) from None
    if asked.n not in (None, 1):
        raise _bad("unsupported", "n: one choice is all there is; leave it out")
    if asked.tools or asked.functions:
        raise _bad("unsupported", "tools: OpenCrust runs its own tools; a client's tools are not called")
    *earlier, last = asked.messages
    if last.role != "user":
        raise _bad("invalid_request", "messages: the last one must be the user's")
    return ChatRequest(
        text=last.text,
        conversation=asked.user,
        context=[] if asked.user else _context(earlier),
        stream=bool(asked.stream),
        include_usage=bool(asked.stream_options and asked.stream_options.include_usage),
    )


def _context(earlier: list[_Message]) -> list[ContextTurn]:
    """The earlier messages that fit into an envelope: the client's instructions, then the newest."""
    turns = [ContextTurn(role="system" if m.role == "developer" else m.role, text=m.text) for m in earlier if m.text]
    instructions = [turn for turn in turns if turn.role == "system"][:8]
    room = MAX_CONTEXT_TEXT - sum(len(turn.text) for turn in instructions)
    newest: list[ContextTurn] = []
    for turn in reversed([turn for turn in turns if turn.role != "system"]):
        room -= len(turn.text)
        if room < 0 or len(instructions) + len(newest) == MAX_CONTEXT_TURNS:
            break
        newest.append(turn)
    return instructions + newest[::-1]


def _bad(code: str, message: str) -> ApiError:
    return ApiError(400, code, message, final=True)


class Diverged(Exception):
    """The answer turned out otherwise than what was already sent of it."""


class TextStream:
    """From live events, which may be missed or start over, to pieces of text that are never taken back.

    OpenAI's stream can only append. So pieces are passed on while they come without a gap and from one
    attempt; when another attempt takes over or something is missing, nothing more is sent until the reply
    itself is there.
    """

    def __init__(self) -> None:
        self.sent = ""
        self._held = ""  # white space at an edge: the finished reply is trimmed
        self._attempt = 0
        self._next = 0
        self._whole = True

    def feed(self, event: str, attempt: int, index: int, text: str) -> str:
        """What may be sent because of one event; often nothing."""
        if attempt < self._attempt:
            return ""
        if attempt > self._attempt:
            self._attempt, self._next = attempt, 0
            self._start_over()
        if index != self._next:
            self._whole = False
        self._next = index + 1
        if event == "reset":
            self._start_over()
        if event != "delta" or not self._whole:
            return ""
        self._held += text
        piece = self._held.rstrip()
        self._held = self._held[len(piece) :]
        if not self.sent:
            piece = piece.lstrip()
        self.sent += piece
        return piece

    def finish(self, reply: str) -> str:
        """What is still to be sent of the finished reply. Raises Diverged."""
        if not reply.startswith(self.sent):
            raise Diverged
        return reply[len(self.sent) :]

    def _start_over(self) -> None:
        self._held = ""
        if self.sent:
            self._whole = False


def completion(message_id: str, text: str, model: str, usage: dict[str, int] | None) -> dict[str, Any]:
    """A whole answer."""
    choice = {
        "index": 0,
        "message": {"role": "assistant", "content": text, "refusal": None},
        "finish_reason": "stop",
        "logprobs": None,
    }
    return {
        "id": f"chatcmpl-{message_id}",
        "object": "chat.completion",
        "created": int(time.time()),
        "model": model or MODEL,
        "choices": [choice],
        "usage": _usage(usage),
    }


def chunk(message_id: str, delta: dict[str, str], *, finish: str | None = None, model: str = MODEL) -> dict[str, Any]:
    """One piece of a streamed answer."""
    return {
        "id": f"chatcmpl-{message_id}",
        "object": "chat.completion.chunk",
        "created": int(time.time()),
        "model": model or MODEL,
        "choices": [{"index": 0, "delta": delta, "finish_reason": finish, "logprobs": None}],
    }


def usage_chunk(message_id: str, usage: dict[str, int] | None, model: str) -> dict[str, Any]:
    """The last piece, for a client that asked for `stream_options.include_usage`."""
    return {**chunk(message_id, {}, model=model), "choices": [], "usage": _usage(usage)}


def models() -> dict[str, Any]:
    """The answer of GET /v1/models."""
    return {"object": "list", "data": [{"id": MODEL, "object": "model", "created": 0, "owned_by": "opencrust"}]}


def _usage(usage: dict[str, int] | None) -> dict[str, int]:
    spent = usage or {}
    asked, answered = spent.get("input_tokens", 0), spent.get("output_tokens", 0)
    return {"prompt_tokens": asked, "completion_tokens": answered, "total_tokens": asked + answered}
