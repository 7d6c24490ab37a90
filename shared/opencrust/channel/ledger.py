"""The ledger of what goes out: for each reply, what became of each of its parts.

One record a reply, in the bucket ``ledger`` under ``<channel>.out.<hash>``, changed by compare-and-set only. Before the
platform is called the part's state becomes ``attempting``; after it, what came of it. So a part that is found
``attempting`` by somebody else was being sent by a process that died, or that cannot write: nobody can know from here
whether the platform has it.
"""

import asyncio
import base64
import hashlib
import logging
from enum import StrEnum
from typing import Annotated, Final

from pydantic import Field, StringConstraints

from opencrust.bus import Bus, BusError, Disconnected, KeyExists, Timeout, WrongRevision
from opencrust.contracts import ContractError, OutboundMessage, decode, encode
from opencrust.contracts.base import Contract, Versioned

log = logging.getLogger(__name__)

KEPT_OPEN: Final = 40 * 86_400
"""Seconds that an unfinished record lives: longer than a reply waits."""
KEPT_DONE: Final = 6 * 3_600
"""A finished one only meets redeliveries whose ack was lost."""
_PATIENCE: Final = 120.0
_PAUSE: Final = 0.2


class PartState(StrEnum):
    """Where a part stands."""

    WAITING = "waiting"
    ATTEMPTING = "attempting"
    SENT = "sent"
    FAILED = "failed"
    UNKNOWN = "unknown"
    """Given up after several attempts whose end nobody knows."""


FINAL: Final = frozenset({PartState.SENT, PartState.FAILED, PartState.UNKNOWN})


class PartRecord(Contract):
    """One part."""

    state: PartState = PartState.WAITING
    attempts: Annotated[int, Field(ge=0)] = 0
    unknown: Annotated[int, Field(ge=0)] = 0
    """How many of the attempts ended so that nobody knows whether the platform has it."""
    id: Annotated[str, StringConstraints(max_length=255)] = ""
    """The platform's, once it is sent."""
    reason: Annotated[str, StringConstraints(max_length=300)] = ""


class ReplyRecord(Versioned):
    """One reply."""

    parts: Annotated[list[PartRecord], Field(min_length=1, max_length=600)]
    owner: Annotated[str, StringConstraints(max_length=128)] = ""
    """Who changed it last."""

    def with_part(self, number: int, part: PartRecord, owner: str) -> "ReplyRecord":
        """A copy with one part changed."""
        parts = [part if n == number else old for n, old in enumerate(self.parts)]
        return self.model_copy(update={"parts": parts, "owner": owner})

    @property
    def done(self) -> bool:
        """Nothing is left to send."""
        return all(part.state in FINAL for part in self.parts)


class Overtaken(Exception):
    """Somebody else changed the record meanwhile: he works on this reply."""


class Page:
    """One reply's record while it is worked on."""

    def __init__(self, bus: Bus, key: str, owner: str, record: ReplyRecord, revision: int) -> None:
        self.record = record
        self.revision = revision
        self._bus = bus
        self._keys = bus.kv("ledger")
        self._key = key
        self._owner = owner

    async def attempt(self, number: int) -> None:
        """Note that a part is being sent; only then send it.

        Raises:
            Overtaken: somebody else works on it: do not send.
            BusError: it is not noted: do not send.
        """
        part = self.record.parts[number]
        fresh = part.model_copy(update={"state": PartState.ATTEMPTING, "attempts": part.attempts + 1})
        record = self.record.with_part(number, fresh, self._owner)
        try:
            self.revision = await self._keys.update(self._key, encode(record), revision=self.revision, ttl=KEPT_OPEN)
        except WrongRevision:
            raise Overtaken(self._key) from None
        self.record = record

    async def settle(self, number: int, part: PartRecord) -> None:
        """Note what became of it. This must not be lost because the bus is away for a moment, or the part would count
        as unknown: it is tried for :data:`_PATIENCE` seconds.

        Raises:
            Overtaken: somebody else changed it.
            BusError: it could not be written.
        """
        record = self.record.with_part(number, part, self._owner)
        loop = asyncio.get_running_loop()
        deadline = loop.time() + _PATIENCE
        data = encode(record)
        while True:
            try:
                ttl = KEPT_DONE if record.done else KEPT_OPEN
                self.revision = await self._keys.update(self._key, data, revision=self.revision, ttl=ttl)
                break
            except WrongRevision:
                if not await self._is_written(data):
                    raise Overtaken(self._key) from None
                break
            except (Disconnected, Timeout) as error:
                if loop.time() > deadline:
                    raise
                log.warning("the ledger is not written yet: %s", error)
                await asyncio.sleep(_PAUSE)
        self.record = record

    async def _is_written(self, data: bytes) -> bool:
        """Whether an update whose answer was lost took effect after all."""
        entry = await self._keys.get(self._key)
        if entry is None or entry.value != data:
            return False
        self.revision = entry.revision
        return True


class Ledger:
    """One channel's ledger, as one replica writes it."""

    def __init__(self, bus: Bus, channel: str, owner: str) -> None:
        self._bus = bus
        self._keys = bus.kv("ledger")
        self._channel = channel
        self._owner = owner

    async def open(self, reply: OutboundMessage, parts: int) -> Page:
        """The record of a reply; a new one where there is none.

        Raises:
            BusError: it cannot be read or written.
        """
        key = self.key(reply)
        fresh = ReplyRecord(parts=[PartRecord() for _ in range(parts)], owner=self._owner)
        for _ in range(3):
            entry = await self._keys.get(key)
            if entry is not None:
                return Page(self._bus, key, self._owner, self._read(entry.value, fresh), entry.revision)
            try:
                revision = await self._keys.create(key, encode(fresh), ttl=KEPT_OPEN)
            except KeyExists:
                continue
            return Page(self._bus, key, self._owner, fresh, revision)
        raise BusError("the ledger's record comes and goes")

    def key(self, reply: OutboundMessage) -> str:
        """The key of a reply's record."""
        return f"{self._channel}.out.{_hash(reply, '')[:26]}"

    def _read(self, data: bytes, fresh: ReplyRecord) -> ReplyRecord:
        try:
            record = decode(ReplyRecord, data)
        except ContractError as error:
            log.error("a record of the ledger is damaged; its reply goes out anew: %s", error)
            return fresh
        if len(record.parts) == len(fresh.parts):
            return record
        # Cut differently by an upgrade in between: what was sent stays sent, by its number.
        parts = (*record.parts, *fresh.parts)[: len(fresh.parts)]
        return record.model_copy(update={"parts": list(parts)})


def part_key(reply: OutboundMessage, number: int) -> str:
    """The key by which platforms with idempotency know a part: 24 letters and digits, the same at every attempt."""
    return _hash(reply, f":{number}")[:24]


def _hash(reply: OutboundMessage, suffix: str) -> str:
    digest = hashlib.sha256(f"{reply.address.key}:{reply.id}{suffix}".encode()).digest()
    return base64.b32encode(digest[:20]).decode().rstrip("=").lower()
