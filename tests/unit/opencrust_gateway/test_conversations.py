from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from opencrust_gateway.conversations import Conversation, ConversationName, MessageId, new_message_id

NOW = datetime(2026, 11, 22, tzinfo=UTC)
names = TypeAdapter[str](ConversationName)
ids = TypeAdapter[str](MessageId)


def test_the_reply_goes_back_to_where_the_message_came_from() -> None:
    message = Conversation("operator", "main").inbound("m1", "hi", NOW)
    assert message.reply_to.key == message.key == Conversation("operator", "main").key
    assert (message.reply_to.channel, message.reply_to.account) == ("web", "operator")
    assert message.dedupe_id == f"web:operator:{message.key}.m1"


def test_only_the_operator_is_an_owner() -> None:
    assert Conversation("operator", "x").inbound("m", "hi", NOW).trust == "owner"
    assert Conversation("anna", "x").inbound("m", "hi", NOW).trust == "user"


@given(st.text(max_size=20), st.text(max_size=20), st.text(max_size=20), st.text(max_size=20))
def test_no_two_owners_or_names_share_a_conversation(a: str, b: str, c: str, d: str) -> None:
    encodable = all(text.isprintable() for text in (a, b, c, d))
    if encodable:
        assert (Conversation(a, b).key == Conversation(c, d).key) is ((a, b) == (c, d))


def test_the_same_id_in_two_conversations_is_two_messages() -> None:
    one, two = Conversation("operator", "a"), Conversation("operator", "b")
    assert one.inbound("1", "x", NOW).dedupe_id != two.inbound("1", "x", NOW).dedupe_id
    assert one.client_id(one.bus_id("1")) == "1"
    assert one.client_id("schedule:7") == "schedule:7"


@pytest.mark.parametrize("name", ["main", "Küche", "日本語", "a b", "~once.1", "x" * 128])
def test_names_are_what_people_write(name: str) -> None:
    assert names.validate_python(name) == name


@pytest.mark.parametrize("name", ["", " ", " a", "a\n", "a\x00b", "a\u2028b", "x" * 129, "\ud800"])
def test_names_that_are_refused(name: str) -> None:
    with pytest.raises(ValidationError):
        names.validate_python(name)


@pytest.mark.parametrize("message_id", ["", "a b", "a/b", "a\n", "é", "x" * 129, "a*", "a>"])
def test_message_ids_that_are_refused(message_id: str) -> None:
    with pytest.raises(ValidationError):
        ids.validate_python(message_id)


def test_fresh_ids_are_valid_and_different() -> None:
    made = {ids.validate_python(new_message_id()) for _ in range(100)}
    assert len(made) == 100
