"""Neutral messages: what they refuse, and their way through JSON."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opencrust_agent.models import (
    Message,
    Reasoning,
    Request,
    Text,
    ToolCall,
    ToolResult,
    ToolSpec,
    assistant,
    message_from_json,
    message_to_json,
    user,
)

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)
OBJECTS = st.dictionaries(st.text(), JSON, max_size=3)
TEXTS = st.builds(Text, st.text())
ASSISTANT_PARTS = TEXTS | st.builds(Reasoning, OBJECTS)
ASSISTANT_PARTS |= st.builds(ToolCall, st.text(), st.text(), OBJECTS, st.text(), OBJECTS)
MESSAGES = st.builds(
    Message, st.just("assistant"), st.lists(ASSISTANT_PARTS, max_size=4).map(tuple), st.text()
) | st.builds(
    Message,
    st.just("user"),
    st.lists(TEXTS | st.builds(ToolResult, st.text(), st.text(), st.booleans()), max_size=4).map(tuple),
)


@given(MESSAGES)
def test_round_trip(message: Message) -> None:
    assert message_from_json(json.loads(json.dumps(message_to_json(message)))) == message


@pytest.mark.parametrize(
    "stored",
    [
        {},
        {"role": "system", "parts": []},
        {"role": "user"},
        {"role": "user", "parts": [{"type": "image"}]},
        {"role": "user", "parts": [{"type": "text", "text": 3}]},
        {"role": "user", "parts": [{"type": "text"}]},
        {"role": "user", "parts": ["private words"]},
        {"role": "user", "parts": [{"type": "tool_call", "id": "a", "name": "b", "arguments": {}}]},
        {"role": "assistant", "parts": [{"type": "tool_call", "id": "a", "name": "b", "arguments": "private words"}]},
        {"role": "assistant", "parts": [], "origin": 3},
    ],
)
def test_unreadable_storage_is_named_and_not_quoted(stored: Any) -> None:
    with pytest.raises(ValueError, match="message") as caught:
        message_from_json(stored)
    assert "private words" not in str(caught.value)


def test_a_role_holds_only_its_parts() -> None:
    with pytest.raises(ValueError, match="user message cannot hold a ToolCall"):
        Message("user", (ToolCall("1", "t", {}),))
    with pytest.raises(ValueError, match="assistant message cannot hold a ToolResult"):
        Message("assistant", (ToolResult("1", "t"),))


CALL = Message("assistant", (ToolCall("1", "t", {}),))
RESULT = Message("user", (ToolResult("1", "done"),))


@pytest.mark.parametrize(
    ("messages", "complaint"),
    [
        ((), "end with a user message"),
        ((user("hi"), assistant("ho")), "end with a user message"),
        ((user("  "),), "empty"),
        ((user("hi"), CALL, user("well?")), "do not match up: 1"),
        ((user("hi"), CALL, Message("user", (ToolResult("2", "x"),))), "do not match up: 1, 2"),
        ((RESULT,), "do not match up"),
        ((user("hi"), Message("assistant", CALL.parts * 2), RESULT), "share an id"),
    ],
)
def test_a_request_that_providers_would_refuse(messages: tuple[Message, ...], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        Request("", messages)


def test_a_good_request() -> None:
    Request("s", (user("hi"), CALL, RESULT, assistant("ok"), user("more")))
    with pytest.raises(ValueError, match="at least 1"):
        Request("s", (user("hi"),), max_tokens=0)


@pytest.mark.parametrize("name", ["", "a.b", "a" * 65, "ä", "a b"])
def test_tool_names_that_providers_refuse(name: str) -> None:
    with pytest.raises(ValueError, match="tool name"):
        ToolSpec(name, "", {})
