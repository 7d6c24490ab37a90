"""What the doctor says of channels, from what their replicas say of themselves."""

import pytest

from opencrust.bus.survey import Report
from opencrust.config import ChannelSettings
from opencrust_cli.channel_checks import judge, judge_letters, lines

TELEGRAM = ChannelSettings(name="telegram", credentials={"token": "vault:channel.telegram.token"})


def replica(number: int = 1, version: str = "1.0", **facts: object) -> Report:
    known = {"role": "leader", "link": "connected", "account": "5", "bot": "crusty_bot", "mode": "poll", **facts}
    return Report("channel-telegram", f"r{number}", version, True, 9.0, known)


def said(*reports: Report) -> list[tuple[bool | None, str]]:
    return [(f.ok, f"{f.name}: {f.detail} → {f.advice}") for f in judge([TELEGRAM], reports)]


def test_what_is_well_is_said_in_one_line() -> None:
    standby = replica(2, link="idle", role="standby")
    assert said(replica(), standby) == [(True, "telegram: connected as crusty_bot, 2 running → ")]
    assert lines([TELEGRAM], [replica()]) == []


@pytest.mark.parametrize(
    ("reports", "ok", "words"),
    [
        ([], False, "configured, and does not run"),
        ([replica(link="refused", link_reason="Telegram does not know the token")], False, "vault rotate channel.tel"),
        ([replica(link="deaf", link_reason="no sign of life for 60 s")], False, "deaf: no sign of life for 60 s"),
        ([replica(link="connecting", link_reason="another program listens with this token")], False, "/revoke"),
        ([replica(link="connecting", link_reason="Telegram cannot be reached")], False, "cannot be reached"),
        ([replica(link="not configured")], False, "has not heard of its settings"),
        ([replica(link="idle")], False, "no replica listens"),
        ([replica(), replica(2, account="6", link="idle")], False, "different accounts: 5, 6"),
        ([replica(), replica(2, version="1.1", link="idle")], False, "different versions: 1.0, 1.1"),
        ([replica(), replica(2, mode="webhook", link="idle")], False, "different modes"),
        ([replica(updates_webhook_removed=2)], None, "set a webhook 2 times"),
        ([replica(reads_all_of_groups=False)], None, "privacy mode is on"),
        ([replica(unknown=1), replica(2, unknown=2, link="idle")], None, "3 replies were sent whose end nobody knows"),
        ([replica(in_buried=4)], None, "4 events could not be read"),
        ([replica(updates_forged=7)], None, "7 calls without our secret"),
    ],
)
def test_what_is_wrong_is_said_with_what_to_do(reports: list[Report], ok: bool | None, words: str) -> None:
    found = said(*reports)
    assert [text for was, text in found if was is ok and words in text], found
    assert all(not text.endswith("→ ") for was, text in found if was is not True), "no advice"
    assert bool(lines([TELEGRAM], reports)) is (ok is False)


def test_none_and_one_that_is_switched_off() -> None:
    assert [f.detail for f in judge([], [])] == ["none is configured"]
    off = TELEGRAM.model_copy(update={"enabled": False})
    assert [(f.ok, f.detail) for f in judge([off], [])] == [(None, "is switched off")]


def test_dead_letters_that_wait_are_counted_by_where_they_came_from() -> None:
    letters = [{"origin": "platform/channel-telegram"}, {"origin": "MSG_IN/agent"}, {"origin": "MSG_IN/agent"}]
    [found] = judge_letters(letters)
    assert (found.ok, found.detail) == (None, "3 wait: 2 of MSG_IN/agent, 1 of platform/channel-telegram")
    assert next(judge_letters([])).ok is True
    assert "not looked at" in next(judge_letters(None)).detail
