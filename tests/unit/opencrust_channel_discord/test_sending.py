from datetime import UTC, datetime

import pytest

from opencrust.channel.adapter import OutPart, Refused, Retry, Sent, Unknown
from opencrust.contracts import ApprovalCard, ReplyAddress
from opencrust_channel_discord import sending
from opencrust_channel_discord.rest import NoAnswer, Refusal

ADDRESS = ReplyAddress(channel="discord", account="1", conversation="2", message="3")


def test_a_part_goes_out_once_quotes_and_mentions_nobody() -> None:
    body = sending.message(OutPart("k" * 24, ADDRESS, 0, "hi"))
    assert (body["nonce"], body["enforce_nonce"]) == ("k" * 24, True)
    assert body["allowed_mentions"]["parse"] == []
    assert body["message_reference"] == {"message_id": "3", "fail_if_not_exists": False}
    assert "message_reference" not in sending.message(OutPart("k", ADDRESS, 1, "more"))


def test_a_question_has_two_buttons() -> None:
    card = ApprovalCard(id="a" * 16, tool="send @here", lines=[], expires=datetime.now(UTC))
    body = sending.message(OutPart("k", ADDRESS, 1, "may I?", card=card))
    [row] = body["components"]
    assert [button["custom_id"] for button in row["components"]] == ["approve:" + "a" * 16, "deny:" + "a" * 16]
    assert body["embeds"][0]["title"] == "Approval: send here"


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (Refusal(429, after=2.5), Retry),
        (Refusal(401), Retry),
        (Refusal(500), Retry),
        (Refusal(403, 50013), Refused),
        (Refusal(400, 50035), Refused),
        (Refusal(404, 10003), Refused),
    ],
)
def test_refusals(error: Refusal, kind: type) -> None:
    assert isinstance(sending.refused(error), kind)


def test_no_answer() -> None:
    assert isinstance(sending.unanswered(NoAnswer("x", sent=True)), Unknown)
    assert isinstance(sending.unanswered(NoAnswer("x", sent=False)), Retry)
    assert sending.sent({"id": "5"}) == Sent("5")
    assert isinstance(sending.sent("odd"), Unknown)
