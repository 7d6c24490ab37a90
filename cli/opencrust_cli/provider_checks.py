"""What `opencrust status` shows of model providers: which of them rest after failures, since when, and until when.

Every agent has its own circuit breakers (services/agent/opencrust_agent/models/breaker.py), and tells how they stand
among the facts of its health.
"""

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Annotated, Literal

from pydantic import Field, TypeAdapter, ValidationError

from opencrust.bus.survey import Report
from opencrust.contracts.base import Contract
from opencrust_cli.printable import printable

AGENT = "agent"
WHY = {
    "rate_limit": "it says that it is asked too much",
    "overloaded": "it says that it is overloaded",
    "server": "errors of its own",
    "connection": "it cannot be reached",
    "truncated": "its answers broke off",
    "protocol": "its answers cannot be read",
    "timeout": "it did not answer in time",
    "auth": "it refuses the key",
}
"""A breaker's last error, as a person reads it."""

Seconds = Annotated[float, Field(ge=0, le=366 * 86_400)]


class Standing(Contract):
    """How one agent stands with one provider. The demo model has no breaker, and always counts as closed."""

    provider: str
    model: str = ""
    state: Literal["closed", "open", "half_open"] = "closed"
    """half_open: its rest is over, and the next message tries it."""
    open_for: Seconds = 0.0
    """Seconds since it is out of use."""
    retry_in: Seconds = 0.0
    """Seconds until it is tried again."""
    last_error: str | None = None
    agent: str = ""
    """The replica that says so."""


_TOLD = TypeAdapter(list[dict[str, object]])


def standings(reports: Iterable[Report]) -> list[Standing]:
    """What the agents say of their providers, in the order in which they are asked; what cannot be read is left out."""
    found: list[Standing] = []
    for report in reports:
        if report.service != AGENT:
            continue
        try:
            told = _TOLD.validate_python(report.facts.get("providers", []))
            fields = [{name: one[name] for name in Standing.model_fields if name in one} for one in told]
            found += [Standing.model_validate({**one, "agent": report.instance}) for one in fields]
        except ValidationError:
            continue
    return found


def lines(standings: Iterable[Standing], now: datetime) -> list[str]:
    """A line for each provider that is out of use; with several agents, of the one that waits longest. Pure.

    Args:
        now: with the zone that times are shown in.
    """
    by_name: dict[str, list[Standing]] = {}
    for standing in standings:
        by_name.setdefault(standing.provider, []).append(standing)
    said = []
    for name, all_of_it in by_name.items():
        resting = [standing for standing in all_of_it if standing.state != "closed"]
        if not resting:
            continue
        worst = max(resting, key=lambda standing: standing.retry_in)
        where = f", for {len(resting)} of {len(all_of_it)} agents" if len(all_of_it) > 1 else ""
        since = _time(now - timedelta(seconds=max(standing.open_for for standing in resting)), now)
        again = (
            f"tried again at {_time(now + timedelta(seconds=worst.retry_in), now)}"
            if worst.state == "open"
            else "tried again with the next message"
        )
        why = WHY.get(worst.last_error or "", "it asked for a pause")
        said.append(f"provider {printable(name)}: out of use since {since}{where}: {why}; {again}")
    return said


def _time(at: datetime, now: datetime) -> str:
    return at.strftime("%H:%M:%S" if at.date() == now.date() else "%Y-%m-%d %H:%M:%S")
