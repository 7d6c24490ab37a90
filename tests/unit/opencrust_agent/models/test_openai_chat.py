"""The chat completions format: bodies we send, and answers with the oddities of real servers."""

import json
import re
from typing import Any

import pytest

from opencrust_agent.models import (
    PRESETS,
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
from opencrust_agent.models.assembly import Answer
from opencrust_agent.models.openai_chat import ChatDialect, ChatParser, request_body

PLAIN = ChatDialect()


def body(request: Request, dialect: ChatDialect = PLAIN) -> dict[str, Any]:
    return request_body(request, model="m", origin="here", dialect=dialect)


def parse(*chunks: dict[str, Any] | str, dialect: ChatDialect = PLAIN) -> Answer:
    parser = ChatParser(dialect)
    for chunk in chunks:
        parser.feed(b"data: " + (chunk if isinstance(chunk, str) else json.dumps(chunk)).encode() + b"\n\n")
    return parser.close()


def delta(finish: str | None = None, **fields: Any) -> dict[str, Any]:
    return {"id": "r1", "model": "m-1", "choices": [{"index": 0, "delta": fields, "finish_reason": finish}]}


def call(arguments: str | dict[str, Any] | None = None, **fields: Any) -> dict[str, Any]:
    function = {key: fields.pop(key) for key in ("name",) if key in fields}
    return fields | {"function": function | ({} if arguments is None else {"arguments": arguments})}


def kind_of(*chunks: dict[str, Any] | str, dialect: ChatDialect = PLAIN) -> ErrorKind:
    with pytest.raises(ModelError) as caught:
        parse(*chunks, dialect=dialect)
    return caught.value.kind


def test_a_whole_conversation_as_sent() -> None:
    request = Request(
        "be brief",
        (
            user("weather?"),
            Message("assistant", (Text("looking"), ToolCall("c1", "weather", {"city": "Zürich"}))),
            Message("user", (Text("hurry"), ToolResult("c1", "sunny"))),
        ),
        tools=(ToolSpec("weather", "tells it", {"type": "object"}),),
        max_tokens=77,
        temperature=0.5,
    )
    assert body(request) == {
        "model": "m",
        "messages": [
            {"role": "system", "content": "be brief"},
            {"role": "user", "content": "weather?"},
            {
                "role": "assistant",
                "content": "looking",
                "tool_calls": [
                    {
                        "id": "c1",
                        "type": "function",
                        "function": {"name": "weather", "arguments": '{"city": "Zürich"}'},
                    }
                ],
            },
            {"role": "tool", "tool_call_id": "c1", "content": "sunny"},
            {"role": "user", "content": "hurry"},
        ],
        "stream": True,
        "stream_options": {"include_usage": True},
        "max_tokens": 77,
        "temperature": 0.5,
        "tools": [
            {
                "type": "function",
                "function": {"name": "weather", "description": "tells it", "parameters": {"type": "object"}},
            }
        ],
    }


def test_what_is_not_set_is_not_sent() -> None:
    assert body(Request("", (user("hi"),))) == {
        "model": "m",
        "messages": [{"role": "user", "content": "hi"}],
        "stream": True,
        "stream_options": {"include_usage": True},
        "max_tokens": 1024,
    }


def test_neighbours_merge_and_empty_turns_vanish() -> None:
    request = Request("", (user("a"), assistant(" "), user("b"), assistant("c"), user("d")))
    assert [m["content"] for m in body(request)["messages"]] == ["a\n\nb", "c", "d"]


def test_a_failed_tool_says_so() -> None:
    called = Message("assistant", (ToolCall("1", "t", {}),))
    request = Request("", (user("x"), called, Message("user", (ToolResult("1", "no", is_error=True),))))
    assert body(request)["messages"][-1]["content"] == "Error: no"


def test_openai_and_azure_get_max_completion_tokens() -> None:
    for kind in ("openai", "azure"):
        sent = body(Request("", (user("hi"),)), PRESETS[kind].dialect)
        assert sent["max_completion_tokens"] == 1024
        assert "max_tokens" not in sent


def test_mistral() -> None:
    request = Request(
        "",
        (
            user("x"),
            Message("assistant", (ToolCall("toolu_01ABC", "t", {}), ToolCall("abcDEF123", "t", {}))),
            Message("user", (ToolResult("toolu_01ABC", "one"), ToolResult("abcDEF123", "two"), Text("and?"))),
        ),
    )
    sent = body(request, PRESETS["mistral"].dialect)
    assert "stream_options" not in sent
    ids = [c["id"] for c in sent["messages"][1]["tool_calls"]]
    assert ids[1] == "abcDEF123"
    assert len(ids[0]) == 9
    assert ids[0].isalnum()
    assert [m["tool_call_id"] for m in sent["messages"][2:4]] == ids
    assert [m["role"] for m in sent["messages"]] == ["user", "assistant", "tool", "tool", "assistant", "user"]


def test_gemini_gets_its_thought_signature_back_and_nobody_else_does() -> None:
    signed = {"extra_content": {"google": {"thought_signature": "c2ln"}}}
    answer = parse(delta(tool_calls=[call("{}", index=0, id="1", name="t") | signed]), delta("tool_calls"), "[DONE]")
    result = Message("user", (ToolResult("1", "ok"),))
    own = Request("", (user("x"), Message("assistant", answer.parts, origin="here"), result))
    other = Request("", (user("x"), Message("assistant", answer.parts, origin="there"), result))
    assert body(own)["messages"][1]["tool_calls"][0]["extra_content"] == signed["extra_content"]
    assert "extra_content" not in body(other)["messages"][1]["tool_calls"][0]


def test_deepseek_gets_its_reasoning_back_while_tools_are_used() -> None:
    dialect = PRESETS["deepseek"].dialect
    answer = parse(
        delta(reasoning_content="hm, "),
        delta(reasoning_content="tools"),
        delta(tool_calls=[call("{}", index=0, id="1", name="t")]),
        delta("tool_calls"),
        dialect=dialect,
    )
    assert answer.parts[0] == Reasoning({"reasoning_content": "hm, tools"})
    asked = (user("x"), Message("assistant", answer.parts, "here"), Message("user", (ToolResult("1", "ok"),)))
    assert body(Request("", asked), dialect)["messages"][1]["reasoning_content"] == "hm, tools"
    assert "reasoning_content" not in body(Request("", asked))["messages"][1]


def test_parallel_calls_by_index_may_interleave() -> None:
    answer = parse(
        delta(tool_calls=[call('{"a"', index=0, id="1", name="t"), call("", index=1, id="2", name="u")]),
        delta(tool_calls=[call('{"b":2}', index=1), call(":1}", index=0)]),
        delta("tool_calls"),
        "[DONE]",
    )
    assert answer.parts == (ToolCall("1", "t", {"a": 1}), ToolCall("2", "u", {"b": 2}))


@pytest.mark.parametrize("index", [{}, {"index": 0}, {"index": None}])
def test_calls_told_apart_by_id_alone(index: dict[str, Any]) -> None:
    answer = parse(
        delta(tool_calls=[call('{"a":1}', id="1", name="t", **index)]),
        delta(tool_calls=[call('{"b":', id="2", name="t", **index)]),
        delta(tool_calls=[call("2}", id="2", **index)]),
        delta("tool_calls"),
    )
    assert answer.parts == (ToolCall("1", "t", {"a": 1}), ToolCall("2", "t", {"b": 2}))


def test_missing_and_repeated_ids_are_replaced_and_repeatable() -> None:
    chunks = (
        delta(tool_calls=[call("{}", index=0, id="", name="t"), call("{}", index=1, id="", name="t")]),
        delta(tool_calls=[call("{}", index=2, id="x", name="t"), call("{}", index=3, id="x", name="t")]),
        delta("tool_calls"),
    )
    ids = [part.id for part in parse(*chunks).parts if isinstance(part, ToolCall)]
    assert len(set(ids)) == 4
    assert all(ids)
    assert ids == [part.id for part in parse(*chunks).parts if isinstance(part, ToolCall)]


def test_stop_beside_tool_calls_means_tool_calls() -> None:
    assert parse(delta("stop", tool_calls=[call({"a": 1}, id="1", name="t")])).finish == "tool_calls"


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        ('{"a": ', "not valid JSON"),
        ("[1]", "not a JSON object"),
        ('{"a": NaN}', "not valid JSON"),
        ('{"a":' * 70 + "1" + "}" * 70, "nested too deeply"),
        ('{"a":' * 100_000, "nested too deeply|not valid JSON"),
    ],
)
def test_malformed_arguments_are_marked_not_run(raw: str, said: str) -> None:
    (found,) = parse(delta("tool_calls", tool_calls=[call(raw, id="1", name="t")])).parts
    assert isinstance(found, ToolCall)
    assert found.arguments == {}
    assert re.search(said, found.malformed)


def test_an_answer_cut_by_length_has_no_calls() -> None:
    answer = parse(delta(content="a"), delta("length", tool_calls=[call("{}", id="1", name="t")]))
    assert (answer.finish, answer.parts) == ("length", (Text("a"),))


def test_null_finish_needs_a_dialect_that_allows_it() -> None:
    chunks = (delta(content="a"), "[DONE]")
    assert kind_of(*chunks) is ErrorKind.TRUNCATED
    assert parse(*chunks, dialect=PRESETS["ollama"].dialect).finish == "stop"
    assert kind_of(chunks[0], dialect=PRESETS["ollama"].dialect) is ErrorKind.TRUNCATED


@pytest.mark.parametrize(
    ("chunks", "kind"),
    [
        ((), ErrorKind.TRUNCATED),
        ((delta(content="a"),), ErrorKind.TRUNCATED),
        ((delta(tool_calls=[call("{}", id="1", name="t")]),), ErrorKind.TRUNCATED),
        ((delta(tool_calls=[call("{}", id="1", name="t")]), "[DONE]"), ErrorKind.TRUNCATED),
        ((delta("content_filter", content="a"),), ErrorKind.REFUSED),
        ((delta(refusal="I "), delta("stop", refusal="won't")), ErrorKind.REFUSED),
        ((delta("error"),), ErrorKind.SERVER),
        ((delta("tool_calls", content="none came"),), ErrorKind.PROTOCOL),
        ((delta("odd", tool_calls=[call("{}", id="1", name="t")]),), ErrorKind.PROTOCOL),
        ((delta("tool_calls", tool_calls=[call("{}", id="1")]),), ErrorKind.PROTOCOL),
        ((delta("tool_calls", tool_calls=[call("{}", index=n, name="t") for n in range(200)]),), ErrorKind.PROTOCOL),
        (({"error": {"message": "boom", "code": 429}},), ErrorKind.RATE_LIMIT),
        (({"error": {"message": "boom", "code": "502"}},), ErrorKind.SERVER),
        (({"error": "just words"},), ErrorKind.SERVER),
        (({"choices": [{"error": {"code": 503, "message": "upstream"}}]},), ErrorKind.OVERLOADED),
        (("{not json",), ErrorKind.PROTOCOL),
        (("[1]",), ErrorKind.PROTOCOL),
        (({"choices": "abc"},), ErrorKind.PROTOCOL),
        (({"choices": [{"delta": {"content": 3}}]},), ErrorKind.PROTOCOL),
    ],
)
def test_answers_that_are_none(chunks: tuple[Any, ...], kind: ErrorKind) -> None:
    assert kind_of(*chunks) is kind


def test_usage_from_groq_and_with_a_cache() -> None:
    usage = {"prompt_tokens": 9, "completion_tokens": 4, "prompt_tokens_details": {"cached_tokens": 5}}
    found = parse(delta("stop") | {"x_groq": {"usage": usage}}).usage
    assert (found.input_tokens, found.output_tokens, found.cached_tokens, found.reported) == (9, 4, 5, True)
    assert parse(delta("stop") | {"usage": {"prompt_tokens": -1, "completion_tokens": "x"}}).usage.input_tokens == 0
    assert not parse(delta("stop")).usage.reported


def test_mistrals_typed_content_and_a_second_choice() -> None:
    thought = {"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}
    second = {"choices": [{"index": 1, "delta": {"content": "no"}, "finish_reason": "length"}]}
    answer = parse(delta(content=[thought, {"type": "text", "text": "yes"}]), second, delta("stop"))
    assert (answer.parts, answer.finish) == ((Text("yes"),), "stop")


def test_what_follows_done_is_ignored() -> None:
    assert parse(delta("stop", content="a"), "[DONE]", "{garbage").parts == (Text("a"),)
