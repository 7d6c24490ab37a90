"""Payloads as Slack's documentation shows them, and odd ones."""

from typing import Any

import pytest

from opencrust_channel_slack.events import APPROVE, Me, command_event, event_of, message_event, press_event, readable

ME = Me("T061EG9R6", "U0BOT")
MENTION: dict[str, Any] = {
    "type": "app_mention",
    "user": "U061F7AUR",
    "text": "<@U0BOT> is it everything a river should be?",
    "ts": "1515449522.000016",
    "channel": "C123ABC456",
    "event_ts": "1515449522000016",
}


def test_a_mention_and_the_message_are_one() -> None:
    mention = message_event(MENTION, ME)
    message = message_event(MENTION | {"type": "message", "channel_type": "channel"}, ME)
    assert mention == message
    assert mention is not None
    assert mention.id == "C123ABC456:1515449522.000016"
    assert (mention.text, mention.mentioned, mention.thread) == (
        "is it everything a river should be?", True, "1515449522.000016",
    )  # fmt: skip


def test_private_messages_go_on_without_a_thread() -> None:
    event = message_event(MENTION | {"type": "message", "channel": "D1", "channel_type": "im"}, ME)
    assert event is not None
    assert (event.thread, event.is_group) == (None, False)


@pytest.mark.parametrize(
    "more",
    [
        {"bot_id": "B1"},
        {"subtype": "message_changed"},
        {"user": "U0BOT"},
        {"user": None},
        {"text": ""},
        {"ts": 5},
        {"type": "reaction_added"},
    ],
)
def test_what_nobody_wrote_to_be_read(more: dict[str, Any]) -> None:
    assert message_event(MENTION | more, ME) is None


@pytest.mark.parametrize(
    ("command", "text", "meant"),
    [
        ("/opencrust", "status", "/status"),
        ("/opencrust", "/approve abc", "/approve abc"),
        ("/opencrust", "how &amp; why", "how & why"),
        ("/opencrust", "", "/help"),
        ("/new", "", "/new"),
    ],
)
def test_commands(command: str, text: str, meant: str) -> None:
    payload = {"channel_id": "C1", "user_id": "U1", "trigger_id": "1.2.3", "command": command, "text": text}
    event = command_event(payload, ME, "e1")
    assert event is not None
    assert event.text == meant


def test_a_button_is_its_presser_s_word_in_its_thread() -> None:
    event = press_event(
        {
            "user": {"id": "U9"},
            "container": {"channel_id": "C1", "message_ts": "2.1", "thread_ts": "1.1"},
            "actions": [{"action_id": APPROVE, "value": "abc", "action_ts": "3.1"}],
        },
        ME,
        "e1",
    )
    assert event is not None
    assert (event.text, event.user, event.thread) == ("/approve abc", "U9", "1.1")


@pytest.mark.parametrize("kind", ["events_api", "slash_commands", "interactive", "hello"])
@pytest.mark.parametrize("payload", [{}, {"event": 5}, {"actions": [None]}, {"container": "x", "user": []}])
def test_odd_payloads_mean_nothing(kind: str, payload: dict[str, Any]) -> None:
    assert event_of(kind, payload, ME, "e1") is None


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("<@U0BOT>: hi", "hi"),
        ("<@U5|ann> &lt;b&gt;", "@ann <b>"),
        ("<#C1|general> <!here> <!subteam^S1|@team>", "#general @here @team"),
        ("<https://x.org|label> <https://x.org>", "label (https://x.org) https://x.org"),
    ],
)
def test_readable(text: str, read: str) -> None:
    assert readable(text, ME) == read
