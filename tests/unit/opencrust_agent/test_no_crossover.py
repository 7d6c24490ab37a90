"""Two people with similar histories: nothing of one ever stands in what the model is asked for the other.

Random turns over the pure parts: session, summary, journal, suspended turns, compose. Every text of a person carries a
mark of his; a mark of the other in a request, in trusted words, or in a session is a crossover.
"""

import random

import pytest

from opencrust.contracts import (
    CallState,
    InboundMessage,
    Journal,
    JournalCall,
    Outcome,
    ReplyAddress,
    Sender,
    SessionView,
    Step,
    Summary,
    Trust,
)
from opencrust.contracts.messages import now
from opencrust_agent.compose import compose
from opencrust_agent.label import Label, marked, new_boundary
from opencrust_agent.models import Message, Text, ToolCall, ToolResult, message_to_json
from opencrust_agent.policy import Policy
from opencrust_agent.provenance import Words
from opencrust_agent.reply import Said, answered, suspended
from opencrust_agent.setting import Setting
from opencrust_agent.think import Answer
from security.gullible import Silent

TOPICS = ("the garden", "a birthday", "the tax return", "a trip to Rome", "the cellar")


def message(person: str, number: int, dice: random.Random) -> InboundMessage:
    """The two write the same things on the same channel, to the same bot: only their marks differ."""
    return InboundMessage(
        id=f"m{number}",
        channel="telegram",
        account="bot",
        conversation=person,
        sender=Sender(channel="telegram", account="bot", user=person, display_name="Alex"),
        reply_to=ReplyAddress(channel="telegram", account="bot", conversation=person),
        text=f"{dice.choice(TOPICS)} [{person}-{number}]",
        platform_time=now(),
        received_time=now(),
        trust=Trust.USER,
        is_group=dice.random() < 0.2,
    )


async def _forget(session: SessionView) -> None:
    return


def turn(person: str, number: int, session: SessionView, dice: random.Random) -> tuple[str, SessionView]:
    """One turn: what the model was asked, in one string, and the session after it."""
    said = message(person, number, dice)
    if dice.random() < 0.05:  # a summary takes the place of what is older
        told = Summary(text=f"Alex spoke of things. [{person}-sum]", upto=max(0, session.cursor - 2))
        session = session.model_copy(update={"summary": told})
    boundary = new_boundary()
    call = JournalCall(
        id="c",
        tool="look",
        arguments={"what": f"{person}-{number}"},
        state=CallState.DONE,
        outcome=Outcome.OK,
        result=marked(f"found [{person}-{number}-result]", Label("web"), boundary),
    )
    asked = Message("assistant", (Text("let me look"), ToolCall("c", "look", {"what": f"{person}-{number}"})))
    journal = Journal(seq=number, boundary=boundary, steps=[Step(message=message_to_json(asked), calls=[call])])
    results = Message("user", (ToolResult("c", call.result),))
    request = compose(
        said, session, instructions="help", max_tokens=10, history=4_000, boundary=boundary, journal=(asked, results)
    )
    setting = Setting(
        message=said,
        channel="telegram",
        tools={},
        policy=Policy(),
        words=Words(said.text, [old.text for old in session.turns], session.vouched),
        journal=journal,
        tainted=True,
        vouched=[*session.vouched, f"{person}-{number}"][-8:],
        session=session,
        live=Silent(),
        checkpoint=_forget,
    )
    remembered = Said(number, said.id, person, said.reply_to, said.text, "Alex", trusted=True)
    answer = Answer(text=f"about {said.text}")
    if dice.random() < 0.1 and len(session.suspended) < 3:
        return repr(request), suspended(session, remembered, answer, setting).model_copy(update={"cursor": number})
    after = answered(session.model_copy(update={"vouched": setting.vouched}), remembered, answer)
    return repr(request), after.model_copy(update={"outbox": [], "suspended": after.suspended[-1:]})


def play(turns: int, seed: int) -> int:
    dice = random.Random(seed)
    sessions = {"anna": SessionView(), "bert": SessionView()}
    for number in range(1, turns + 1):
        person = dice.choice(("anna", "bert"))
        other = "bert" if person == "anna" else "anna"
        asked, after = turn(person, number, sessions[person], dice)
        assert f"{person}-{number}" in asked
        assert other not in asked
        assert other not in after.model_dump_json()
        sessions[person] = after
    return turns


def test_no_crossover() -> None:
    assert play(1_000, seed=1) == 1_000


@pytest.mark.long
def test_no_crossover_in_ten_thousand_turns() -> None:
    assert play(10_000, seed=2) == 10_000


def test_a_crossover_would_be_seen() -> None:
    dice = random.Random(3)
    _, annas = turn("anna", 1, SessionView(), dice)
    asked, _ = turn("bert", 2, annas, dice)
    assert "anna" in asked
