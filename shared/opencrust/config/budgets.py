"""What may be spent in a day, and what things cost. The agent's ledger holds it."""

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

Amount = Annotated[int, Field(ge=0)]
Money = Annotated[float, Field(ge=0, le=1_000_000)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class Limit(_Strict):
    """At most so much in a day (UTC). 0 is nothing at all. Every limit that fits a call must have room for it."""

    per: Literal["day", "user", "channel", "agent"] = "day"
    """``day``: everybody together. Else each user, channel or agent for himself."""
    name: Annotated[str, StringConstraints(min_length=1, max_length=300)] = "*"
    """Which ones, with ``*`` and ``?`` as in a shell. A user is ``<channel>:<account>:<user>``."""
    tokens: Amount | None = None
    money: Money | None = None
    """In the prices' currency."""
    tool_calls: Amount | None = None
    seconds: Amount | None = None
    """Of models and tools at work."""

    @model_validator(mode="after")
    def _limits_something(self) -> Self:
        if self.tokens is self.money is self.tool_calls is self.seconds is None:
            raise ValueError("a limit needs tokens, money, tool_calls or seconds")
        return self


class Price(_Strict):
    """What a model costs, in money for a million tokens."""

    model: Annotated[str, StringConstraints(min_length=1, max_length=200)]
    """Its name, with ``*`` and ``?`` as in a shell."""
    input: Money
    output: Money
    cached: Money | None = None
    """Of input that the provider had in its cache; like ``input`` where it is left out."""


class BudgetSettings(_Strict):
    """Under ``agent.budgets`` in the configuration file."""

    limits: tuple[Limit, ...] = Field(default=(), max_length=100)
    alert: Annotated[float, Field(gt=0, le=1)] = 0.8
    """The share of a limit at which the log and the audit say so."""
    prices: tuple[Price, ...] = Field(default=(), max_length=500)
    """Tried before the table that is shipped."""
    currency: Annotated[str, StringConstraints(pattern=r"^[A-Z]{3}$")] = "USD"
    """Of every price and limit. The shipped table is in USD and is not used with another."""
