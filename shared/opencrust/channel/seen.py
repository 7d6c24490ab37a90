"""What came in already, for as long as a platform may bring it again: a day (Telegram) to a week (WhatsApp, iMessage).

The stream MSG_IN knows the ids of ten minutes. So each event has a note in the ledger, written **before** it is
published (*begun*) and once more after the stream has it (*stored*). Whoever meets an event again reads there:

* *stored*: it is on the bus; nothing is published again, however old it is;
* *begun*: somebody died, or lost the bus, between the two notes. Whether the stream has it cannot be known here, and an
  adapter has no right to look. It is published once more, under the same id, marked ``again``: within ten minutes the
  stream drops it, and after that the agent looks into the stream before it answers (:mod:`opencrust_agent.again`).

So no moment is left in which a kill could give the agent a message twice, or lose one.
"""

import base64
import hashlib
import logging
from enum import StrEnum
from typing import Final

from opencrust.bus import Bus, BusError, KeyExists, StreamFull

log = logging.getLogger(__name__)

_DAY: Final = 86_400
_MARGIN: Final = 1.15
"""Kept a little longer than the platform may bring it again."""
_BEGUN: Final = b"0"
_STORED: Final = b"1"


class Before(StrEnum):
    """What is known of an event that comes in."""

    NEW = "new"
    BEGUN = "begun"
    """It may be stored: publish it, marked ``again``."""
    STORED = "stored"


class Seen:
    """One channel's events.

    Args:
        days: for how long the platform may bring an event again.
    """

    def __init__(self, bus: Bus, channel: str, days: float) -> None:
        self._keys = bus.kv("ledger")
        self._channel = channel
        self._ttl = int(days * _DAY * _MARGIN)

    async def begin(self, dedupe_id: str) -> Before:
        """Note that an event is being stored, and tell what was known of it before that.

        Raises:
            BusError: it cannot be noted now; do not store it.
        """
        key = self._key(dedupe_id)
        try:
            await self._keys.create(key, _BEGUN, ttl=self._ttl)
        except KeyExists:
            entry = await self._keys.get(key)
            return Before.STORED if entry is not None and entry.value == _STORED else Before.BEGUN
        except StreamFull:
            log.error("the ledger is full: events are taken all the same, and the agent looks for doubles")
            return Before.BEGUN
        return Before.NEW

    async def stored(self, dedupe_id: str) -> None:
        """The stream has it. A failure is logged and no more: whoever meets the event again lets the agent look."""
        try:
            await self._keys.put(self._key(dedupe_id), _STORED, ttl=self._ttl)
        except BusError as error:
            log.warning("an event of %s is stored, but not noted as such: %s", self._channel, error)

    def _key(self, dedupe_id: str) -> str:
        digest = hashlib.sha256(dedupe_id.encode()).digest()[:16]
        return f"{self._channel}.seen.{base64.b32encode(digest).decode().rstrip('=').lower()}"
