"""Who may decide, and until when."""

from datetime import UTC, datetime, timedelta

import pytest

from opencrust.contracts import Approval, ApprovalCard, ApprovalState, ReplyAddress, Sender, Trust
from opencrust_agent.approvals import decided_where, lapsed, may_decide, new_id

AT = datetime(2026, 11, 25, tzinfo=UTC)
QUESTION = Approval(
    card=ApprovalCard(id="a" * 16, tool="t", lines=[], expires=AT),
    address=ReplyAddress(channel="telegram", account="bot", conversation="group"),
    requester="7",
    digest="0" * 64,
    created=AT - timedelta(hours=1),
)


@pytest.mark.parametrize(
    ("channel", "account", "user", "trust", "by_policy", "may"),
    [
        ("discord", "other", "1", Trust.OWNER, False, True),  # the operator, on any surface
        ("telegram", "bot", "7", Trust.USER, True, True),  # who asked for it
        ("telegram", "bot", "7", Trust.USER, False, False),
        ("telegram", "bot", "8", Trust.USER, True, False),
        ("telegram", "bot2", "7", Trust.USER, True, False),  # another bot's user 7 is somebody else
        ("discord", "bot", "7", Trust.USER, True, False),
        ("telegram", "bot", "7", Trust.GUEST, True, False),
        ("telegram", "bot", "7", Trust.UNKNOWN, True, False),
    ],
)
def test_who_may_decide(channel: str, account: str, user: str, trust: Trust, by_policy: bool, may: bool) -> None:
    by = Sender(channel=channel, account=account, user=user)
    assert may_decide(QUESTION, by, trust, requester_may=by_policy) is may


def test_a_question_lapses_and_a_decision_does_not() -> None:
    assert lapsed(QUESTION, AT)
    assert not lapsed(QUESTION, AT - timedelta(seconds=1))
    assert not lapsed(QUESTION.model_copy(update={"state": ApprovalState.APPROVED}), AT)


@pytest.mark.parametrize(
    ("by", "where"),
    [
        ("telegram/bot/7", ""),
        ("discord/bot/1", "on discord"),
        ("gateway:owner", "on the web page"),
        ("cli:", "on the command line"),
        ("", ""),
    ],
)
def test_where_it_was_decided_is_said_where_that_was_elsewhere(by: str, where: str) -> None:
    assert decided_where(QUESTION.model_copy(update={"decided_by": by})) == where


def test_ids_are_not_guessed() -> None:
    assert len({new_id() for _ in range(1000)}) == 1000
