"""GET /v1/health and /v1/channels: how every service is, as each of its processes says itself."""

import asyncio
import json
from typing import Any

from aiohttp import web
from pydantic import BaseModel

from opencrust.bus import Bus
from opencrust.bus.registry import CHANNELS, IDENTITIES
from opencrust.bus.survey import Report, survey
from opencrust_gateway.http import documented, told

SERVICES = tuple(identity.service for identity in IDENTITIES if not identity.tool)
KEPT = 1.0
"""Seconds for which an answer of the services is told again: many tabs ask them once."""
_ALWAYS = frozenset({"agent", "gateway", "vault", "dlq"})
"""Services that every house runs; a channel counts as missing only where it is configured."""


class Replica(BaseModel):
    """One process. `role` is its part among its replicas, such as "active" or "standby", where it has one."""

    instance: str
    ready: bool
    version: str
    uptime: float
    role: str | None
    facts: dict[str, Any]


class Service(BaseModel):
    """A service. Without replicas it does not answer."""

    name: str
    ready: bool
    replicas: list[Replica]


class Health(BaseModel):
    """`ready` if every service that ought to run has a replica that is."""

    ready: bool
    services: list[Service]


class ChannelState(BaseModel):
    """A channel; `configured` if somebody set it up, or it runs."""

    name: str
    service: str
    configured: bool
    replicas: list[Replica]


class Channels(BaseModel):
    """All channels that there are."""

    channels: list[ChannelState]


class HealthDesk:
    """The handlers."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._settings = bus.kv("cfg")
        self._lock = asyncio.Lock()
        self._known: list[Report] = []
        self._asked = float("-inf")

    @documented(answer=Health)
    async def health(self, request: web.Request) -> web.StreamResponse:
        """GET /v1/health: each service and its replicas, ready or not, with what they say of themselves."""
        reports, configured = await asyncio.gather(self._reports(), self._configured())
        services = [_service(name, reports) for name in SERVICES if name in _ALWAYS | configured or _of(name, reports)]
        return told(Health(ready=all(service.ready for service in services), services=services))

    @documented(answer=Channels)
    async def channels(self, request: web.Request) -> web.StreamResponse:
        """GET /v1/channels: each channel, whether it is set up, and its replicas."""
        reports, configured = await asyncio.gather(self._reports(), self._configured())
        return told(Channels(channels=[_channel(c.name, c.service, reports, configured) for c in CHANNELS]))

    async def _reports(self) -> list[Report]:
        async with self._lock:
            loop = asyncio.get_running_loop()
            if loop.time() - self._asked > KEPT:
                self._known = await survey(self._bus, SERVICES)
                self._asked = loop.time()
            return self._known

    async def _configured(self) -> frozenset[str]:
        """The services of the channels that somebody set up."""
        services = [channel.service for channel in CHANNELS if channel.name != "web"]
        found = await asyncio.gather(*(self._settings.get(f"{service}.settings") for service in services))
        pairs = zip(services, found, strict=True)
        return frozenset(service for service, entry in pairs if entry is not None and is_enabled(entry.value))


def is_enabled(settings: bytes) -> bool:
    """Whether a channel's settings, as the provisioner publishes them, say that it is to run: ``null`` says no."""
    try:
        told_ = json.loads(settings)
    except ValueError:
        return False
    return isinstance(told_, dict) and told_.get("enabled") is not False


def _of(service: str, reports: list[Report]) -> list[Replica]:
    return [_replica(report) for report in reports if report.service == service]


def _replica(report: Report) -> Replica:
    role = report.facts.get("role")
    return Replica(
        instance=report.instance,
        ready=report.ready,
        version=report.version,
        uptime=report.uptime,
        role=role if isinstance(role, str) else None,
        facts=report.facts,
    )


def _service(name: str, reports: list[Report]) -> Service:
    replicas = _of(name, reports)
    return Service(name=name, ready=any(replica.ready for replica in replicas), replicas=replicas)


def _channel(name: str, service: str, reports: list[Report], configured: frozenset[str]) -> ChannelState:
    replicas = _of(service, reports)
    known = name == "web" or service in configured or bool(replicas)
    return ChannelState(name=name, service=service, configured=known, replicas=replicas)
