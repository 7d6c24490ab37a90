"""``opencrust usage``: what was spent."""

import argparse
import json
from typing import Any

from opencrust.bus import Bus
from opencrust.config import AgentSettings
from opencrust.usage import MAX_DAYS, read_days, report
from opencrust_cli.bus import with_bus
from opencrust_cli.errors import EXIT_OK
from opencrust_cli.home import Home

USAGE = """\
Show what was spent: tokens, money where the price is known, tool calls, and time at work; by day (UTC), model, tool,
user and channel, and the limits.

Limits are set in OPENCRUST_HOME/config/config.json, under agent.budgets; docs/usage.md shows how. A limit of 0 is
nothing at all: then no model is asked.

exit codes: 0 shown · 1 failed · 3 OpenCrust is not running"""


def register(commands: Any) -> None:
    """Add the command to the parser."""
    form = argparse.RawDescriptionHelpFormatter
    usage = commands.add_parser("usage", help="what was spent", description=USAGE, formatter_class=form)
    usage.add_argument(
        "--days", type=_days, default=7, metavar="N", help=f"so many, today included (default 7, most {MAX_DAYS})"
    )
    usage.add_argument(
        "--json", action="store_true", help='{"currency", "days", "models", "tools", "users", "limits", …}'
    )
    usage.set_defaults(run=_usage)


def _days(text: str) -> int:
    days = int(text)
    if not 1 <= days <= MAX_DAYS:
        raise argparse.ArgumentTypeError(f"from 1 to {MAX_DAYS}")
    return days


def _usage(options: argparse.Namespace) -> int:
    home: Home = options.home

    async def read(bus: Bus) -> dict[str, Any]:
        entry = await bus.kv("cfg").get("agent.settings")
        settings = AgentSettings.model_validate_json(entry.value) if entry else AgentSettings()
        return report(await read_days(bus, options.days), settings.budgets)

    found = with_bus(home, read)
    print(json.dumps(found) if options.json else table(found))
    return EXIT_OK


def table(found: dict[str, Any]) -> str:
    """The report for a person."""
    currency = found["currency"]
    lines = []
    for title, label, rows in (
        ("DAY", "day", [day for day in found["days"] if day["calls"] or day["refused"]]),
        ("MODEL", "model", found["models"]),
        ("TOOL", "tool", found["tools"]),
        ("USER", "user", found["users"]),
        ("CHANNEL", "channel", found["channels"]),
    ):
        if rows:
            lines += [*_aligned([_heads(title, currency), *(_row(row, label) for row in rows)]), ""]
    if not lines:
        lines = ["Nothing was spent in these days.", ""]
    unknown = sum(day["unpriced_calls"] for day in found["days"])
    if unknown:
        lines.append(f"The price of {unknown} calls is not known: they are not in the money. Set agent.budgets.prices.")
    refused = sum(day["refused"] for day in found["days"])
    if refused:
        lines.append(f"{refused} calls were not made, for a limit's sake.")
    lines += [f"limit: {_limit(limit, currency)}" for limit in found["limits"]] or ["No limits are set."]
    lines += [f"today: {alert}" for alert in found["alerts"]]
    return "\n".join(lines)


def _heads(title: str, currency: str) -> tuple[str, ...]:
    return (title, "CALLS", "TOKENS IN", "TOKENS OUT", currency, "TOOL CALLS", "SECONDS")


def _row(row: dict[str, Any], label: str) -> tuple[str, ...]:
    cost = f"{row['cost']:.4f}" + ("+?" if row["unpriced_calls"] else "")
    return (
        str(row[label]),
        f"{row['calls']:,}",
        f"{row['input_tokens']:,}",
        f"{row['output_tokens']:,}",
        cost,
        f"{row['tool_calls']:,}",
        f"{row['seconds']:,.0f}",
    )


def _aligned(rows: list[tuple[str, ...]]) -> list[str]:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return [
        "  ".join(
            cell.rjust(width) if at else cell.ljust(width)
            for at, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    ]


def _limit(limit: dict[str, Any], currency: str) -> str:
    units = {"tokens": "tokens", "money": currency, "tool_calls": "tool calls", "seconds": "seconds"}
    most = " and ".join(f"{limit[name]:,} {unit}" for name, unit in units.items() if name in limit)
    if limit["per"] == "day":
        return f"{most} a day, everybody together"
    name = "" if limit["name"] == "*" else f" named {limit['name']}"
    return f"{most} a day for each {limit['per']}{name}"
