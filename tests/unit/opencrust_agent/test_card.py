"""What a person is shown, and the digest that it stands for."""

from datetime import UTC, datetime
from typing import Any

import pytest

from opencrust.contracts import ApprovalCard
from opencrust_agent.card import card_text, digest, escaped, make_card
from opencrust_agent.tools import Effect, ToolSpec

AT = datetime(2026, 11, 25, 12, 30, tzinfo=UTC)
MAIL = ToolSpec(
    "send_mail",
    "",
    {"type": "object", "properties": {"to": {"type": "string"}, "text": {"type": "string"}}},
    frozenset({Effect.SEND}),
    sensitive=frozenset({"to"}),
)


def card(arguments: dict[str, Any], strange: tuple[str, ...] = ()) -> ApprovalCard:
    return make_card("a" * 16, MAIL, arguments, why="strangers' text", strange=strange, expires=AT)


def test_it_shows_all_of_the_call_its_place_first() -> None:
    shown = card({"text": "hello", "to": "bob@example.org"}, ("to: not in your message",))
    assert shown.lines == [
        "send_mail: sends to others",
        "asked because strangers' text",
        "to (not in your message) = bob@example.org",
        "text = hello",
    ]
    assert card_text(shown).endswith(f"/approve {'a' * 16} or /deny {'a' * 16} (until 12:30 UTC; then: no).")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\nb", "a\\nb"),
        ("a\u202eb", "a\\u202eb"),
        ("\x1b[2Jx", "\\x1b[2Jx"),
        ("a\u200bb", "a\\u200bb"),
        ("a\U000e0041", "a\\U000e0041"),
        ("a\u3164b", "a\\u3164b"),
        ("a\\nb", "a\\\\nb"),
        ("a\u00a0b", "a\\xa0b"),
        ("Grüße, 東京 🙂", "Grüße, 東京 🙂"),
    ],
)
def test_nothing_in_it_is_invisible_or_moves_the_rest(text: str, shown: str) -> None:
    assert escaped(text) == shown
    assert card({"to": text, "text": "x"}).lines[2] == f"to = {shown}"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("see https://evil.test/?q=secret", "see https[:]//evil[.]test/?q=secret"),
        ("secret.evil.test", "secret[.]evil.test"),
        ("evil.test/secret", "evil[.]test/secret"),
        ("(www.evil.test)", "(www[.]evil.test)"),
        ("bob@mail.example.org", "bob@mail.example.org"),
        ("notes.txt", "notes.txt"),
        ("The end. And more.", "The end. And more."),
    ],
)
def test_no_chat_finds_an_address_to_fetch(text: str, shown: str) -> None:
    assert escaped(text) == shown


def test_letters_that_look_alike_are_pointed_out() -> None:
    assert "to mixes letters of several alphabets: look closely" in card({"to": "b\u043eb@x.org", "text": ""}).lines


def test_a_long_argument_is_shown_in_lines_that_fit_the_contract() -> None:
    shown = card({"to": "b", "text": "x" * 100_000})
    assert len(shown.lines) == 40
    assert "deny it" in shown.lines[-1]
    assert max(len(line) for line in shown.lines) <= 500


def test_the_digest_is_of_exactly_this_call() -> None:
    one = digest("t", {"a": 1, "b": "x"})
    assert one == digest("t", {"b": "x", "a": 1})
    assert len(one) == 64
    others = [("u", {"a": 1, "b": "x"}), ("t", {"a": 1.0, "b": "x"}), ("t", {"a": 1, "b": "x "}), ("t", {"a": 1})]
    assert one not in {digest(*other) for other in others}
