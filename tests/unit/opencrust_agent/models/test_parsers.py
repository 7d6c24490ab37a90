"""Both parsers together: the official SDKs as oracles, every cut of the bytes, and hostile bytes."""

import json
from collections.abc import Callable
from typing import Any

import anthropic
import openai
import pytest
from anthropic.lib.streaming._messages import accumulate_event
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from openai.lib.streaming.chat import ChatCompletionStreamState
from openai.types.chat import ChatCompletionChunk

from opencrust_agent.models import ErrorKind, ModelError, ToolCall
from opencrust_agent.models.anthropic_messages import MessagesParser
from opencrust_agent.models.assembly import MAX_TEXT, Answer, Parser
from opencrust_agent.models.openai_chat import ChatDialect, ChatParser
from simulators.model_replies import SCENARIOS, Call, Reply, anthropic_steps, joined, openai_steps

ASKED: dict[str, Any] = {
    "model": "m",
    "stream": True,
    "stream_options": {"include_usage": True},
    "messages": [{"role": "user", "content": "hi"}],
}
WIRES: dict[str, tuple[Callable[[], Parser], Callable[[Reply, dict[str, Any]], Any]]] = {
    "openai": (lambda: ChatParser(ChatDialect()), openai_steps),
    "anthropic": (MessagesParser, anthropic_steps),
}
STREAMS = {
    (wire, name): joined(steps(reply, ASKED))
    for wire, (_, steps) in WIRES.items()
    for name, reply in SCENARIOS.items()
    if reply.status == 200 and reply.framing not in ("html", "gzip", "json")
}

Outcome = tuple[Answer | ErrorKind, str]


def outcome(parser: Parser, chunks: list[bytes]) -> Outcome:
    """The answer or the error's kind, and what was shown by then."""
    shown = ""
    try:
        for chunk in chunks:
            shown += "".join(parser.feed(chunk))
        return parser.close(), shown
    except ModelError as error:
        return error.kind, shown


TEXT = st.text(st.characters(codec="utf-8"), max_size=12)
VALUES = st.none() | st.booleans() | st.integers() | TEXT | st.lists(TEXT, max_size=2)
CALLS = st.builds(Call, st.from_regex(r"[a-z]{1,8}", fullmatch=True), st.dictionaries(TEXT, VALUES, max_size=3))
REPLIES = st.builds(
    Reply,
    deltas=st.lists(TEXT.filter(bool), max_size=5).map(tuple),
    calls=st.lists(CALLS, max_size=3).map(tuple),
    split=st.integers(1, 6),
    framing=st.sampled_from(["", "crlf", "comments"]),
)


@given(REPLIES)
def test_openai_sdk_reads_the_same(reply: Reply) -> None:
    stream = joined(openai_steps(reply, ASKED))
    state: ChatCompletionStreamState[None] = ChatCompletionStreamState()
    for event in openai._streaming.SSEDecoder().iter_bytes(iter([stream])):
        if event.data != "[DONE]":
            state.handle_chunk(ChatCompletionChunk.model_validate(event.json()))
    theirs = state.get_final_completion()
    ours, shown = outcome(ChatParser(ChatDialect()), [stream])
    assert isinstance(ours, Answer)
    choice = theirs.choices[0]
    assert shown == (choice.message.content or "")
    assert ours.finish == choice.finish_reason
    assert (ours.response_id, ours.model) == (theirs.id, theirs.model)
    assert theirs.usage is not None
    counts = (theirs.usage.prompt_tokens, theirs.usage.completion_tokens)
    assert (ours.usage.input_tokens, ours.usage.output_tokens) == counts
    assert [(c.id, c.name, c.arguments) for c in ours.parts if isinstance(c, ToolCall)] == [
        (c.id, c.function.name, json.loads(c.function.arguments))
        for c in choice.message.tool_calls or []
        if c.type == "function"
    ]


@given(REPLIES)
def test_anthropic_sdk_reads_the_same(reply: Reply) -> None:
    stream = joined(anthropic_steps(reply, ASKED))
    theirs: Any = None
    buffers: dict[int, bytes] = {}
    for event in anthropic._streaming.SSEDecoder().iter_bytes(iter([stream])):
        if event.event == "ping":
            continue
        parsed = anthropic._models.construct_type(
            type_=anthropic.types.RawMessageStreamEvent, value=json.loads(event.data)
        )
        theirs = accumulate_event(event=parsed, current_snapshot=theirs, json_bufs=buffers)
    ours, shown = outcome(MessagesParser(), [stream])
    assert isinstance(ours, Answer)
    assert shown == "".join(block.text for block in theirs.content if block.type == "text")
    reasons = {"end_turn": "stop", "tool_use": "tool_calls", "max_tokens": "length"}
    assert ours.finish == reasons[theirs.stop_reason]
    assert (ours.response_id, ours.model) == (theirs.id, theirs.model)
    counts = (theirs.usage.input_tokens, theirs.usage.output_tokens)
    assert (ours.usage.input_tokens, ours.usage.output_tokens) == counts
    assert [(c.id, c.name, c.arguments) for c in ours.parts if isinstance(c, ToolCall)] == [
        (block.id, block.name, block.input) for block in theirs.content if block.type == "tool_use"
    ]


@pytest.mark.parametrize(("wire", "name"), STREAMS)
def test_one_byte_at_a_time(wire: str, name: str) -> None:
    stream = STREAMS[wire, name]
    make = WIRES[wire][0]
    whole, shown_at_once = outcome(make(), [stream])
    slowly, shown_slowly = outcome(make(), [stream[i : i + 1] for i in range(len(stream))])
    assert slowly == whole
    if isinstance(whole, Answer):
        assert shown_slowly == shown_at_once
    else:
        # Cut into chunks, what came before the error was shown; in one chunk the error came first.
        assert shown_slowly.startswith(shown_at_once)


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(st.sampled_from(sorted(STREAMS)), st.data())
def test_any_cut(key: tuple[str, str], data: st.DataObject) -> None:
    stream = STREAMS[key]
    cuts = sorted(data.draw(st.sets(st.integers(0, len(stream)), max_size=30)))
    chunks = [stream[a:b] for a, b in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    make = WIRES[key[0]][0]
    whole, in_chunks = outcome(make(), [stream]), outcome(make(), chunks)
    assert in_chunks[0] == whole[0]
    assert in_chunks[1].startswith(whole[1])


@pytest.mark.parametrize("wire", WIRES)
@pytest.mark.parametrize("name", ["ok", "tool_text", "parallel"])
def test_an_answer_cut_anywhere_is_no_answer(wire: str, name: str) -> None:
    """Every prefix of a good stream: before the finish marker nothing counts, and no tool call exists."""
    stream = STREAMS[wire, name]
    make = WIRES[wire][0]
    whole, _ = outcome(make(), [stream])
    assert isinstance(whole, Answer)
    finished = 0
    for length in range(len(stream)):
        parser = make()
        found, _ = outcome(parser, [stream[:length]])
        if isinstance(found, Answer):
            finished += 1
            assert parser.finished
            assert found.parts == whole.parts
        else:
            assert found is ErrorKind.TRUNCATED
    # Between OpenAI's finish_reason and [DONE] lie the token counts; Anthropic's last event is the marker.
    assert finished == 0 if wire == "anthropic" else 0 < finished < 600


FIELDS = [
    *("type", "index", "delta", "choices", "message", "content", "text", "id", "name", "usage", "error", "code"),
    *("finish_reason", "tool_calls", "function", "arguments", "content_block", "input", "stop_reason", "refusal"),
    *("input_tokens", "x_groq", "partial_json", "prompt_tokens_details", "extra_content"),
]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.text(max_size=3) | st.sampled_from(["text", "tool_use"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(FIELDS),
            inner,
            max_size=4,
        )
    ),
    max_leaves=20,
)
EVENT_TYPES = st.sampled_from(
    ["message_start", "content_block_start", "content_block_delta", "message_delta", "message_stop", "error", None]
)


@settings(max_examples=300)
@given(st.sampled_from(sorted(WIRES)), st.lists(st.tuples(EVENT_TYPES, JSON), max_size=6), st.binary(max_size=20))
def test_hostile_bytes_give_a_model_error_or_an_answer(wire: str, events: list[Any], junk: bytes) -> None:
    parser = WIRES[wire][0]()
    stream = b""
    for kind, payload in events:
        if isinstance(payload, dict) and kind:
            payload = payload | {"type": kind, "index": 0}
        stream += f"event: {kind}\ndata: {json.dumps(payload)}\n\n".encode()
    outcome(parser, [stream, b"data: " + junk + b"\n\n"])  # any other exception fails the test


BOMBS = [b"[" * 200_000, b'{"a":' * 200_000, b"1" * 10_000, b"\xff\xfe", b'{"error":' + b"[" * 900 + b"]" * 900 + b"}"]


@pytest.mark.parametrize("wire", WIRES)
@pytest.mark.parametrize("bomb", BOMBS, ids=["lists", "objects", "number", "utf8", "error"])
def test_bombs(wire: str, bomb: bytes) -> None:
    found, _ = outcome(WIRES[wire][0](), [b"data: " + bomb + b"\n\n"])
    assert isinstance(found, ErrorKind)
    with pytest.raises(ModelError):
        WIRES[wire][0]().read(bomb)


@pytest.mark.parametrize("wire", WIRES)
def test_an_answer_without_end_is_ended(wire: str) -> None:
    piece = "word " * 2_000
    stream = joined(WIRES[wire][1](Reply(deltas=(piece,) * (MAX_TEXT // len(piece) + 1)), ASKED))
    found, shown = outcome(WIRES[wire][0](), [stream[at : at + 65_536] for at in range(0, len(stream), 65_536)])
    assert found is ErrorKind.PROTOCOL
    assert 0 < len(shown) <= MAX_TEXT
