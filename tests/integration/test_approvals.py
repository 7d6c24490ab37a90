"""Approvals on a real bus: a decision reaches the message that asked, once, wherever it was made."""

from datetime import timedelta

import pytest

from harness import BusServer
from opencrust.bus.archive import Archive
from opencrust.contracts import Approval, ApprovalCard, CardOutcome, OutboundMessage, ReplyAddress, decode
from opencrust.contracts.messages import now
from opencrust_agent.approvals import Approvals, new_id


def question(channel: str, lives: timedelta = timedelta(hours=1)) -> Approval:
    return Approval(
        card=ApprovalCard(id=new_id(), tool="send_mail", lines=["to: ann"], expires=now() + lives),
        address=ReplyAddress(channel=channel, account="1", conversation="7"),
        requester="7",
        digest="0" * 64,
        created=now(),
    )


async def told(server: BusServer, channel: str) -> list[OutboundMessage]:
    archive, found, after = Archive(await server.connect("provisioner"), "MSG_OUT"), [], 0
    while (stored := await archive.after(after)) is not None:
        after = stored.seq
        found.append(decode(OutboundMessage, stored.data))
    return [message for message in found if message.address.channel == channel]


@pytest.mark.parametrize(
    ("approve", "by", "outcome", "where"),
    [
        (True, "telegram/1/7", CardOutcome.APPROVED, ""),
        (False, "gateway:owner", CardOutcome.DENIED, "on the web page"),
    ],
)
async def test_a_decision_is_told_to_the_card_once(
    bus_server: BusServer, approve: bool, by: str, outcome: CardOutcome, where: str
) -> None:
    approvals, asked = Approvals(await bus_server.connect("agent")), question("telegram")
    await approvals.ask(asked)
    await approvals.decide(asked.card.id, approve, by)
    await approvals.decide(asked.card.id, approve, by)  # pressed twice
    await approvals.sweep_once()
    [message] = await told(bus_server, "telegram")
    assert message.decided is not None
    assert (message.decided.card, message.decided.outcome, message.decided.where) == (asked.card, outcome, where)
    assert (message.text, message.address) == ("", asked.address)


async def test_a_question_that_lapses_or_is_withdrawn_loses_its_buttons_and_the_web_is_told_otherwise(
    bus_server: BusServer,
) -> None:
    approvals = Approvals(await bus_server.connect("agent"))
    lapsed, withdrawn, web = question("discord", timedelta(0)), question("discord"), question("web")
    for asked in (lapsed, withdrawn, web):
        await approvals.ask(asked)
    await approvals.sweep_once()
    await approvals.withdraw(withdrawn.card.id)
    await approvals.decide(web.card.id, True, "gateway:owner")
    found = await told(bus_server, "discord")
    assert [m.decided.outcome for m in found if m.decided is not None] == [CardOutcome.EXPIRED] * 2
    assert await told(bus_server, "web") == []
