import json
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opencrust.contracts.messages import MAX_CONTEXT_TEXT, MAX_CONTEXT_TURNS
from opencrust_gateway.errors import ApiError
from opencrust_gateway.openai import ChatRequest, Diverged, TextStream, parse


def ask(*messages: tuple[str, Any], **more: Any) -> ChatRequest:
    body = {"model": "opencrust", "messages": [{"role": role, "content": text} for role, text in messages], **more}
    return parse(json.dumps(body).encode())


def test_user_names_the_conversation_and_then_it_is_kept_here() -> None:
    asked = ask(("user", "one"), ("assistant", "1"), ("user", "two"), user="kitchen", temperature=0.2)
    assert (asked.conversation, asked.text, asked.context, asked.stream) == ("kitchen", "two", [], False)


def test_without_user_the_earlier_messages_are_the_context() -> None:
    asked = ask(("developer", "be brief"), ("user", "one"), ("assistant", "1"), ("user", "two"), stream=True)
    assert [(turn.role, turn.text) for turn in asked.context] == [
        ("system", "be brief"),
        ("user", "one"),
        ("assistant", "1"),
    ]
    assert asked.conversation is None


@given(st.lists(st.tuples(st.sampled_from(["user", "assistant", "system"]), st.integers(0, 60_000)), max_size=90))
def test_the_context_always_fits_the_envelope_and_keeps_the_newest(sizes: list[tuple[str, int]]) -> None:
    asked = ask(*((role, "x" * size) for role, size in sizes), ("user", "last"))
    spoken = [turn for turn in asked.context if turn.role != "system"]
    assert len(asked.context) <= MAX_CONTEXT_TURNS
    assert not spoken or sum(len(turn.text) for turn in asked.context) <= MAX_CONTEXT_TEXT
    given_sizes = [size for role, size in sizes if role != "system" and size]
    assert [len(turn.text) for turn in spoken] == given_sizes[len(given_sizes) - len(spoken) :]


@pytest.mark.parametrize(
    ("more", "code"),
    [
        ({"n": 2}, "unsupported"),
        ({"tools": [{"type": "function"}]}, "unsupported"),
        ({"functions": [{}]}, "unsupported"),
        ({"messages": []}, "invalid_request"),
        ({"messages": [{"role": "user", "content": None}]}, "invalid_request"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "invalid_request"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "invalid_request"),
        ({"user": ""}, "invalid_request"),
        ({"user": "x" * 129}, "invalid_request"),
        ({"user": " x"}, "invalid_request"),
        ({"stream": "perhaps"}, "invalid_request"),
    ],
)
def test_what_we_do_not_do_is_refused_by_name(more: dict[str, Any], code: str) -> None:
    with pytest.raises(ApiError) as refused:
        ask(("user", "x"), **more)
    assert refused.value.code == code


def test_a_refusal_does_not_repeat_what_was_sent() -> None:
    with pytest.raises(ApiError) as refused:
        ask(("user", {"secret": "hunter2"}))
    assert "hunter2" not in refused.value.message


@given(text=st.text(), cuts=st.lists(st.integers(0, 200)))
def test_pieces_and_rest_are_the_reply(text: str, cuts: list[int]) -> None:
    """However a text is cut, and although the reply is trimmed."""
    stream, edges = TextStream(), sorted({0, len(text), *(min(cut, len(text)) for cut in cuts)})
    sent = stream.feed("started", 1, 0, "")
    for index, (start, end) in enumerate(pairwise(edges), start=1):
        sent += stream.feed("delta", 1, index, text[start:end])
    assert sent == stream.sent
    assert sent + stream.finish(text.strip()) == text.strip()


def test_a_gap_stops_the_pieces_and_the_reply_fills_it() -> None:
    stream = TextStream()
    assert stream.feed("delta", 1, 0, "one ") == "one"
    assert stream.feed("delta", 1, 2, "three") == ""
    assert stream.feed("delta", 1, 3, " four") == ""
    assert stream.finish("one two three four") == " two three four"


def test_a_late_listener_waits_for_the_reply() -> None:
    stream = TextStream()
    assert stream.feed("delta", 1, 7, "rest") == ""
    assert stream.finish("all the rest") == "all the rest"


@pytest.mark.parametrize("restart", [("started", 2, 0, ""), ("reset", 1, 1, "")])
def test_a_start_over_before_the_first_piece_costs_nothing(restart: tuple[str, int, int, str]) -> None:
    stream = TextStream()
    stream.feed("started", 1, 0, "")
    stream.feed(*restart)
    attempt, index = restart[1], restart[2] + 1
    assert stream.feed("delta", attempt, index, "fresh") == "fresh"


def test_a_start_over_after_a_piece_is_told_unless_it_says_the_same() -> None:
    for reply, diverges in (("Hello world", False), ("Good day", True)):
        stream = TextStream()
        assert stream.feed("delta", 1, 0, "Hello") == "Hello"
        assert stream.feed("started", 2, 0, "") == ""
        assert stream.feed("delta", 2, 1, "Whatever") == ""
        assert stream.feed("delta", 1, 1, " stale") == ""
        if diverges:
            with pytest.raises(Diverged):
                stream.finish(reply)
        else:
            assert stream.finish(reply) == " world"
