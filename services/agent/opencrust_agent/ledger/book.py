"""One day's account: what was spent, what is reserved, what the limits say. Pure arithmetic."""

from dataclasses import dataclass, replace
from datetime import datetime
from fnmatch import fnmatchcase

from opencrust.config.budgets import BudgetSettings, Limit
from opencrust.contracts.usage import MAX_ROWS, DayUsage, UsageHold, UsageRow

OTHERS = "(others)"
MICROS = 1_000_000


class OverBudget(Exception):
    """A limit has no room for the call; it is not made. The text is for the person."""


@dataclass(frozen=True, slots=True)
class Payer:
    """On whose account. ``user`` is ``<channel>:<account>:<user>``."""

    user: str
    channel: str
    agent: str = "main"


@dataclass(frozen=True, slots=True)
class Demand:
    """The most that a call may cost. ``micros`` None: its price is not known."""

    tokens: int = 0
    micros: int | None = 0
    tool_calls: int = 0
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Spent:
    """What a call did cost."""

    name: str
    provider: str = ""
    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    micros: int | None = 0
    tool_calls: int = 0
    seconds: float = 0.0
    estimated: bool = False


@dataclass(frozen=True, slots=True)
class _Total:
    tokens: int = 0
    micros: int = 0
    tool_calls: int = 0
    seconds: float = 0.0


class Book:
    """A day's record while it is written to.

    Args:
        record: as it is stored.
        budgets: of the moment.
    """

    def __init__(self, record: DayUsage, budgets: BudgetSettings) -> None:
        self.day = record.day
        self._budgets = budgets
        self._rows = {_key(row): row for row in record.rows}
        self._holds = dict(record.holds)
        self._alerts = list(record.alerts)
        self._told = list(record.told)
        self._refused = record.refused

    def record(self) -> DayUsage:
        """As it is to be stored."""
        return DayUsage(
            day=self.day,
            rows=list(self._rows.values()),
            holds=self._holds,
            alerts=self._alerts,
            told=self._told,
            refused=self._refused,
        )

    def reserve(self, hold: str, payer: Payer, demand: Demand, at: datetime, until: datetime) -> None:
        """Set aside what a call may cost.

        Raises:
            OverBudget: a limit has no room for it. That it was refused is counted.
        """
        self._holds = {name: held for name, held in self._holds.items() if held.expires > at}
        for limit in self._limits_of(payer):
            why = self._why_not(limit, payer, demand)
            if why:
                self._refused += 1
                raise OverBudget(why)
        self._holds[hold] = UsageHold(
            user=payer.user,
            channel=payer.channel,
            agent=payer.agent,
            tokens=demand.tokens,
            micros=demand.micros or 0,
            tool_calls=demand.tool_calls,
            seconds=demand.seconds,
            expires=until,
        )

    def settle(self, hold: str, payer: Payer, spent: Spent | None) -> list[str]:
        """Count what a call did cost in place of its reservation; ``None``: it was not made.

        Counted also where the reservation has expired or is unknown: it was spent. Returns the limits that passed the
        alert's share with it, as sentences.
        """
        self._holds.pop(hold, None)
        if spent is None:
            return []
        row = UsageRow(
            user=payer.user, channel=payer.channel, agent=payer.agent, provider=spent.provider, name=spent.name
        )
        if _key(row) not in self._rows and len(self._rows) >= MAX_ROWS:
            row = row.model_copy(update={"user": OTHERS, "name": OTHERS, "provider": ""})
        row = self._rows.get(_key(row), row)
        self._rows[_key(row)] = row.model_copy(
            update={
                "calls": row.calls + 1,
                "input_tokens": row.input_tokens + spent.input_tokens,
                "output_tokens": row.output_tokens + spent.output_tokens,
                "cached_tokens": row.cached_tokens + spent.cached_tokens,
                "micros": row.micros + (spent.micros or 0),
                "unpriced": row.unpriced + (spent.micros is None),
                "estimated": row.estimated + spent.estimated,
                "tool_calls": row.tool_calls + spent.tool_calls,
                "seconds": round(row.seconds + spent.seconds, 3),
            }
        )
        return self._new_alerts(payer)

    @property
    def untold(self) -> list[str]:
        """Alerts that no owner was told of yet."""
        return [text for text in self._alerts if text not in self._told]

    def tell(self) -> list[str]:
        """The same; with this they count as told."""
        news = self.untold
        self._told += news
        return news

    def _limits_of(self, payer: Payer) -> list[Limit]:
        names = {"day": "*", "user": payer.user, "channel": payer.channel, "agent": payer.agent}
        return [
            limit
            for limit in self._budgets.limits
            if limit.per == "day" or fnmatchcase(names[limit.per].lower(), limit.name.lower())
        ]

    def _total(self, limit: Limit, payer: Payer, *, held: bool) -> _Total:
        """Spent, and reserved where ``held``, by all whom the limit counts together."""
        total = _Total()
        for row in self._rows.values():
            if _together(limit, payer, row):
                total = replace(
                    total,
                    tokens=total.tokens + row.input_tokens + row.output_tokens,
                    micros=total.micros + row.micros,
                    tool_calls=total.tool_calls + row.tool_calls,
                    seconds=total.seconds + row.seconds,
                )
        for hold in self._holds.values() if held else ():
            if _together(limit, payer, hold):
                total = replace(
                    total,
                    tokens=total.tokens + hold.tokens,
                    micros=total.micros + hold.micros,
                    tool_calls=total.tool_calls + hold.tool_calls,
                    seconds=total.seconds + hold.seconds,
                )
        return total

    def _why_not(self, limit: Limit, payer: Payer, demand: Demand) -> str:
        total = self._total(limit, payer, held=True)
        whose = _whose(limit, payer)
        money = self._budgets.currency
        if limit.tokens is not None and demand.tokens and total.tokens + demand.tokens > limit.tokens:
            return f"the budget of {limit.tokens:,} tokens a day for {whose} has no room for it ({_used(total.tokens)})"
        if limit.money is not None and (demand.micros is None or demand.micros):
            most = round(limit.money * MICROS)
            if total.micros + (demand.micros or 0) > most or (demand.micros is None and total.micros >= most):
                used = f"{total.micros / MICROS:.2f} used or reserved"
                return f"the budget of {limit.money:g} {money} a day for {whose} has no room for it ({used})"
        if limit.tool_calls is not None and total.tool_calls + demand.tool_calls > limit.tool_calls:
            return f"the budget of {limit.tool_calls} tool calls a day for {whose} is used up"
        if limit.seconds is not None and (limit.seconds == 0 or total.seconds >= limit.seconds):
            return f"the budget of {limit.seconds} seconds a day for {whose} is used up"
        return ""

    def _new_alerts(self, payer: Payer) -> list[str]:
        found = []
        for limit in self._limits_of(payer):
            total = self._total(limit, payer, held=False)
            used = (
                ("tokens", limit.tokens, total.tokens),
                (self._budgets.currency, limit.money, total.micros / MICROS),
                ("tool calls", limit.tool_calls, total.tool_calls),
                ("seconds", limit.seconds, total.seconds),
            )
            for unit, most, spent in used:
                if not most or spent < self._budgets.alert * most:
                    continue
                text = f"{self._budgets.alert:.0%} of {most:g} {unit} a day for {_whose(limit, payer)} is used"
                if text not in self._alerts:
                    found.append(text)
        self._alerts += found
        return found


def _key(row: UsageRow) -> tuple[str, ...]:
    return row.user, row.channel, row.agent, row.provider, row.name


def _together(limit: Limit, payer: Payer, item: UsageRow | UsageHold) -> bool:
    match limit.per:
        case "user":
            return item.user == payer.user
        case "channel":
            return item.channel == payer.channel
        case "agent":
            return item.agent == payer.agent
    return True


def _whose(limit: Limit, payer: Payer) -> str:
    match limit.per:
        case "user":
            return f"user {payer.user}"
        case "channel":
            return f"the channel {payer.channel}"
        case "agent":
            return f"the agent {payer.agent}"
    return "everybody together"


def _used(tokens: int) -> str:
    return f"{tokens:,} used or reserved"
