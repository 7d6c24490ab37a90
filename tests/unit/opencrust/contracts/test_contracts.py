"""Contracts: round trips, fuzz, sizes, versions, unknown fields, and errors that quote nothing."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from opencrust.contracts import (
    Finish,
    InboundMessage,
    Malformed,
    OutboundMessage,
    ReplyAddress,
    SessionView,
    TooLarge,
    Turn,
    TurnEvent,
    UnknownVersion,
    conversation_key,
    decode,
    encode,
)
from opencrust.contracts.base import MAX_MESSAGE_BYTES, ContractError
from opencrust.contracts.messages import MAX_ATTACHMENTS, MAX_TEXT, now
from opencrust.contracts.session import MAX_SESSION_BYTES, MAX_TURN_BYTES, MAX_TURNS, cut

CANARY = "canary-3f9c"


def inbound(**changes: Any) -> dict[str, Any]:
    base: dict[str, Any] = {
        "v": 1,
        "id": "42",
        "channel": "web",
        "account": "operator",
        "conversation": "main",
        "sender": {"channel": "web", "account": "operator", "user": "operator"},
        "reply_to": {"channel": "web", "account": "operator", "conversation": "main"},
        "text": "hello",
        "platform_time": "2026-11-22T10:00:00Z",
        "received_time": "2026-11-22T10:00:00Z",
    }
    return base | changes


def as_bytes(value: object) -> bytes:
    return json.dumps(value).encode()


def turn(seq: int, text: str = "q", reply: str = "a") -> Turn:
    return Turn(seq=seq, message_id=str(seq), user="u", text=text, reply_id=f"re:{seq}:0", reply=reply, at=now())


def test_unknown_fields_travel_on() -> None:
    message = decode(InboundMessage, as_bytes(inbound(mood={"of": "the day"})))
    assert json.loads(encode(message))["mood"] == {"of": "the day"}


@given(text=st.text(min_size=1, max_size=300).filter(str.strip), name=st.text(max_size=50), group=st.booleans())
def test_round_trip(text: str, name: str, group: bool) -> None:
    sender = {"channel": "web", "account": "operator", "user": "operator", "display_name": name}
    try:
        message = InboundMessage.model_validate(inbound(text=text, sender=sender, is_group=group))
        data = encode(message)
    except (ValidationError, UnicodeEncodeError, ValueError):
        return  # lone surrogates are no text
    assert decode(InboundMessage, data) == message


@settings(max_examples=300)
@given(data=st.binary(max_size=400))
def test_garbage_is_refused_by_type(data: bytes) -> None:
    for model in (InboundMessage, OutboundMessage, SessionView, TurnEvent):
        with pytest.raises(ContractError):
            decode(model, b"\xff" + data)


@settings(max_examples=200)
@given(
    field=st.sampled_from(sorted(inbound())),
    value=st.one_of(st.none(), st.integers(), st.lists(st.integers()), st.text(max_size=5)),
)
def test_a_mutated_field_is_read_or_refused_never_raised(field: str, value: object) -> None:
    try:
        decode(InboundMessage, as_bytes(inbound(**{field: value})))
    except ContractError:
        return


@pytest.mark.parametrize("version", [0, 2, "1", None, True, 1.5])
def test_an_unknown_version_is_named(version: object) -> None:
    with pytest.raises(UnknownVersion, match="reads version 1"):
        decode(InboundMessage, as_bytes(inbound(v=version)))


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"text": ""}, "text or an attachment"),
        ({"text": " \n"}, "text or an attachment"),
        ({"text": "x" * (MAX_TEXT + 1)}, "text"),
        ({"channel": "Web"}, "channel"),
        ({"channel": "web.x"}, "channel"),
        ({"platform_time": "2026-11-22T10:00:00"}, "platform_time"),
        ({"attachments": [{}] * 10_000}, "attachments"),
        ({"sender": {"channel": "telegram", "account": "operator", "user": "operator"}}, "sender is of another"),
        ({"reply_to": {"channel": "web", "account": "operator", "conversation": "other"}}, "reply_to is another"),
        ({"reply_to": {"channel": "slack", "account": "operator", "conversation": "main"}}, "reply_to is of another"),
        ({"context": [{"role": "tool", "text": "x"}]}, "context.0.role"),
        ({"context": [{"role": "user", "text": "x" * 60_000}] * 4}, "context is over"),
        ({"conversation": ""}, "conversation"),
    ],
)
def test_what_breaks_a_rule_is_named(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(Malformed, match=says):
        decode(InboundMessage, as_bytes(inbound(**changes)))


def test_errors_never_quote_what_was_said() -> None:
    faulty = inbound(text=[CANARY], account={CANARY: CANARY}, edited=CANARY)
    with pytest.raises(Malformed) as caught:
        decode(InboundMessage, as_bytes(faulty))
    assert CANARY not in str(caught.value)


@pytest.mark.parametrize("data", [b"", b"[]", b"1", b"{", b'"x"', b"\xff\xfe", b"[" * 100_000])
def test_what_is_no_object_is_malformed(data: bytes) -> None:
    with pytest.raises(Malformed):
        decode(InboundMessage, data)


def test_too_large_is_refused_before_it_is_read() -> None:
    with pytest.raises(TooLarge):
        decode(InboundMessage, b"{" * (MAX_MESSAGE_BYTES + 1))


def test_many_attachments_within_the_limit_are_fine() -> None:
    attachment = {"name": "a", "media_type": "text/plain", "size": 1, "sha256": "0" * 64}
    message = decode(InboundMessage, as_bytes(inbound(text="", attachments=[attachment] * MAX_ATTACHMENTS)))
    assert len(message.attachments) == MAX_ATTACHMENTS


def test_the_dedupe_id_names_channel_account_and_platform_id() -> None:
    assert decode(InboundMessage, as_bytes(inbound())).dedupe_id == "web:operator:42"


@given(st.lists(st.tuples(st.text(), st.text(), st.text(), st.text()), min_size=2, max_size=2, unique=True))
def test_conversation_keys_differ(pair: list[tuple[str, str, str, str]]) -> None:
    try:
        keys = {conversation_key(*parts) for parts in pair}
    except UnicodeEncodeError:
        return
    assert len(keys) == 2
    assert all(len(key) == 26 and key.isalnum() and key.islower() for key in keys if not key.isdigit())


def test_shifting_characters_between_the_parts_is_another_conversation() -> None:
    assert conversation_key("web", "ab", "c") != conversation_key("web", "a", "bc")


def test_a_session_keeps_the_newest_turns_within_its_bounds() -> None:
    session = SessionView()
    for seq in range(1, MAX_TURNS + 10):
        session = session.with_turn(turn(seq), [])
    assert [t.seq for t in session.turns] == list(range(10, MAX_TURNS + 10))
    assert session.cursor == MAX_TURNS + 9
    big = session.with_turn(turn(1000, text="ü" * 30_000, reply="b" * 30_000), [])
    assert [t.seq for t in big.turns] == [1000]
    assert session.answer_to("12") == session.turns[2]
    assert session.answer_to("1") is None


def test_the_fullest_session_fits_the_bus() -> None:
    address = ReplyAddress(channel="web", account="a", conversation="c")
    worst = cut("\n" * MAX_TURN_BYTES)
    outbox = [
        OutboundMessage(
            id="re:1:0", in_reply_to="1", address=address, text=worst, created_time=now(), finish=Finish.FAILED
        )
    ]
    session = SessionView()
    for seq in range(1, MAX_TURNS):
        session = session.with_turn(turn(seq, reply="\n" * (MAX_SESSION_BYTES // MAX_TURNS)), [])
    session = session.with_turn(turn(99, text=worst, reply=worst), outbox)
    assert len(encode(session)) <= MAX_MESSAGE_BYTES


@given(st.text(max_size=200), st.integers(min_value=0, max_value=50))
def test_a_cut_is_valid_and_short(text: str, limit: int) -> None:
    assert len(cut(text, limit).encode()) <= limit
