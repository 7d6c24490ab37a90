"""Reading what was spent: for the command line and the gateway. The agent alone writes it."""

from collections import defaultdict
from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta
from typing import Any

from opencrust.bus import Bus
from opencrust.config.budgets import BudgetSettings
from opencrust.contracts import ContractError, decode
from opencrust.contracts.usage import DayUsage, UsageRow

BUCKET = "usage"
MAX_DAYS = 366


def key(day: date) -> str:
    """The key of a day's record."""
    return f"day.{day.isoformat()}"


def today() -> date:
    """The day that is written to now, in UTC."""
    return datetime.now(UTC).date()


async def read_days(bus: Bus, days: int) -> list[DayUsage]:
    """The last ``days`` days, newest first; days without a record are empty ones.

    Raises:
        BusError: the bucket cannot be read.
    """
    bucket = bus.kv(BUCKET)
    found = []
    for back in range(min(max(days, 1), MAX_DAYS)):
        day = today() - timedelta(days=back)
        entry = await bucket.get(key(day))
        try:
            found.append(decode(DayUsage, entry.value) if entry else DayUsage(day=day))
        except ContractError:
            found.append(DayUsage(day=day, alerts=["this day's record is damaged and cannot be read"]))
    return found


def report(days: list[DayUsage], budgets: BudgetSettings) -> dict[str, Any]:
    """Sums as plain JSON data: by day, by model and tool, by user, by channel; the limits and how far they are used
    today (the first of ``days``)."""
    rows = [row for day in days for row in day.rows]
    return {
        "currency": budgets.currency,
        "days": [{"day": day.day.isoformat(), **_sum(day.rows), "refused": day.refused} for day in days],
        "models": _by(rows, lambda row: row.name if row.provider else "", "model"),
        "tools": _by(rows, lambda row: "" if row.provider else row.name, "tool"),
        "users": _by(rows, lambda row: row.user, "user"),
        "channels": _by(rows, lambda row: row.channel, "channel"),
        "limits": [limit.model_dump(mode="json", exclude_none=True) for limit in budgets.limits],
        "alerts": days[0].alerts if days else [],
    }


def _by(rows: Iterable[UsageRow], name: Any, label: str) -> list[dict[str, Any]]:
    groups: dict[str, list[UsageRow]] = defaultdict(list)
    for row in rows:
        if group := name(row):
            groups[group].append(row)
    found = [{label: group, **_sum(members)} for group, members in groups.items()]
    return sorted(found, key=lambda item: (-item["cost"], -item["input_tokens"] - item["output_tokens"], item[label]))


def _sum(rows: Iterable[UsageRow]) -> dict[str, Any]:
    rows = list(rows)
    return {
        "calls": sum(row.calls for row in rows),
        "input_tokens": sum(row.input_tokens for row in rows),
        "output_tokens": sum(row.output_tokens for row in rows),
        "cached_tokens": sum(row.cached_tokens for row in rows),
        "cost": sum(row.micros for row in rows) / 1_000_000,
        "unpriced_calls": sum(row.unpriced for row in rows),
        "estimated_calls": sum(row.estimated for row in rows),
        "tool_calls": sum(row.tool_calls for row in rows),
        "seconds": round(sum(row.seconds for row in rows), 1),
    }
