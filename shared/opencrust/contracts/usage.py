"""What a day cost: the record of the bucket ``usage``, one per day (UTC), key ``day.<YYYY-MM-DD>``.

Written by the agent alone, by compare-and-set. Money is in millionths of the currency that the prices are in.
"""

from datetime import date
from typing import Annotated

from pydantic import AwareDatetime, Field, StringConstraints

from opencrust.contracts.base import Contract, Versioned

MAX_ROWS = 1000
"""Rows of a day; what comes when it is full is counted in a row of the name ``(others)``."""
Name = Annotated[str, StringConstraints(max_length=300)]
Count = Annotated[int, Field(ge=0)]


class UsageRow(Contract):
    """What one person spent through one channel on one model or one tool."""

    user: Name
    """``<channel>:<account>:<user>``."""
    channel: Name
    agent: Name = "main"
    provider: Name = ""
    """The configured name; empty for a tool."""
    name: Name
    """The model, or the tool."""
    calls: Count = 0
    """Requests that were made, failed ones included."""
    input_tokens: Count = 0
    output_tokens: Count = 0
    cached_tokens: Count = 0
    micros: Count = 0
    """Money, where the price is known."""
    unpriced: Count = 0
    """Calls whose price is not known: they may have cost money that is not in ``micros``."""
    estimated: Count = 0
    """Calls whose tokens the provider did not say."""
    tool_calls: Count = 0
    seconds: Annotated[float, Field(ge=0)] = 0.0


class UsageHold(Contract):
    """Something reserved that is not settled yet. One whose worker died counts until it expires."""

    user: Name
    channel: Name
    agent: Name = "main"
    tokens: Count = 0
    micros: Count = 0
    tool_calls: Count = 0
    seconds: Annotated[float, Field(ge=0)] = 0.0
    expires: AwareDatetime


class DayUsage(Versioned):
    """One day."""

    day: date
    rows: list[UsageRow] = []
    holds: dict[str, UsageHold] = {}
    alerts: list[Annotated[str, StringConstraints(max_length=500)]] = []
    """Limits of which more than the alert's share is used: each is told once a day."""
    told: list[Annotated[str, StringConstraints(max_length=500)]] = []
    """Those of them that an owner was told of in a chat."""
    refused: Count = 0
    """Calls that were not made, for a limit's sake."""
