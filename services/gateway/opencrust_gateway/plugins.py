"""GET /v1/plugins, and enabling, disabling, removing one: asked of the agent, which runs them."""

from aiohttp import web
from pydantic import AwareDatetime, BaseModel, ValidationError

from opencrust.bus import Bus, NoResponders, subjects
from opencrust.contracts.base import decode, encode
from opencrust.contracts.plugins import PluginRecord, PluginRequest, PluginsReply
from opencrust_gateway.errors import ApiError, nobody_serves
from opencrust_gateway.http import documented, principal, told

ASK_SECONDS = 10.0


class PluginToolView(BaseModel):
    """A tool that it brings."""

    name: str
    description: str
    effects: list[str]


class PluginView(BaseModel):
    """A plugin. `sentences`: what it may do, as a person agreed to. `reason`: why the agent disabled it by itself."""

    name: str
    version: str
    enabled: bool
    reason: str
    sentences: list[str]
    tools: list[PluginToolView]
    signer: str
    installed: AwareDatetime
    by: str
    earlier: list[str]


class Plugins(BaseModel):
    """What is installed; after a change, the one that was changed."""

    plugins: list[PluginView]


class PluginDesk:
    """The handlers."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus

    @documented(answer=Plugins)
    async def list(self, request: web.Request) -> web.StreamResponse:
        """GET /v1/plugins: what is installed, and what each may do."""
        return told(await self._ask("list", PluginRequest()))

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
        try:
            question = PluginRequest(name=request.match_info["name"], by=f"web:{principal(request).owner}")
        except ValidationError:
            raise ApiError(404, "not_found", "no plugin has such a name") from None
        return await self._ask(op, question)

    async def _ask(self, op: str, question: PluginRequest) -> Plugins:
        try:
            subject = subjects.ctl_plugins("gateway", op)
            answer = await self._bus.request(subject, encode(question), timeout=ASK_SECONDS)
        except NoResponders:
            raise nobody_serves("plugins cannot be looked at now", "agent") from None
        reply = decode(PluginsReply, answer.data)
        if reply.error:
            raise ApiError(409, "not_done", reply.error)
        return Plugins(plugins=[view(record) for record in reply.plugins])


def view(record: PluginRecord) -> PluginView:
    """A plugin's record as clients are told it."""
    grant = record.current
    return PluginView(
        name=record.name,
        version=grant.version,
        enabled=record.enabled,
        reason=record.reason,
        sentences=grant.permissions,
        tools=[PluginToolView(name=t.name, description=t.description, effects=t.effects) for t in grant.tools],
        signer=grant.signer,
        installed=grant.at,
        by=grant.by,
        earlier=[earlier.version for earlier in record.previous],
    )
