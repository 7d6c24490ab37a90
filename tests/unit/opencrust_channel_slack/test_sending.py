"""Parts as Slack's messages, and its answers as results."""

from datetime import UTC, datetime

import pytest

from opencrust.channel.adapter import OutPart, Refused, Retry, Unknown
from opencrust.contracts import ApprovalCard, ReplyAddress
from opencrust_channel_slack import sending
from opencrust_channel_slack.api import NoAnswer, Refusal

WHERE = ReplyAddress(channel="slack", account="T1", conversation="C1", thread="1.1")
CARD = ApprovalCard(id="abcdefgh23456722", tool="send_mail", lines=["to: a"], expires=datetime.now(UTC))


def test_a_message_expands_and_previews_nothing_and_carries_its_key() -> None:
    body = sending.message(OutPart(key="k", address=WHERE, number=0, text="hi"))
    assert (body["channel"], body["thread_ts"], body["text"]) == ("C1", "1.1", "hi")
    assert (body["parse"], body["link_names"], body["unfurl_links"]) == ("none", False, False)
    assert sending.carries(body, "k")
    assert not sending.carries(body, "other")
    assert not sending.carries({"metadata": []}, "")


def test_a_question_has_two_buttons_and_an_answered_one_none() -> None:
    asked = sending.message(OutPart(key="k", address=WHERE, number=0, text="x" * 4_000, card=CARD))
    assert [block["type"] for block in asked["blocks"]] == ["section", "section", "actions"]
    assert [button["value"] for button in asked["blocks"][-1]["elements"]] == [CARD.id, CARD.id]
    body = sending.decided(OutPart(key="", address=WHERE, number=0, text="Approved."), "5.5")
    assert (body["ts"], body["text"], body["blocks"]) == ("5.5", "Approved.", [])


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (Refusal(429, "ratelimited", 3), Retry),
        (Refusal(200, "invalid_auth"), Retry),
        (Refusal(200, "fatal_error"), Unknown),
        (Refusal(503, ""), Unknown),
        (Refusal(200, "channel_not_found"), Refused),
        (Refusal(200, "msg_too_long"), Refused),
    ],
)
def test_refusals(error: Refusal, kind: type) -> None:
    assert isinstance(sending.refused(error), kind)


def test_no_answer() -> None:
    assert isinstance(sending.unanswered(NoAnswer("cut", sent=True)), Unknown)
    assert isinstance(sending.unanswered(NoAnswer("no way there", sent=False)), Retry)
    error = sending.link_error(Refusal(200, "missing_scope"), "bot token")
    assert error.refused
    assert "scope" in str(error)
