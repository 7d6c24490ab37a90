"""GET /v1/usage: what the models and tools cost, by day, model, person and channel."""

from typing import Annotated, Any

from aiohttp import web
from pydantic import BaseModel, Field, ValidationError

from opencrust import usage
from opencrust.bus import Bus
from opencrust.config import AgentSettings
from opencrust_gateway.http import Given, documented, read_query, told

SETTINGS = "agent.settings"


class Span(Given):
    """`days`: how many, today (UTC) included."""

    days: Annotated[int, Field(ge=1, le=usage.MAX_DAYS)] = 30


class UsageReport(BaseModel):
    """Sums; days newest first. `cost` is in `currency`, without the `unpriced_calls`, whose price is not known."""

    currency: str
    days: list[dict[str, Any]]
    models: list[dict[str, Any]]
    tools: list[dict[str, Any]]
    users: list[dict[str, Any]]
    channels: list[dict[str, Any]]
    limits: list[dict[str, Any]]
    alerts: list[str]


class UsageDesk:
    """The handler."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus

    @documented(query=Span, answer=UsageReport)
    async def show(self, request: web.Request) -> web.StreamResponse:
        """GET /v1/usage: what was spent, and the limits."""
        wanted = read_query(request, Span)
        entry = await self._bus.kv("cfg").get(SETTINGS)
        try:
            settings = AgentSettings.model_validate_json(entry.value) if entry else AgentSettings()
        except ValidationError:
            settings = AgentSettings()  # a newer agent's; the sums are right all the same
        days = await usage.read_days(self._bus, wanted.days)
        return told(UsageReport.model_validate(usage.report(days, settings.budgets)))
