"""What is asked for, and what it must look like."""

import pytest

from opencrust.config import ChannelMode
from opencrust_cli.channel_platforms import PLATFORMS, fits


def asked(platform: str, mode: ChannelMode = ChannelMode.POLL) -> list[str]:
    return [asked.key for asked in PLATFORMS[platform].asked(mode)]


def test_what_is_asked_depends_on_how_events_come() -> None:
    assert asked("discord") == ["token"]
    assert asked("slack") == ["bot_token", "app_token"]
    assert asked("slack", ChannelMode.WEBHOOK) == ["bot_token", "signing_secret"]


@pytest.mark.parametrize(
    ("platform", "key", "value", "right"),
    [
        ("discord", "token", "MTk4NjIyNDgzNDcxOTI1MjQ4.Cl2FMQ.ZnCjm1XVW7vRze4b7Cq4se7kKWs", True),
        ("discord", "token", "two words", False),
        ("slack", "bot_token", "xoxb-17653672481-19874698323-pdFZKVeTuE8sk7oOcBrzbqgy", True),
        ("slack", "bot_token", "xapp-1-A1-2-abc", False),
        ("slack", "app_token", "xapp-1-A1-2-abc", True),
        ("slack", "signing_secret", "8f742231b10e8888abcd99yyyzzz85a5", True),
    ],
)
def test_what_it_must_look_like(platform: str, key: str, value: str, right: bool) -> None:
    (one,) = (asked for asked in PLATFORMS[platform].asks if asked.key == key)
    assert fits(one, value) is right
