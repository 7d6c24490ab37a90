"""What a person sees of what was spent."""

from datetime import date

from opencrust.config.budgets import BudgetSettings, Limit
from opencrust.contracts.usage import DayUsage, UsageRow
from opencrust.usage import report
from opencrust_cli.main import parser
from opencrust_cli.usage import table

ROWS = [
    UsageRow(user="web:a:anna", channel="web", provider="main", name="gpt-4o", calls=2, input_tokens=1500,
             output_tokens=500, micros=12_345, unpriced=1, seconds=2.5),
    UsageRow(user="web:a:bert", channel="web", name="clock", calls=3, tool_calls=3),
]  # fmt: skip
BUDGETS = BudgetSettings(limits=(Limit(money=2.5), Limit(per="user", name="web:*", tokens=10_000)))


def test_sums_by_everything_that_matters() -> None:
    days = [DayUsage(day=date(2026, 5, 2), rows=ROWS, refused=1), DayUsage(day=date(2026, 5, 1), rows=ROWS[:1])]
    found = report(days, BUDGETS)
    assert [day["input_tokens"] for day in found["days"]] == [1500, 1500]
    assert found["models"][0] | {"seconds": 0} == {
        "model": "gpt-4o", "calls": 4, "input_tokens": 3000, "output_tokens": 1000, "cached_tokens": 0,
        "cost": 0.02469, "unpriced_calls": 2, "estimated_calls": 0, "tool_calls": 0, "seconds": 0,
    }  # fmt: skip
    assert [tool["tool"] for tool in found["tools"]] == ["clock"]
    assert [user["user"] for user in found["users"]] == ["web:a:anna", "web:a:bert"]


def test_the_table_says_what_is_not_known_and_what_is_limited() -> None:
    shown = table(report([DayUsage(day=date(2026, 5, 2), rows=ROWS, refused=1, alerts=["80% …"])], BUDGETS))
    assert "0.0123+?" in shown
    assert "price of 1 calls is not known" in shown
    assert "1 calls were not made" in shown
    assert "limit: 2.5 USD a day, everybody together" in shown
    assert "limit: 10,000 tokens a day for each user named web:*" in shown
    assert "today: 80% …" in shown


def test_nothing_is_said_plainly() -> None:
    assert table(report([DayUsage(day=date(2026, 5, 2))], BudgetSettings())).splitlines()[0] == (
        "Nothing was spent in these days."
    )


def test_the_command_is_there() -> None:
    options = parser(["usage"]).parse_args(["usage", "--days", "30", "--json"])
    assert (options.days, options.json) == (30, True)
