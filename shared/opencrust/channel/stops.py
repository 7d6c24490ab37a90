"""STOP: out of band. The running answer ends, and what of earlier ones is not sent yet is dropped.

It is said in the conversation (``/stop``) or at the house (`opencrust stop`, for one conversation or for all). When, is
kept in the ledger, where every replica's outbox looks before each part.
"""

import asyncio
import json
from datetime import UTC, datetime
from typing import Final

from opencrust.bus import Bus, subjects

KEPT: Final = 3_600
ALL: Final = "all"
"""In place of a conversation: everything of the channel."""


class Stops:
    """When each conversation of a channel was last stopped."""

    def __init__(self, bus: Bus, channel: str) -> None:
        self._bus = bus
        self._keys = bus.kv("ledger")
        self._channel = channel

    async def stop(self, conv: str) -> None:
        """Stop a conversation now.

        Raises:
            BusError: the agent could not be told; let the platform bring the command again.
        """
        said = datetime.now(UTC)  # before the agent hears it: its answer to the stop is younger, and goes out
        await self._bus.publish(subjects.ctl_stop(self._channel, conv), b"{}")
        await self.note(conv, said)

    async def note(self, conv: str, said: datetime) -> None:
        """Let no part of what was made before go out any more.

        Raises:
            BusError: it is not known whether the ledger has it.
        """
        await self._keys.put(self._key(conv), json.dumps({"at": said.isoformat()}).encode(), ttl=KEPT)

    async def stopped_after(self, conv: str, created: datetime) -> bool:
        """Whether it was stopped after ``created``.

        Raises:
            BusError: it cannot be known now.
        """
        stored = await asyncio.gather(*(self._keys.get(self._key(key)) for key in (conv, ALL)))
        return any(entry is not None and _at(entry.value) > created for entry in stored)

    def _key(self, conv: str) -> str:
        return f"{self._channel}.stop.{conv}"


def _at(value: bytes) -> datetime:
    try:
        return datetime.fromisoformat(json.loads(value)["at"])
    except (ValueError, KeyError, TypeError):
        return datetime.min.replace(tzinfo=UTC)
