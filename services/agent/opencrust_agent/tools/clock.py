"""``clock``: what time it is. Models do not know."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from opencrust_agent.tools.tool import Effect, ToolContext, ToolResult, ToolSpec


class Clock:
    """The time, in any time zone."""

    spec = ToolSpec(
        name="clock",
        description="Date, weekday and time now, in an IANA time zone such as Europe/Berlin; UTC without one.",
        parameters={
            "type": "object",
            "properties": {"zone": {"type": "string", "maxLength": 64, "description": "IANA time zone"}},
        },
        effects=frozenset({Effect.READ}),
        taints=False,
        timeout=5.0,
    )

    def __init__(self, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._now = now

    async def call(self, arguments: dict[str, Any], context: ToolContext) -> ToolResult:
        """See the spec."""
        name = arguments.get("zone") or "UTC"
        try:
            zone = ZoneInfo(name)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            return ToolResult("No such time zone. Give one like Europe/Berlin or America/New_York.", failed=True)
        here = self._now().astimezone(zone)
        return ToolResult(
            f"{here:%A, %Y-%m-%d %H:%M:%S} {here:%Z} (UTC{here:%z}, {name})", summary=f"{here:%H:%M} {name}"
        )
