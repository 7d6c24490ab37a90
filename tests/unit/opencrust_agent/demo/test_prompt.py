"""Cutting requests down to the demo model's size."""

from hypothesis import given
from hypothesis import strategies as st

from opencrust_agent.demo.prompt import CONTEXT, MAX_TOKENS, SYSTEM, estimate, fit
from opencrust_agent.models import Message, Request, Text, ToolCall, ToolResult, ToolSpec, assistant, user


def texts(request: Request) -> list[str]:
    return [message.text for message in request.messages]


def test_a_small_request_keeps_its_words_and_loses_its_tools() -> None:
    asked = Request("", (user("a"), assistant("b"), user("c")), (ToolSpec("t", "", {}),), 9999, 0.7)
    made = fit(asked)
    assert texts(made) == ["a", "b", "c"]
    assert (made.system, made.tools, made.max_tokens, made.temperature) == (SYSTEM, (), MAX_TOKENS, 0.7)


def test_a_short_system_prompt_is_kept_and_a_long_one_is_not() -> None:
    assert fit(Request("You are Crusty.", (user("a"),))).system == "You are Crusty."
    assert fit(Request("rule " * 100, (user("a"),))).system == SYSTEM


def test_the_end_of_a_long_conversation_is_kept_and_begins_with_the_user() -> None:
    turns = [make(f"{n} " + "x" * 300) for n in range(40) for make in (user, assistant)]
    made = fit(Request("", (*turns, user("last"))))
    assert texts(made)[-1] == "last"
    assert 3 < len(made.messages) < 30
    assert made.messages[0].role == "user"


def test_a_last_message_that_is_too_long_keeps_its_beginning() -> None:
    made = fit(Request("", (user("before"), assistant("x"), user("start " + "y" * 50_000))))
    assert len(made.messages) == 1
    assert texts(made)[0].startswith("start y")
    assert estimate(texts(made)[0]) < CONTEXT


def test_tool_results_become_words() -> None:
    called = Message("assistant", (Text("let me look"), ToolCall("1", "t", {})))
    made = fit(Request("", (user("q"), called, Message("user", (ToolResult("1", "sunny"),)))))
    assert texts(made) == ["q", "let me look", "sunny"]


@given(st.lists(st.text(max_size=3000), max_size=6), st.text(min_size=1, max_size=9000), st.floats(0.1, 1))
def test_it_always_fits_and_always_asks(history: list[str], last: str, share: float) -> None:
    turns = [make(text) for text in history for make in (user, assistant)]
    if not last.strip():
        last = "x"
    made = fit(Request("", (*turns, user(last)), max_tokens=50), share)
    assert made.messages[-1].role == "user"
    assert made.messages[-1].text
    assert sum(estimate(text) for text in texts(made)) <= CONTEXT * share + 64
