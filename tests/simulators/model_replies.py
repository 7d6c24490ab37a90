"""What the simulated model says, and the bytes in which it says it.

A `Reply` is the plan of one answer; `openai_steps` and `anthropic_steps` turn it into what goes over the wire: bytes,
pauses, and the ways a connection can end. Pure, so that parsers are tested on the same bytes without a socket.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

HELLO = "Grüße aus der Küche: hello 🙂 wörld, all is well."


@dataclass(frozen=True)
class Pause:
    seconds: float


class Cut:
    """The socket is reset."""


class CleanEnd:
    """The response ends properly, though the answer does not."""


Step = bytes | Pause | Cut | CleanEnd
FOREVER = Pause(3600)


@dataclass(frozen=True)
class Call:
    """A tool call; `raw` replaces the arguments' JSON by any text."""

    name: str
    arguments: dict[str, Any]
    raw: str | None = None
    id: str | None = None

    @property
    def text(self) -> str:
        return json.dumps(self.arguments, ensure_ascii=False) if self.raw is None else self.raw


@dataclass(frozen=True)
class Reply:
    """One answer.

    text, deltas    what is said; in pieces given by hand, else word by word
    calls           tool calls after the text; their arguments arrive in pieces of `split` characters
    finish          "stop", "length", "tool_calls", "refusal"; None follows from `calls`
    status          not 200: an error with `error` (type), `message` and `retry_after` seconds
    fault           where `at` pieces were sent: hang, hang_headers, stall, truncate, cut, garbage, error_event
    framing         how the bytes look: crlf, comments, bytewise, null_finish, no_done, json, surrogates, gzip
    delay           seconds before the first byte;  pace: seconds before each piece
    """

    text: str = ""
    deltas: tuple[str, ...] = ()
    calls: tuple[Call, ...] = ()
    split: int = 4
    finish: str | None = None
    status: int = 200
    error: str = ""
    message: str = ""
    retry_after: str | None = None
    fault: str = ""
    at: int = 3
    framing: str = ""
    delay: float = 0.0
    pace: float = 0.0
    thinking: str = ""

    @property
    def pieces(self) -> tuple[str, ...]:
        return self.deltas or tuple(re.findall(r"\S+\s*|\s+", self.text))

    @property
    def ending(self) -> str:
        return self.finish or ("tool_calls" if self.calls else "stop")


WEATHER = Call("get_weather", {"city": "Zürich", "days": 2})
TIME = Call("get_time", {"zone": "Europe/Berlin"})


def error_reply(status: int, kind: str, message: str, retry_after: str | None = None) -> Reply:
    return Reply(status=status, error=kind, message=message, retry_after=retry_after)


SCENARIOS: dict[str, Reply] = {
    "ok": Reply(HELLO),
    "empty": Reply(""),
    "length": Reply(HELLO, finish="length"),
    "length_tool": Reply("let me see", calls=(WEATHER,), finish="length"),
    "tool": Reply(calls=(WEATHER,)),
    "tool_text": Reply("let me look. ", calls=(WEATHER,)),
    "parallel": Reply(calls=(WEATHER, TIME, Call("no_arguments", {}))),
    "bytewise_tool": Reply(calls=(WEATHER, TIME), split=1, framing="bytewise"),
    "broken_arguments": Reply(calls=(Call("get_weather", {}, raw='{"city": "Par'),)),
    "429": error_reply(429, "rate_limit_error", "slow down", "1"),
    "quota": error_reply(429, "insufficient_quota", "You exceeded your current quota"),
    "500": error_reply(500, "api_error", "boom"),
    "503": error_reply(503, "unavailable", "starting"),
    "529": error_reply(529, "overloaded_error", "Overloaded"),
    "400": error_reply(400, "invalid_request_error", "tools.0: bad schema"),
    "401": error_reply(401, "authentication_error", "invalid x-api-key: {key}"),
    "404": error_reply(404, "not_found_error", "model not found"),
    "context_window": error_reply(400, "invalid_request_error", "prompt is too long: 201000 tokens > 200000 maximum"),
    "content_filter": error_reply(400, "content_filter", "The prompt was filtered"),
    "redirect": Reply(status=307),
    "html": Reply("<!doctype html><p>Welcome to the router", framing="html"),
    "refusal": Reply("I cannot help with that.", finish="refusal"),
    "hang": Reply(HELLO, fault="hang"),
    "hang_headers": Reply(HELLO, fault="hang_headers"),
    "stall": Reply(HELLO, fault="stall"),
    "stall_tool": Reply(calls=(WEATHER,), fault="stall"),
    "truncate": Reply(HELLO, fault="truncate"),
    "truncate_tool": Reply(calls=(WEATHER, TIME), fault="truncate", at=9),
    "truncate_whole_tool": Reply(calls=(WEATHER,), fault="truncate", at=99),
    "cut": Reply(HELLO, fault="cut"),
    "cut_tool": Reply(calls=(WEATHER,), fault="cut"),
    "garbage": Reply(HELLO, fault="garbage"),
    "error_event": Reply(HELLO, fault="error_event"),
    "error_event_first": Reply(HELLO, fault="error_event", at=0),
    "utf8_split": Reply(HELLO, framing="bytewise"),
    "surrogates": Reply(deltas=("one ", "\ud83d", "\ude42 two \ud800 three"), framing="surrogates"),
    "null_finish": Reply(HELLO, framing="null_finish"),
    "no_done": Reply(HELLO, framing="no_done"),
    "crlf": Reply(HELLO, framing="crlf"),
    "comments": Reply(HELLO, framing="comments"),
    "json": Reply(HELLO, framing="json"),
    "json_tool": Reply(calls=(WEATHER, TIME), framing="json"),
    "gzip": Reply(HELLO, framing="gzip"),
    "slow": Reply(HELLO, pace=0.05),
    "thinking": Reply(HELLO, thinking="first I ponder"),
}


def reply_for(model: str, body: dict[str, Any]) -> Reply:
    """The scenario that a model's name asks for: a key of SCENARIOS, `echo`, `deltas:N`, `slow:MILLISECONDS`,
    `delay:MILLISECONDS` (both echo), or `say:TEXT`. A tool scenario turns to text once it has its results."""
    name, _, argument = model.partition(":")
    match name:
        case "deltas":
            return Reply(deltas=tuple(f"hello{i} " for i in range(int(argument))))
        case "say":
            return Reply(argument)
        case "slow" if argument:
            return Reply(last_text(body), pace=int(argument) / 1000)
        case "delay":
            return Reply(last_text(body), delay=int(argument) / 1000)
    reply = SCENARIOS.get(name)
    if reply is None:
        return Reply(last_text(body))
    if reply.calls and reply.fault == "" and (results := last_results(body)):
        return Reply("results: " + " | ".join(results))
    return reply


def last_text(body: dict[str, Any]) -> str:
    """The text of the last user message, whatever its form."""
    for message in reversed(body.get("messages", [])):
        if message.get("role") == "user":
            content = message.get("content")
            if isinstance(content, str):
                return content
            texts = [block.get("text", "") for block in content if block.get("type") == "text"]
            if texts:
                return "\n\n".join(texts)
    return ""


def last_results(body: dict[str, Any]) -> list[str]:
    """The tool results since the assistant spoke, in order."""
    found: list[str] = []
    for message in reversed(body.get("messages", [])):
        content = message.get("content")
        if message.get("role") == "tool":
            found.insert(0, content)
        elif message.get("role") == "assistant":
            break
        elif isinstance(content, list):
            found += [block["content"] for block in content if block.get("type") == "tool_result"]
    return found


def joined(steps: Iterable[Step]) -> bytes:
    """The bytes of a stream without its pauses, up to where it ends."""
    sent: list[bytes] = []
    for step in steps:
        if isinstance(step, Cut | CleanEnd) or step is FOREVER:
            break
        if isinstance(step, bytes):
            sent.append(step)
    return b"".join(sent)


def input_tokens(body: dict[str, Any]) -> int:
    return 1 + len(json.dumps(body.get("messages", []))) // 4


def openai_steps(reply: Reply, body: dict[str, Any]) -> list[Step]:
    """`chat.completion.chunk` events."""
    usage = {"prompt_tokens": input_tokens(body), "completion_tokens": len(reply.pieces)}
    usage["total_tokens"] = sum(usage.values())

    def chunk(delta: dict[str, Any], finish: str | None = None) -> dict[str, Any]:
        return {
            "id": "chatcmpl-sim",
            "object": "chat.completion.chunk",
            "created": 1,
            "model": body["model"],
            "choices": [{"index": 0, "delta": delta, "finish_reason": finish}],
        }

    refused = reply.ending == "refusal"
    pieces: list[dict[str, Any]] = [
        chunk({"refusal": piece} if refused else {"content": piece}) for piece in reply.pieces
    ]
    for index, call in enumerate(reply.calls):
        head = {"index": index, "id": _id(call, index), "type": "function"}
        pieces.append(chunk({"tool_calls": [head | {"function": {"name": call.name, "arguments": ""}}]}))
        for part in _split(call.text, reply.split):
            pieces.append(chunk({"tool_calls": [{"index": index, "function": {"arguments": part}}]}))
    finish = None if reply.framing == "null_finish" else "stop" if refused else reply.ending
    ending: list[dict[str, Any] | str] = [chunk({}, finish)]
    if body.get("stream_options", {}).get("include_usage"):
        ending.append({**chunk({}), "choices": [], "usage": usage})
    if reply.framing != "no_done":
        ending.append("[DONE]")
    error = {"error": {"message": "upstream died", "type": "server_error", "code": 500}}
    opening = chunk({"role": "assistant", "content": None if reply.calls else ""})
    return _framed(
        reply,
        [_event(opening, "", reply)],
        [_event(piece, "", reply) for piece in pieces],
        [_event(end, "", reply) for end in ending],
        _event(error, "", reply),
    )


def anthropic_steps(reply: Reply, body: dict[str, Any]) -> list[Step]:
    """Message events."""

    def event(payload: dict[str, Any]) -> bytes:
        return _event(payload, payload["type"], reply)

    start = {
        "type": "message_start",
        "message": {
            "id": "msg_sim",
            "type": "message",
            "role": "assistant",
            "model": body["model"],
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            "usage": {"input_tokens": input_tokens(body), "output_tokens": 1},
        },
    }
    opening = [event(start), event({"type": "ping"})]
    pieces: list[bytes] = []
    index = 0

    def block(content: dict[str, Any], deltas: Sequence[dict[str, Any]]) -> None:
        nonlocal index
        events = [{"type": "content_block_start", "index": index, "content_block": content}]
        events += [{"type": "content_block_delta", "index": index, "delta": delta} for delta in deltas]
        events.append({"type": "content_block_stop", "index": index})
        pieces.extend(event(payload) for payload in events)
        index += 1

    if reply.thinking:
        thought = {"type": "thinking_delta", "thinking": reply.thinking}
        sign = {"type": "signature_delta", "signature": "c2lnbmVk"}
        block({"type": "thinking", "thinking": "", "signature": ""}, [thought, sign])
    if reply.pieces:
        block({"type": "text", "text": ""}, [{"type": "text_delta", "text": piece} for piece in reply.pieces])
    for number, call in enumerate(reply.calls):
        parts = [""] + [part for part in _split(call.text, reply.split) if call.arguments or call.raw]
        block(
            {"type": "tool_use", "id": _id(call, number), "name": call.name, "input": {}},
            [{"type": "input_json_delta", "partial_json": part} for part in parts],
        )
    reason = {"stop": "end_turn", "length": "max_tokens", "tool_calls": "tool_use"}.get(reply.ending, reply.ending)
    ending = [
        event(
            {
                "type": "message_delta",
                "delta": {"stop_reason": reason, "stop_sequence": None},
                "usage": {"output_tokens": len(reply.pieces)},
            }
        ),
        event({"type": "message_stop"}),
    ]
    error = event({"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}})
    return _framed(reply, opening, pieces, ending, error)


def openai_body(reply: Reply, body: dict[str, Any]) -> dict[str, Any]:
    """A `chat.completion`, for requests that do not stream."""
    refused = reply.ending == "refusal"
    text = "".join(reply.pieces)
    message: dict[str, Any] = {"role": "assistant", "content": None if refused else text or None}
    message["refusal"] = text if refused else None
    if reply.calls:
        message["tool_calls"] = [
            {"id": _id(call, n), "type": "function", "function": {"name": call.name, "arguments": call.text}}
            for n, call in enumerate(reply.calls)
        ]
    return {
        "id": "chatcmpl-sim",
        "object": "chat.completion",
        "created": 1,
        "model": body["model"],
        "choices": [{"index": 0, "message": message, "finish_reason": "stop" if refused else reply.ending}],
        "usage": {"prompt_tokens": input_tokens(body), "completion_tokens": len(reply.pieces), "total_tokens": 0},
    }


def anthropic_body(reply: Reply, body: dict[str, Any]) -> dict[str, Any]:
    """A `message`, for requests that do not stream."""
    text = "".join(reply.pieces)
    content: list[dict[str, Any]] = [{"type": "text", "text": text}] if text else []
    content += [
        {"type": "tool_use", "id": _id(call, n), "name": call.name, "input": call.arguments}
        for n, call in enumerate(reply.calls)
    ]
    return {
        "id": "msg_sim",
        "type": "message",
        "role": "assistant",
        "model": body["model"],
        "content": content,
        "stop_reason": {"stop": "end_turn", "length": "max_tokens", "tool_calls": "tool_use"}.get(
            reply.ending, reply.ending
        ),
        "stop_sequence": None,
        "usage": {"input_tokens": input_tokens(body), "output_tokens": len(reply.pieces)},
    }


def error_body(reply: Reply) -> dict[str, Any]:
    """Readable by both SDKs."""
    error = {"type": reply.error, "code": reply.error, "message": reply.message}
    return {"type": "error", "error": error, "request_id": "req_sim"}


def scenario_from_json(value: str | dict[str, Any]) -> Reply:
    """A queued scenario: a name, or Reply's fields with an optional `scenario` as the base. Raises ValueError."""
    try:
        if isinstance(value, str):
            return SCENARIOS[value]
        fields = dict(value)
        base = SCENARIOS[fields.pop("scenario")] if "scenario" in fields else Reply()
        if "calls" in fields:
            fields["calls"] = tuple(Call(**call) for call in fields["calls"])
        if "deltas" in fields:
            fields["deltas"] = tuple(fields["deltas"])
        return replace(base, **fields)
    except KeyError as error:
        raise ValueError(f"no scenario {error}; there are: {', '.join(SCENARIOS)}") from None
    except TypeError as error:
        raise ValueError(str(error)) from None


def _id(call: Call, number: int) -> str:
    return call.id or f"call_sim_{number}"


def _split(text: str, size: int) -> list[str]:
    return [text[i : i + size] for i in range(0, len(text), size)]


def _event(payload: dict[str, Any] | str, name: str, reply: Reply) -> bytes:
    escaped = reply.framing == "surrogates"
    text = payload if isinstance(payload, str) else json.dumps(payload, ensure_ascii=escaped)
    event = (f"event: {name}\n" if name else "") + f"data: {text}\n\n"
    if reply.framing == "comments":
        event = f": keep-alive\n\n:\n{event}"
    if reply.framing == "crlf":
        event = event.replace("\n", "\r\n")
    return event.encode()


def _framed(reply: Reply, opening: list[bytes], pieces: list[bytes], ending: list[bytes], error: bytes) -> list[Step]:
    steps: list[Step] = [*opening]
    for number, piece in enumerate(pieces):
        if reply.fault and number >= reply.at:
            break
        if reply.pace:
            steps.append(Pause(reply.pace))
        steps.append(piece)
    match reply.fault:
        case "":
            steps += ending
        case "hang_headers":
            steps = [FOREVER]
        case "stall":
            steps.append(FOREVER)
        case "truncate":
            steps.append(CleanEnd())
        case "cut":
            steps.append(Cut())
        case "garbage":
            steps += [b"event: content_block_delta\ndata: {not json\n\n", *ending]
        case "error_event":
            steps += [error, CleanEnd()]
    if reply.framing == "bytewise":
        return [bytes([byte]) for byte in joined(steps)]
    return steps
