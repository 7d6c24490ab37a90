"""Payloads as Discord's documentation shows them, and odd ones."""

from typing import Any

import pytest

from opencrust_channel_discord.events import MalformedEvent, Me, interaction_event, message_event, moment, readable

ME = Me("1000", frozenset({"77"}))
MESSAGE: dict[str, Any] = {
    "id": "334385199974967042",
    "channel_id": "290926798999357250",
    "author": {"id": "53908099506183680", "username": "Mason", "global_name": "Mase"},
    "content": "<@1000> Supa Hot &amp; <@5> <#9> <:smile:12>",
    "timestamp": "2017-07-11T17:27:07.299000+00:00",
    "mentions": [{"id": "1000"}, {"id": "5", "username": "ann"}],
    "type": 0,
}


def test_a_message() -> None:
    event = message_event(MESSAGE, ME, is_group=True)
    assert event is not None
    assert (event.id, event.conversation, event.user, event.user_name) == (
        "334385199974967042", "290926798999357250", "53908099506183680", "Mase",
    )  # fmt: skip
    assert event.text == "Supa Hot &amp; @ann #9 :smile:"
    assert event.mentioned
    assert event.at.year == 2017


@pytest.mark.parametrize(
    "more",
    [
        {"mentions": [], "content": "hi"},
        {"mentions": 7, "content": "hi"},
        {"mention_roles": ["5"], "mentions": [], "content": "hi"},
    ],
)
def test_not_named(more: dict[str, Any]) -> None:
    event = message_event(MESSAGE | more, ME, is_group=True)
    assert event is not None
    assert not event.mentioned


@pytest.mark.parametrize(
    "more",
    [
        {"mentions": [], "mention_roles": ["77"], "content": "<@&77> hi"},
        {"mentions": [], "content": "yes", "referenced_message": {"author": {"id": "1000"}}},
    ],
)
def test_named_by_role_or_reply(more: dict[str, Any]) -> None:
    event = message_event(MESSAGE | more, ME, is_group=True)
    assert event is not None
    assert event.mentioned


@pytest.mark.parametrize(
    "more",
    [
        {"author": {"id": "1000"}},
        {"author": {"id": "5", "bot": True}},
        {"webhook_id": "5"},
        {"type": 7},
        {"content": ""},
    ],
)
def test_what_nobody_wrote_to_be_read(more: dict[str, Any]) -> None:
    assert message_event(MESSAGE | more, ME, is_group=True) is None


@pytest.mark.parametrize(
    ("field", "value"),
    [("author", None), ("author", {"id": None}), ("author", 7), ("id", None), ("channel_id", True)],
)
def test_what_does_not_say_who_wrote_where_is_malformed(field: str, value: object) -> None:
    with pytest.raises(MalformedEvent, match=field):
        message_event(MESSAGE | {field: value}, ME, is_group=True)


def test_a_voice_note_is_named_so() -> None:
    attachment = {
        "url": "https://cdn.discordapp.com/1",
        "content_type": "audio/ogg; codecs=opus",
        "filename": "x",
        "size": 9,
    }
    event = message_event(MESSAGE | {"flags": 8192, "attachments": [attachment]}, ME, is_group=False)
    assert event is not None
    [file] = event.files
    assert (file.name, file.media_type, file.size) == ("voice-note-334385199974967042.ogg", "audio/ogg", 9)


@pytest.mark.parametrize(
    ("data", "text"),
    [
        ({"type": 2, "data": {"name": "status"}}, "/status"),
        ({"type": 2, "data": {"name": "approve", "options": [{"name": "id", "value": "abc"}]}}, "/approve abc"),
        ({"type": 2, "data": {"name": "ask", "options": [{"name": "text", "value": "why?"}]}}, "why?"),
        ({"type": 3, "data": {"custom_id": "deny:abc"}}, "/deny abc"),
    ],
)
def test_interactions(data: dict[str, Any], text: str) -> None:
    event = interaction_event({"id": "1", "channel_id": "2", "user": {"id": "3"}, **data}, ME)
    assert event is not None
    assert (event.text, event.user, event.is_group) == (text, "3", False)


@pytest.mark.parametrize("data", [{}, {"type": 3, "data": {"custom_id": "other"}}, {"type": 1}, {"type": 2, "data": 5}])
def test_other_interactions_mean_nothing(data: dict[str, Any]) -> None:
    assert interaction_event({"id": "1", "channel_id": "2", "user": {"id": "3"}, **data}, ME) is None


@pytest.mark.parametrize(("field", "value"), [("id", None), ("channel_id", []), ("user", None), ("user", {"id": {}})])
def test_an_interaction_that_does_not_say_whose_it_is_is_malformed(field: str, value: object) -> None:
    data = {"id": "1", "channel_id": "2", "user": {"id": "3"}, "type": 3, "data": {"custom_id": "deny:abc"}}
    with pytest.raises(MalformedEvent, match=field):
        interaction_event(data | {field: value}, ME)


def test_a_name_inside_stays() -> None:
    assert readable("ask <@1000> now", ME, {"1000": "crust"}) == "ask @crust now"


def test_small_ids_tell_no_time() -> None:
    assert moment("17") is None
    assert moment("334385199974967042") is not None
