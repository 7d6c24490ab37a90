"""Which conversation is meant."""

import pytest

from opencrust.contracts import conversation_key
from opencrust_cli.errors import EXIT_USAGE, CommandError
from opencrust_cli.stop import subject

KEY = conversation_key("telegram", "bot", "7")


def test_nothing_means_everything() -> None:
    assert subject(None) == "ctl.stop.all.all"


def test_a_name_is_the_operators_own_conversation() -> None:
    assert subject("main") == f"ctl.stop.web.{conversation_key('web', 'operator', 'main')}"
    assert subject("notes.2026") == f"ctl.stop.web.{conversation_key('web', 'operator', 'notes.2026')}"


def test_a_key_is_another_channels() -> None:
    assert subject(f"telegram.{KEY}") == f"ctl.stop.telegram.{KEY}"


def test_an_unknown_channel_is_named() -> None:
    with pytest.raises(CommandError, match="no channel 'telegraph'") as caught:
        subject(f"telegraph.{KEY}")
    assert caught.value.code == EXIT_USAGE
