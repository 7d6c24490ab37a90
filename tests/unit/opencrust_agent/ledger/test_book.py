"""The arithmetic of a day: limits, reservations, alerts."""

from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opencrust.config.budgets import BudgetSettings, Limit
from opencrust.contracts.usage import MAX_ROWS, DayUsage
from opencrust_agent.ledger import Book, Demand, OverBudget, Payer, Spent

ANNA = Payer("telegram:1:anna", "telegram")
BERT = Payer("discord:1:bert", "discord")
NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)
LATER = NOON + timedelta(minutes=15)


def book(*limits: Limit, record: DayUsage | None = None) -> Book:
    return Book(record or DayUsage(day=date(2026, 5, 1)), BudgetSettings(limits=limits))


def test_what_is_reserved_counts_until_it_is_settled_and_then_what_was_spent() -> None:
    account = book(Limit(tokens=100))
    account.reserve("a", ANNA, Demand(tokens=60), NOON, LATER)
    with pytest.raises(OverBudget, match="100 tokens a day for everybody together"):
        account.reserve("b", BERT, Demand(tokens=41), NOON, LATER)
    account.settle("a", ANNA, Spent("m", "p", 10, 5))
    account.reserve("c", BERT, Demand(tokens=85), NOON, LATER)
    with pytest.raises(OverBudget):
        account.reserve("d", BERT, Demand(tokens=1), NOON, LATER)
    assert account.record().refused == 2


def test_the_reservation_of_a_dead_worker_expires() -> None:
    account = book(Limit(tokens=100))
    account.reserve("a", ANNA, Demand(tokens=100), NOON, LATER)
    with pytest.raises(OverBudget):
        account.reserve("b", ANNA, Demand(tokens=1), LATER - timedelta(seconds=1), LATER)
    account.reserve("b", ANNA, Demand(tokens=100), LATER, LATER + timedelta(minutes=15))
    account.settle("a", ANNA, Spent("m", "p", 7))  # it was not dead, only late: spent is spent
    assert [row.input_tokens for row in account.record().rows] == [7]


@pytest.mark.parametrize(
    ("limit", "anna", "bert"),
    [
        (Limit(per="user", tokens=10), False, True),
        (Limit(per="user", name="telegram:*", tokens=10), False, True),
        (Limit(per="user", name="discord:*", tokens=0), True, False),
        (Limit(per="channel", name="telegram", tokens=10), False, True),
        (Limit(per="agent", tokens=10), False, False),
        (Limit(per="day", tokens=10), False, False),
    ],
)
def test_limits_count_together_whom_they_name(limit: Limit, anna: bool, bert: bool) -> None:
    account = book(limit)
    account.settle("x", ANNA, Spent("m", "p", 10))
    for payer, fits in ((ANNA, anna), (BERT, bert)):
        if fits:
            account.reserve("y", payer, Demand(tokens=5), NOON, LATER)
        else:
            with pytest.raises(OverBudget):
                account.reserve("y", payer, Demand(tokens=5), NOON, LATER)


@pytest.mark.parametrize(
    ("limit", "demand"),
    [
        (Limit(tokens=0), Demand(tokens=1)),
        (Limit(money=0), Demand(tokens=1, micros=1)),
        (Limit(money=0), Demand(tokens=1, micros=None)),
        (Limit(tool_calls=0), Demand(tool_calls=1)),
        (Limit(seconds=0), Demand(tokens=1)),
        (Limit(seconds=0), Demand(tool_calls=1)),
    ],
)
def test_nothing_is_nothing(limit: Limit, demand: Demand) -> None:
    with pytest.raises(OverBudget):
        book(limit).reserve("a", ANNA, demand, NOON, LATER)


def test_what_costs_nothing_needs_no_money_and_an_unknown_price_is_counted_as_unknown() -> None:
    account = book(Limit(money=0.5))
    account.reserve("a", ANNA, Demand(tokens=5, micros=0), NOON, LATER)
    account.reserve("b", ANNA, Demand(tokens=5, micros=None), NOON, LATER)
    account.settle("b", ANNA, Spent("m", "p", 5, 5, micros=None))
    assert account.record().rows[0].unpriced == 1
    with pytest.raises(OverBudget, match=r"0\.5 USD"):
        account.reserve("c", ANNA, Demand(tokens=5, micros=500_001), NOON, LATER)


def test_an_alert_is_told_once() -> None:
    account = book(Limit(per="user", tokens=100))
    assert account.settle("a", ANNA, Spent("m", "p", 79)) == []
    told = account.settle("b", ANNA, Spent("m", "p", 1))
    assert told == ["80% of 100 tokens a day for user telegram:1:anna is used"]
    again = book(Limit(per="user", tokens=100), record=account.record())
    assert again.settle("c", ANNA, Spent("m", "p", 1)) == []
    assert again.tell() == told == book(record=account.record()).untold
    assert again.untold == book(record=again.record()).tell() == []


def test_many_users_do_not_fill_the_record() -> None:
    account = book()
    for number in range(MAX_ROWS + 50):
        account.settle("x", Payer(f"web:a:{number}", "web"), Spent("m", "p", 1))
    rows = account.record().rows
    assert len(rows) <= MAX_ROWS + 1
    assert sum(row.input_tokens for row in rows) == MAX_ROWS + 50


@given(st.lists(st.tuples(st.integers(1, 60), st.integers(0, 60), st.booleans()), max_size=40), st.integers(0, 200))
def test_spent_and_reserved_never_pass_a_limit(calls: list[tuple[int, int, bool]], most: int) -> None:
    account = book(Limit(tokens=most))
    for number, (wanted, spent, settles) in enumerate(calls):
        try:
            account.reserve(str(number), ANNA, Demand(tokens=wanted), NOON, LATER)
        except OverBudget:
            continue
        if settles:
            account.settle(str(number), ANNA, Spent("m", "p", min(spent, wanted)))
        record = account.record()
        held = sum(hold.tokens for hold in record.holds.values())
        assert sum(row.input_tokens for row in record.rows) + held <= most
