"""A channel as a person configures it: what of ``channels`` in the configuration its service is told."""

from enum import StrEnum
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

PLATFORMS = ("telegram", "discord", "slack", "whatsapp", "imessage")
"""Channels to other people's platforms; ``web`` is the gateway's own, and needs no configuration."""

Url = Annotated[str, StringConstraints(pattern=r"^(https?|wss?)://[^\s?#@]+$", max_length=500)]
"""Without user, password, query or fragment: a secret belongs into the vault."""
Reference = Annotated[str, StringConstraints(pattern=r"^vault:[a-z0-9][a-z0-9_.-]{0,95}$")]
Option = bool | int | float | Annotated[str, StringConstraints(max_length=500)]


class ChannelMode(StrEnum):
    """How a platform's events come."""

    POLL = "poll"
    """We ask, or hold a connection open: nothing of ours is reachable from outside."""
    WEBHOOK = "webhook"
    """The platform calls us: needs a public address with TLS in front of :class:`Webhook`."""


class Webhook(BaseModel):
    """Where a platform's calls arrive."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    public_url: Annotated[str, StringConstraints(pattern=r"^https?://[^\s?#@]+$", max_length=500)]
    """What the platform is told; a reverse proxy with TLS leads from there to ``host:port``."""
    host: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9.:-]{1,100}$")] = "127.0.0.1"
    port: Annotated[int, Field(ge=1024, le=65535)] = 3890


class ChannelSettings(BaseModel):
    """One channel. Its service is started only when it stands in the configuration, and enabled."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    name: Annotated[str, StringConstraints(pattern=rf"^({'|'.join(PLATFORMS)})$")]
    enabled: bool = True
    mode: ChannelMode = ChannelMode.POLL
    api_base: Url | None = None
    """Instead of the platform's own address: a local Bot API server, a proxy, a simulator."""
    credentials: dict[Annotated[str, StringConstraints(pattern=r"^[a-z][a-z_]{0,31}$")], Reference] = {}
    """By the adapter's name for it (``token``): where it lies in the vault."""
    webhook: Webhook | None = None
    reply_hours: Annotated[float, Field(gt=0, le=24 * 30)] = 24.0
    """A reply that could not be sent for so long is stale, and dropped."""
    options: dict[Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,31}$")], Option] = {}
    """What only this platform's adapter understands."""

    def number(self, option: str, default: float) -> float:
        """An option that is a number; ``default`` where it is not set, or is none."""
        value = self.options.get(option, default)
        return default if isinstance(value, (bool, str)) else float(value)

    def text(self, option: str, default: str = "") -> str:
        """An option that is a text."""
        value = self.options.get(option, default)
        return value if isinstance(value, str) else default
