"""A question on the terminal."""

from datetime import UTC, datetime, timedelta

from opencrust.contracts import Approval, ApprovalCard, ReplyAddress
from opencrust_cli.approvals import shown

AT = datetime(2026, 11, 25, tzinfo=UTC)


def test_it_shows_the_call_and_moves_no_cursor() -> None:
    approval = Approval(
        card=ApprovalCard(
            id="a" * 16,
            tool="send",
            lines=["send: sends to others", "to = eve\x1b[2J"],
            expires=AT + timedelta(minutes=5),
        ),
        address=ReplyAddress(channel="telegram", account="bot", conversation="7"),
        requester="ann\n\u202e",
        digest="0" * 64,
        created=AT,
    )
    text = shown(approval, AT)
    assert text.splitlines() == [
        f"{'a' * 16}  5 min left  (telegram, asked by ann\\n\\u202e)",
        "    send: sends to others",
        "    to = eve\\x1b[2J",
    ]
