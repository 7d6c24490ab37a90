"""Following a channel's settings in the bucket ``cfg``, where the provisioner publishes them."""

import asyncio
import logging

from pydantic import ValidationError

from opencrust.bus import Bus, Message, subjects
from opencrust.config import ChannelSettings
from opencrust.contracts.base import explain

log = logging.getLogger(__name__)


class SettingsFollower:
    """The present settings of one channel; None while it is not configured or switched off."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._key = f"{bus.service}.settings"
        self._seen: bytes | None = None
        self.now: ChannelSettings | None = None
        self.changed = asyncio.Event()
        """Set at every change; whoever acts on it clears it."""

    async def follow(self) -> None:
        """Read them, and again at every change and reconnect. Raises BusError."""
        await self._bus.subscribe(subjects.wildcard(subjects.EVT_CFG, service=self._bus.service), self._heard)
        self._bus.on_reconnect(self.read)
        await self.read()

    async def read(self) -> None:
        """Read them now. What cannot be read leaves things as they are, with an error in the log."""
        entry = await self._bus.kv("cfg").get(self._key)
        data = b"null" if entry is None else entry.value
        if data == self._seen:
            return
        try:
            settings = None if data == b"null" else ChannelSettings.model_validate_json(data)
        except ValidationError as error:
            log.error("settings not taken over: %s", explain(error))
            return
        self._seen = data
        self.now = settings if settings is not None and settings.enabled else None
        self.changed.set()

    async def _heard(self, message: Message) -> None:
        await self.read()
