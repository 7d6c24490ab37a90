"""``/stop``: out of band. The running answer ends, and what of earlier ones is not sent yet is dropped."""

import json
import logging
from datetime import UTC, datetime
from typing import Final

from opencrust.bus import Bus, BusError, subjects

log = logging.getLogger(__name__)

KEPT: Final = 3_600


class Stops:
    """When each conversation of a channel was last stopped; kept in the ledger, where every replica's outbox looks."""

    def __init__(self, bus: Bus, channel: str) -> None:
        self._bus = bus
        self._keys = bus.kv("ledger")
        self._channel = channel

    async def stop(self, conv: str) -> None:
        """Stop a conversation now.

        Raises:
            BusError: the agent could not be told; let the platform bring the command again.
        """
        await self._bus.publish(subjects.ctl_stop(self._channel, conv), b"{}")
        await self._note(conv)

    async def _note(self, conv: str) -> None:
        key = self._key(conv)
        value = json.dumps({"at": datetime.now(UTC).isoformat()}).encode()
        entry, revision = await self._keys.look(key)
        try:
            if entry is None:
                await self._keys.create(key, value, ttl=KEPT)
            else:
                await self._keys.update(key, value, revision=revision, ttl=KEPT)
        except BusError as error:  # somebody else noted a stop of the same moment
            log.debug("a stop was noted by another: %s", error)

    async def stopped_after(self, conv: str, created: datetime) -> bool:
        """Whether it was stopped after ``created``.

        Raises:
            BusError: it cannot be known now.
        """
        entry = await self._keys.get(self._key(conv))
        if entry is None:
            return False
        try:
            return datetime.fromisoformat(json.loads(entry.value)["at"]) > created
        except (ValueError, KeyError, TypeError):
            return False

    def _key(self, conv: str) -> str:
        return f"{self._channel}.stop.{conv}"
