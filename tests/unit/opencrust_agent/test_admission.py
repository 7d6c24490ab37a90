from datetime import UTC, datetime

import pytest

from opencrust.access.people import Admission, Verdict
from opencrust.contracts import InboundMessage, ReplyAddress, Sender, Trust
from opencrust_agent.admission import admitted

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def message(trust: Trust) -> InboundMessage:
    address = ReplyAddress(channel="telegram", account="bot", conversation="7")
    return InboundMessage(
        id="1",
        channel="telegram",
        account="bot",
        conversation="7",
        sender=Sender(channel="telegram", account="bot", user="7"),
        reply_to=address,
        text="x",
        platform_time=NOW,
        received_time=NOW,
        trust=trust,
    )


@pytest.mark.parametrize("claimed", list(Trust))
@pytest.mark.parametrize("recorded", list(Trust))
def test_trust_is_what_the_record_says_whatever_the_message_claims(claimed: Trust, recorded: Trust) -> None:
    let_in = admitted(message(claimed), Admission(Verdict.ADMIT, recorded))
    assert let_in is not None
    assert let_in.trust is recorded


@pytest.mark.parametrize("verdict", [Verdict.DROP, Verdict.OFFER_PAIRING])
def test_who_is_not_admitted_is_not_answered(verdict: Verdict) -> None:
    assert admitted(message(Trust.OWNER), Admission(verdict)) is None
