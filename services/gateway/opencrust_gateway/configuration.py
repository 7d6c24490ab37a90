"""GET /v1/settings: what was set, as the services see it. There is no secret in it: the loader refuses them."""

import json
from typing import Any

from aiohttp import web
from pydantic import BaseModel

import opencrust
from opencrust.bus import Bus
from opencrust.bus.archive import Archive
from opencrust_gateway.http import documented, told
from opencrust_gateway.settings import GatewaySettings

_PREFIX = "$KV.cfg."


class SettingsTold(BaseModel):
    """`gateway`: where it listens, and its limits. `services`: by service and key, as in config.json."""

    version: str
    gateway: dict[str, Any]
    services: dict[str, dict[str, Any]]


class ConfigurationDesk:
    """The handler."""

    def __init__(self, bus: Bus, settings: GatewaySettings) -> None:
        self._bucket = bus.kv("cfg")
        self._stream = Archive(bus, "KV_cfg")
        self._settings = settings

    @documented(answer=SettingsTold)
    async def show(self, request: web.Request) -> web.StreamResponse:
        """GET /v1/settings: the settings of all services. Credentials appear as ``vault:NAME``."""
        services: dict[str, dict[str, Any]] = {}
        for subject in sorted(await self._stream.subjects(f"{_PREFIX}>")):
            key = subject.removeprefix(_PREFIX)
            entry = await self._bucket.get(key)
            if entry is not None:
                service, _, name = key.partition(".")
                services.setdefault(service, {})[name] = _value(entry.value)
        return told(SettingsTold(version=opencrust.__version__, gateway=self._gateway(), services=services))

    def _gateway(self) -> dict[str, Any]:
        settings = self._settings
        return {
            "url": sorted(settings.origins),
            "listens_on": f"{settings.host}:{settings.port}",
            "tls": settings.certificate is not None,
            "trusted_proxy": settings.trusted_proxy,
            "largest_attachment": settings.limits.attachment,
            "largest_body": settings.limits.body,
        }


def _value(raw: bytes) -> Any:
    try:
        return json.loads(raw)
    except ValueError:
        return "not readable"
