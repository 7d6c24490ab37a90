"""Where a person has written to us from: his private conversations, remembered as they happen.

Kept in the bucket ``sess`` under ``contacts.<person>``, which no channel may read. The owner's are one list over all
channels; of everybody else each identity has its own.
"""

import hashlib

from opencrust.bus import Bus, KeyExists, WrongRevision
from opencrust.contracts import ContractError, InboundMessage, ReplyAddress, Sender, Source, Trust, decode, encode
from opencrust.contracts.base import Contract, Versioned

MAX_PLACES = 40
_TRIES = 5


class Place(Contract):
    """One conversation."""

    address: ReplyAddress

    @property
    def name(self) -> str:
        """As people call it: the channel, and on the web which conversation."""
        return f"{self.address.channel}:{self.address.conversation}"

    @property
    def key(self) -> str:
        return self.address.key


class _Places(Versioned):
    places: list[Place] = []


class Contacts:
    """The lists; one per process."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._noted: set[tuple[str, str]] = set()

    async def note(self, message: InboundMessage) -> None:
        """Remember where this message came from, if that is a place to write to.

        Raises:
            BusError: the store does not answer.
        """
        if message.trust not in (Trust.OWNER, Trust.USER) or message.is_group or message.ephemeral:
            return
        if (
            message.source is not Source.USER
            or (key := _key(message.sender, message.trust), message.key) in self._noted
        ):
            return
        place = Place(address=message.reply_to.model_copy(update={"message": None}))
        bucket = self._bus.kv("sess")
        for _ in range(_TRIES):
            entry, revision = await bucket.look(key)
            known = decode(_Places, entry.value).places if entry else []
            if any(other.key == place.key for other in known):
                break
            data = encode(_Places(places=[*known, place][-MAX_PLACES:]))
            try:
                await (bucket.update(key, data, revision=revision) if entry else bucket.create(key, data))
                break
            except (WrongRevision, KeyExists):
                continue
        self._noted.add((key, message.key))

    async def of(self, person: Sender, trust: Trust) -> list[Place]:
        """All places of a person.

        Raises:
            BusError: the store does not answer.
        """
        entry = await self._bus.kv("sess").get(_key(person, trust))
        try:
            return decode(_Places, entry.value).places if entry else []
        except ContractError:
            return []


def _key(person: Sender, trust: Trust) -> str:
    if trust is Trust.OWNER:
        return "contacts.owner"
    identity = "\0".join((person.channel, person.account, person.user))
    return f"contacts.{hashlib.sha256(identity.encode()).hexdigest()[:32]}"
