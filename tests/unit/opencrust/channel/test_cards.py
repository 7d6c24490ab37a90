"""Cards after their decision: what they read, what is tried again, and what is given up."""

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any, cast

import pytest

from opencrust.channel.adapter import OutPart, Refused, Retry, SendResult, Sent, Unknown
from opencrust.channel.cards import Cards, decided_text
from opencrust.channel.text import PLAIN
from opencrust.contracts import ApprovalCard, CardDecided, CardOutcome, OutboundMessage, ReplyAddress

AT = datetime.now(UTC)
CARD = ApprovalCard(id="a" * 16, tool="mail", lines=["to: ann"], expires=AT + timedelta(hours=1))
ADDRESS = ReplyAddress(channel="telegram", account="1", conversation="7")
QUESTION = OutboundMessage(id="re:1:0", in_reply_to="1", address=ADDRESS, text="x", approval=CARD, created_time=AT)

TOLD = OutboundMessage(id="card:1", in_reply_to="approval:1", address=ADDRESS, text="", created_time=AT)


class Keys:
    def __init__(self) -> None:
        self.values: dict[str, bytes] = {}
        self.ttl: list[int] = []

    async def put(self, key: str, value: bytes, *, ttl: int) -> None:
        self.values[key] = value
        self.ttl.append(ttl)

    async def get(self, key: str) -> Any:
        return SimpleNamespace(value=self.values[key]) if key in self.values else None

    async def delete(self, key: str) -> None:
        del self.values[key]


class Adapter:
    name = "telegram"
    dialect = PLAIN

    def __init__(self) -> None:
        self.changed: list[tuple[str, str]] = []
        self.result: SendResult | Exception = Sent("5")

    async def decided(self, address: ReplyAddress, message: str, part: OutPart) -> SendResult:
        assert part.card is None
        self.changed.append((message, part.text))
        if isinstance(self.result, Exception):
            raise self.result
        return self.result


@pytest.fixture
def keys() -> Keys:
    return Keys()


@pytest.fixture
def adapter() -> Adapter:
    return Adapter()


@pytest.fixture
def cards(keys: Keys, adapter: Adapter) -> Cards:
    bus = SimpleNamespace(kv=lambda name: keys)
    return Cards(cast(Any, bus), cast(Any, adapter))


@pytest.mark.parametrize(
    ("outcome", "where", "said"),
    [
        (CardOutcome.APPROVED, "", "Approved."),
        (CardOutcome.DENIED, "on the command line", "Denied on the command line."),
        (CardOutcome.EXPIRED, "", "Not answered in time, or asked no longer: nothing was done."),
    ],
)
def test_what_a_card_reads(outcome: CardOutcome, where: str, said: str) -> None:
    text = decided_text(CardDecided(card=CARD, outcome=outcome, where=where))
    assert text == f"May I do this?\n\nto: ann\n\n{said}"
    assert "/approve" not in text


async def test_only_the_last_part_of_a_question_is_its_card(cards: Cards, keys: Keys) -> None:
    await cards.sent(QUESTION, 0, 2, "3")
    await cards.sent(QUESTION.model_copy(update={"approval": None}), 1, 2, "4")
    assert keys.values == {}
    await cards.sent(QUESTION, 1, 2, "5")
    assert keys.values == {f"telegram.card.{'a' * 16}": b"5"}
    assert keys.ttl[0] > 86_400


@pytest.mark.parametrize(
    ("result", "again", "kept"),
    [
        (Sent("5"), False, False),
        (Retry(3.0, "slower"), True, True),
        (Unknown("cut"), True, True),
        (Refused("gone"), False, False),
        (RuntimeError("a fault"), False, True),
    ],
)
async def test_what_becomes_of_a_change(
    cards: Cards, keys: Keys, adapter: Adapter, result: SendResult | Exception, again: bool, kept: bool
) -> None:
    await cards.sent(QUESTION, 0, 1, "5")
    adapter.result = result
    wait = await cards.decided(TOLD, CardDecided(card=CARD, outcome=CardOutcome.APPROVED))
    assert (wait is not None, bool(keys.values)) == (again, kept)
    assert adapter.changed[0][0] == "5"


async def test_a_card_that_nobody_knows_and_one_long_after_are_left_alone(cards: Cards, adapter: Adapter) -> None:
    assert await cards.decided(TOLD, CardDecided(card=CARD, outcome=CardOutcome.APPROVED)) is None
    late = TOLD.model_copy(update={"expires_time": AT - timedelta(seconds=1)})
    await cards.sent(QUESTION, 0, 1, "5")
    assert await cards.decided(late, CardDecided(card=CARD, outcome=CardOutcome.APPROVED)) is None
    assert adapter.changed == []
