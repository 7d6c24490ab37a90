"""The messages format: bodies we send, and answers."""

import json
from typing import Any

import pytest

from opencrust_agent.models import (
    ErrorKind,
    Message,
    ModelError,
    Reasoning,
    Request,
    Text,
    ToolCall,
    ToolResult,
    ToolSpec,
    assistant,
    user,
)
from opencrust_agent.models.anthropic_messages import MessagesParser, request_body
from opencrust_agent.models.assembly import Answer

START = {"type": "message_start", "message": {"id": "m1", "model": "c-1", "usage": {"input_tokens": 3}}}
STOP = {"type": "message_stop"}


def ended(reason: str | None, **usage: int) -> dict[str, Any]:
    return {"type": "message_delta", "delta": {"stop_reason": reason}, "usage": usage}


def block(index: int, content: dict[str, Any], *deltas: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        {"type": "content_block_start", "index": index, "content_block": content},
        *({"type": "content_block_delta", "index": index, "delta": delta} for delta in deltas),
        {"type": "content_block_stop", "index": index},
    ]


def text(index: int, *pieces: str) -> list[dict[str, Any]]:
    return block(index, {"type": "text", "text": ""}, *({"type": "text_delta", "text": p} for p in pieces))


def tool(index: int, *pieces: str, **fields: Any) -> list[dict[str, Any]]:
    content = {"type": "tool_use", "id": f"t{index}", "name": "tool", "input": {}} | fields
    return block(index, content, *({"type": "input_json_delta", "partial_json": p} for p in pieces))


def parse(*events: dict[str, Any]) -> Answer:
    parser = MessagesParser()
    for event in events:
        parser.feed(f"event: {event.get('type')}\ndata: {json.dumps(event)}\n\n".encode())
    return parser.close()


def test_a_whole_conversation_as_sent() -> None:
    request = Request(
        "be brief",
        (
            user("a"),
            user("b"),
            Message("assistant", (Reasoning({"type": "thinking", "thinking": "x"}), ToolCall("t1", "tool", {"q": 1}))),
            Message("user", (Text("hurry"), ToolResult("t1", "no", is_error=True))),
        ),
        tools=(ToolSpec("tool", "does", {"type": "object"}),),
        max_tokens=77,
        temperature=0.5,
    )
    assert request_body(request, model="m", origin="here") == {
        "model": "m",
        "system": "be brief",
        "messages": [
            {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
            {
                "role": "assistant",
                "content": [{"type": "tool_use", "id": "t1", "name": "tool", "input": {"q": 1}}],
            },
            {
                "role": "user",
                "content": [
                    {"type": "tool_result", "tool_use_id": "t1", "content": "no", "is_error": True},
                    {"type": "text", "text": "hurry"},
                ],
            },
        ],
        "stream": True,
        "max_tokens": 77,
        "temperature": 0.5,
        "tools": [{"name": "tool", "description": "does", "input_schema": {"type": "object"}}],
    }


def test_a_history_that_begins_with_the_assistant() -> None:
    sent = request_body(Request("", (assistant("x"), user("y"))), model="m", origin="")
    assert [m["role"] for m in sent["messages"]] == ["user", "assistant", "user"]
    assert "system" not in sent


def test_thinking_returns_to_its_origin_only() -> None:
    thinking = block(
        0,
        {"type": "thinking", "thinking": "", "signature": ""},
        {"type": "thinking_delta", "thinking": "hm "},
        {"type": "thinking_delta", "thinking": "ok"},
        {"type": "signature_delta", "signature": "c2ln"},
    )
    redacted = block(1, {"type": "redacted_thinking", "data": "eHg="})
    answer = parse(START, *thinking, *redacted, *tool(2, "{}"), ended("tool_use"), STOP)
    result = Message("user", (ToolResult("t2", "ok"),))
    sent = request_body(
        Request("", (user("x"), Message("assistant", answer.parts, "here"), result)), model="m", origin="here"
    )
    assert sent["messages"][1]["content"] == [
        {"type": "thinking", "thinking": "hm ok", "signature": "c2ln"},
        {"type": "redacted_thinking", "data": "eHg="},
        {"type": "tool_use", "id": "t2", "name": "tool", "input": {}},
    ]


def test_text_and_parallel_calls() -> None:
    answer = parse(
        START,
        {"type": "ping"},
        *text(0, "let ", "me"),
        *tool(1, '{"a"', ": 1}"),
        *tool(2),
        {"type": "invented_later", "index": 9},
        ended("tool_use", output_tokens=5),
        STOP,
    )
    assert answer.parts == (Text("let me"), ToolCall("t1", "tool", {"a": 1}), ToolCall("t2", "tool", {}))
    assert (answer.finish, answer.response_id, answer.model) == ("tool_calls", "m1", "c-1")
    assert (answer.usage.input_tokens, answer.usage.output_tokens) == (3, 5)


def test_compatible_servers_may_send_blocks_whole() -> None:
    whole = block(0, {"type": "text", "text": "hi"})
    answer = parse(START, *whole, *tool(1, input={"a": "\ud83d"}), ended("tool_use"), STOP)
    assert answer.parts == (Text("hi"), ToolCall("t1", "tool", {"a": "\ufffd"}))


def test_cached_input_counts_as_input() -> None:
    usage = {"input_tokens": 3, "cache_read_input_tokens": 10, "cache_creation_input_tokens": 100}
    answer = parse({"type": "message_start", "message": {"usage": usage}}, ended("end_turn", output_tokens=1), STOP)
    assert (answer.usage.input_tokens, answer.usage.cached_tokens) == (113, 10)


def test_an_answer_cut_by_length_has_no_calls() -> None:
    answer = parse(START, *text(0, "a"), *tool(1, "{}"), ended("max_tokens"), STOP)
    assert (answer.finish, answer.parts) == ("length", (Text("a"),))


@pytest.mark.parametrize(
    ("events", "kind"),
    [
        ((), ErrorKind.TRUNCATED),
        ((START, *text(0, "a")), ErrorKind.TRUNCATED),
        ((START, *tool(0, "{}")), ErrorKind.TRUNCATED),
        ((START, *tool(0, "{}"), ended("tool_use")), ErrorKind.TRUNCATED),
        ((START, *tool(0, "{}"), STOP), ErrorKind.TRUNCATED),
        ((START, *text(0, "a"), ended("refusal"), STOP), ErrorKind.REFUSED),
        ((START, ended("tool_use"), STOP), ErrorKind.PROTOCOL),
        ((START, *tool(0, "{}"), ended("novel"), STOP), ErrorKind.PROTOCOL),
        ((STOP,), ErrorKind.PROTOCOL),
        (tuple(text(0, "a")), ErrorKind.PROTOCOL),
        ((START, *text(0, "a"), *text(0, "b")), ErrorKind.PROTOCOL),
        ((START, {"type": "content_block_delta", "index": 4, "delta": {}}), ErrorKind.PROTOCOL),
        ((START, *[e for n in range(200) for e in tool(n)]), ErrorKind.PROTOCOL),
        ((START, {"type": "error", "error": {"type": "overloaded_error", "message": "x"}}), ErrorKind.OVERLOADED),
        ((START, {"type": "error", "error": {"type": "api_error", "message": "x"}}), ErrorKind.SERVER),
        ((START, {"type": "error", "error": {"type": "rate_limit_error"}}), ErrorKind.RATE_LIMIT),
        ((START, {"type": "error"}), ErrorKind.SERVER),
    ],
)
def test_answers_that_are_none(events: tuple[dict[str, Any], ...], kind: ErrorKind) -> None:
    with pytest.raises(ModelError) as caught:
        parse(*events)
    assert caught.value.kind is kind
