"""Updates as the Bot API documents them, and as it does not."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opencrust.channel import commands
from opencrust.channel.adapter import InEvent
from opencrust_channel_telegram.updates import Bot, MalformedUpdate, chat_of, read, update_id

BOT = Bot(987654321, "crusty_bot")
ME = {"id": BOT.id}
PRIVATE: dict[str, Any] = {
    "message_id": 12,
    "from": {"id": 7, "is_bot": False, "first_name": "Ann", "last_name": "Lee", "username": "ann"},
    "chat": {"id": 7, "type": "private", "first_name": "Ann"},
    "date": 1_790_000_000,
    "text": "hello",
}
GROUP = {**PRIVATE, "chat": {"id": -1001, "type": "supergroup", "title": "Us"}}


def event(message: dict[str, Any], *, edits: bool = False, kind: str = "message") -> InEvent | None:
    return read({"update_id": 5, kind: message}, BOT, edits=edits)[0]


def one(message: dict[str, Any], **more: Any) -> InEvent:
    found = event(message, **more)
    assert found is not None
    return found


def test_a_private_message() -> None:
    found = one(PRIVATE)
    assert (found.id, found.account, found.conversation, found.user) == ("5.12", "987654321", "7", "7")
    assert (found.text, found.user_name, found.message) == ("hello", "Ann Lee", "12")
    assert found.at == datetime.fromtimestamp(1_790_000_000, UTC)
    assert not found.is_group


@pytest.mark.parametrize(
    ("change", "mentioned", "text"),
    [
        ({"text": "hello all"}, False, "hello all"),
        ({"text": "@crusty_bot hi", "entities": [{"type": "mention", "offset": 0, "length": 11}]}, True, None),
        ({"text": "@Crusty_Bot hi", "entities": [{"type": "mention", "offset": 0, "length": 11}]}, True, None),
        ({"text": "@crusty_bot2 hi", "entities": [{"type": "mention", "offset": 0, "length": 12}]}, False, None),
        ({"text": "\U0001f4a9 @crusty_bot", "entities": [{"type": "mention", "offset": 3, "length": 11}]}, True, None),
        ({"text": "you", "entities": [{"type": "text_mention", "offset": 0, "length": 3, "user": ME}]}, True, None),
        ({"text": "/status@crusty_bot now"}, True, "/status now"),
        ({"text": "/status@other_bot"}, False, "/status@other_bot"),
        ({"text": "/status"}, True, "/status"),
        ({"reply_to_message": {"message_id": 3, "from": {"id": BOT.id}}}, True, None),
        ({"reply_to_message": {"message_id": 3, "from": {"id": 9}}}, False, None),
        ({"reply_to_message": {"message_id": 3, "from": {"id": BOT.id}, "forum_topic_created": {}}}, False, None),
        ({"text": "x", "entities": [{"type": "mention", "offset": -1, "length": 9**20}, "junk", None]}, False, None),
    ],
)  # fmt: skip
def test_who_is_meant_in_a_group(change: dict[str, Any], mentioned: bool, text: str | None) -> None:
    found = one({**GROUP, **change})
    assert found.is_group
    assert found.mentioned is mentioned
    assert text is None or found.text == text


def test_a_topic_is_a_thread_and_an_answer_is_none() -> None:
    assert one({**GROUP, "message_thread_id": 4, "is_topic_message": True}).thread == "4"
    assert one({**GROUP, "message_thread_id": 4}).thread is None


def test_the_largest_photo_is_taken_and_its_words_are_the_text() -> None:
    sizes = [
        {"file_id": "s", "width": 90},
        {"file_id": "L", "width": 1280, "file_size": 99},
        {"file_id": "m", "width": 320},
    ]
    found = one({**{k: v for k, v in PRIVATE.items() if k != "text"}, "photo": sizes, "caption": "look"})
    assert [(file.reference, file.size, file.media_type) for file in found.files] == [("L", 99, "image/jpeg")]
    assert found.text == "look"


@pytest.mark.parametrize("kind", ["document", "voice", "audio", "video", "video_note", "animation"])
def test_every_kind_of_file(kind: str) -> None:
    message = {**{k: v for k, v in PRIVATE.items() if k != "text"}, kind: {"file_id": "F", "file_size": 3}}
    if kind == "animation":
        message["document"] = {"file_id": "F"}  # Telegram sends both for one file
    [file] = one(message).files
    assert file.reference == "F"
    with pytest.raises(MalformedUpdate, match="file_id"):
        event({**message, kind: {"file_size": 3}})


def test_edits_are_passed_on_only_where_they_are_wanted() -> None:
    edited = {**PRIVATE, "text": "hullo", "edit_date": 1_790_000_100}
    assert event(edited, kind="edited_message") is None
    found = one(edited, kind="edited_message", edits=True)
    assert found.edited
    assert found.at == datetime.fromtimestamp(1_790_000_100, UTC)


@pytest.mark.parametrize(
    "message",
    [
        {**PRIVATE, "from": {"id": 8, "is_bot": True}},
        {k: v for k, v in PRIVATE.items() if k != "from"},
        {**{k: v for k, v in PRIVATE.items() if k != "text"}, "new_chat_title": "x"},
    ],
)
def test_bots_posts_and_service_messages_are_not_for_us(message: dict[str, Any]) -> None:
    assert event(message) is None


def without_text(**more: Any) -> dict[str, Any]:
    return {**{name: value for name, value in PRIVATE.items() if name != "text"}, **more}


@pytest.mark.parametrize(
    ("message", "text"),
    [
        (without_text(sticker={"file_id": "s", "emoji": "\N{GRINNING FACE}"}), "[sticker \N{GRINNING FACE}]"),
        (without_text(location={"latitude": 48.1, "longitude": 11.5}), "[location: 48.1, 11.5]"),
        (without_text(venue={"title": "x"}, location={"latitude": 1, "longitude": 2}), "[location: 1, 2]"),
        (without_text(contact={"first_name": "Bo", "phone_number": "+1"}), "[contact: Bo +1]"),
        (without_text(poll={"question": "When?", "options": [{"text": "now"}, {"text": "later"}, 7]}),
         "[poll: When?: now; later]"),
        (without_text(dice={"emoji": "\N{GAME DIE}", "value": 4}), "[\N{GAME DIE} 4]"),
        ({**PRIVATE, "quote": {"text": "theirs", "position": 0}, "reply_to_message": {"message_id": 3}}, "hello"),
    ],
)  # fmt: skip
def test_what_is_no_text_is_said_in_words(message: dict[str, Any], text: str) -> None:
    assert one(message).text == text


@pytest.mark.parametrize(
    ("origin", "who"),
    [
        ({"forward_origin": {"type": "user", "sender_user": {"id": 9, "first_name": "Eve [x]"}}}, "Eve (x)"),
        ({"forward_origin": {"type": "hidden_user", "sender_user_name": "Eve\n/stop"}}, "Eve /stop"),
        ({"forward_origin": {"type": "channel", "chat": {"id": -1, "title": "News"}, "message_id": 2}}, "News"),
        ({"forward_origin": {"type": "chat", "sender_chat": {"title": "Us"}}}, "Us"),
        ({"forward_origin": {}}, "somebody"),
        ({"forward_date": 5}, "somebody"),
    ],
)
@pytest.mark.parametrize("text", ["hello", "/stop", "/approve@crusty_bot abcdefgh234567ab"])
def test_what_was_forwarded_is_somebody_elses_word_and_never_a_command(
    origin: dict[str, Any], who: str, text: str
) -> None:
    found = one({**GROUP, **origin, "text": text})
    assert found.text == f"[forwarded from {who}]\n{text}"
    assert not found.mentioned
    assert commands.parse(found.text) is None


NOT_FOR_US: list[dict[str, Any]] = [
    {"channel_post": PRIVATE},
    {"edited_channel_post": PRIVATE},
    {"my_chat_member": {"chat": {"id": 7}, "new_chat_member": {"status": "kicked"}}},
    {"chat_member": {}},
    {"message_reaction": {"chat": {"id": 7}}},
    {"business_message": PRIVATE},
    {"inline_query": {"id": "1", "query": "x"}},
    {"chosen_inline_result": {}},
    {"poll": {"id": "1"}},
    {"message": {**GROUP, "sender_chat": {"id": -1001}, "from": {"id": 1087968824, "is_bot": True}}},
    {"message": {**GROUP, "sender_chat": {"id": -5}, "from": {"id": 777000, "is_bot": False}}},
    {"message": without_text(new_chat_members=[{"id": 9}])},
    {"message": without_text(pinned_message=PRIVATE)},
    {"message": without_text(migrate_to_chat_id=-100500)},
]


@pytest.mark.parametrize("update", NOT_FOR_US, ids=lambda update: next(iter(update)))
def test_what_is_not_for_us(update: dict[str, Any]) -> None:
    assert read({"update_id": 5, **update}, BOT, edits=False) == (None, None)


def test_ids_are_of_any_size_and_a_number_that_comes_again_for_another_message_is_another_event() -> None:
    large = one({**PRIVATE, "message_id": 2**52, "from": {"id": 2**51}, "chat": {"id": 2**51, "type": "private"}})
    assert (large.user, large.message, large.conversation) == (str(2**51), str(2**52), str(2**51))
    assert one({**GROUP, "chat": {"id": -(10**15), "type": "supergroup"}}).conversation == str(-(10**15))
    assert one(PRIVATE).id != one({**PRIVATE, "message_id": 13}).id


def test_a_press_is_its_pressers_word() -> None:
    query = {"id": "q", "from": {"id": 9}, "message": GROUP, "data": "deny:abcdefgh234567ab"}
    found, press = read({"update_id": 5, "callback_query": query}, BOT, edits=False)
    assert found is not None
    assert press is not None
    assert (found.text, found.user, found.conversation, press.id) == ("/deny abcdefgh234567ab", "9", "-1001", "q")
    for odd in ("deny:x", "", "approve:ABCDEFGH234567AB", None, "approve:abcdefgh234567ab\n/new"):
        assert read({"update_id": 5, "callback_query": {**query, "data": odd}}, BOT, edits=False)[0] is None


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"chat": None}, "chat"),
        ({"chat": {"id": "7"}}, "id"),
        ({"date": "now"}, "date"),
        ({"date": 10**30}, "date"),
        ({"message_id": True}, "message_id"),
        ({"from": {"id": None}}, "id"),
    ],
)
def test_a_broken_promise_is_named_by_its_field(change: dict[str, Any], field: str) -> None:
    with pytest.raises(MalformedUpdate) as caught:
        event({**PRIVATE, **change})
    assert str(caught.value) == field


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from([*PRIVATE, "photo", "entities", "text"]), inner)
    ),
    max_leaves=12,
)


@given(st.dictionaries(st.sampled_from([*PRIVATE, "photo", "voice", "entities", "reply_to_message"]), json_values))
def test_whatever_comes_is_an_event_nothing_or_malformed(junk: dict[str, Any]) -> None:
    update = json.loads(json.dumps({"update_id": 1, "message": {**PRIVATE, **junk}}))
    try:
        chat_of(update)
        read(update, BOT, edits=True)
    except MalformedUpdate:
        return


@pytest.mark.parametrize("update", [None, [], "x", {}, {"update_id": "5"}])
def test_an_update_without_a_number_is_malformed(update: object) -> None:
    with pytest.raises(MalformedUpdate, match="update_id"):
        update_id(update)
