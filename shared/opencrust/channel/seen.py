"""What came in already, for longer than the stream remembers ids.

The stream MSG_IN keeps the ids of ten minutes, and is the owner of duplicates for events that come within that. An
event that is older, or was fetched by a backfill, is looked for here first: platforms bring events again for a day
(Telegram) up to a week (WhatsApp, BlueBubbles), for instance after a night in which this machine was off.
"""

import base64
import hashlib
import logging
from datetime import UTC, datetime, timedelta
from typing import Final

from opencrust.bus import Bus, BusError, KeyExists

log = logging.getLogger(__name__)

FRESH: Final = timedelta(minutes=5)
"""Younger events are the stream's own: half of its window, for clocks that differ."""
_DAY: Final = 86_400
_MARGIN: Final = 1.15
"""Kept a little longer than the platform may bring it again."""


class Seen:
    """One channel's events.

    Args:
        days: for how long the platform may bring an event again.
    """

    def __init__(self, bus: Bus, channel: str, days: float) -> None:
        self._keys = bus.kv("ledger")
        self._channel = channel
        self._ttl = int(days * _DAY * _MARGIN)

    async def before(self, dedupe_id: str, at: datetime, *, backfill: bool) -> bool:
        """Whether it was stored before. Fresh events are not looked for: the stream knows them.

        Raises:
            BusError: it cannot be known now.
        """
        if not backfill and abs(datetime.now(UTC) - at) < FRESH:
            return False
        return await self._keys.get(self._key(dedupe_id)) is not None

    async def remember(self, dedupe_id: str) -> None:
        """It is stored. A failure is logged and no more: the event itself is safe."""
        try:
            await self._keys.create(self._key(dedupe_id), b"1", ttl=self._ttl)
        except KeyExists:
            return
        except BusError as error:
            log.warning("an event of %s is stored, but not noted as seen: %s", self._channel, error)

    def _key(self, dedupe_id: str) -> str:
        digest = hashlib.sha256(dedupe_id.encode()).digest()[:16]
        return f"{self._channel}.seen.{base64.b32encode(digest).decode().rstrip('=').lower()}"
