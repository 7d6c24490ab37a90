"""GET /v1/plugins, and enabling, disabling, removing one: asked of the agent, which runs them."""

import json
import re
from typing import Any

from aiohttp import web
from pydantic import BaseModel

from opencrust.bus import Bus, NoResponders, subjects
from opencrust_gateway.errors import ApiError, nobody_serves
from opencrust_gateway.http import documented, principal, told

ASK_SECONDS = 10.0
_NAME = re.compile(r"[a-z0-9][a-z0-9_.-]{0,63}")


class Plugins(BaseModel):
    """What is installed: of each name, version, whether it is enabled, and what it may do, as the agent tells it."""

    plugins: list[dict[str, Any]]


class PluginDesk:
    """The handlers."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus

    @documented(answer=Plugins)
    async def list(self, request: web.Request) -> web.StreamResponse:
        """GET /v1/plugins: what is installed, and what each may do."""
        return told(await self._ask("list", {}))

    @documented(answer=Plugins)
    async def enable(self, request: web.Request) -> web.StreamResponse:
        """POST /v1/plugins/{name}/enable: its tools may be used again."""
        return told(await self._change("enable", request))

    @documented(answer=Plugins)
    async def disable(self, request: web.Request) -> web.StreamResponse:
        """POST /v1/plugins/{name}/disable: its tools are not there until it is enabled."""
        return told(await self._change("disable", request))

    @documented(answer=Plugins)
    async def remove(self, request: web.Request) -> web.StreamResponse:
        """DELETE /v1/plugins/{name}: the plugin, its grants and what it kept."""
        return told(await self._change("remove", request))

    async def _change(self, op: str, request: web.Request) -> Plugins:
        name = request.match_info["name"]
        if not _NAME.fullmatch(name):
            raise ApiError(404, "not_found", "no plugin has such a name")
        return await self._ask(op, {"name": name, "by": f"web:{principal(request).owner}"})

    async def _ask(self, op: str, question: dict[str, Any]) -> Plugins:
        try:
            subject = subjects.ctl_plugins("gateway", op)
            answer = await self._bus.request(subject, json.dumps({"v": 1, **question}).encode(), timeout=ASK_SECONDS)
        except NoResponders:
            raise nobody_serves("plugins cannot be looked at now", "agent") from None
        reply = json.loads(answer.data)
        if reply.get("error"):
            raise ApiError(409, "not_done", str(reply["error"]))
        return Plugins(plugins=reply.get("plugins", []))
