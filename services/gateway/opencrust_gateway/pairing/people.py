"""The bucket ``access``, as its one writer sees it: people, policies, notices. Every read is fresh."""

import logging
import secrets
from base64 import b32encode
from collections.abc import Callable
from datetime import datetime

from opencrust.access.directory import read_person, read_policy
from opencrust.access.notices import Notice, NoticeBoard, board_key
from opencrust.access.people import ChannelPolicy, Person, PersonId, policy_key
from opencrust.bus import Bus, KeyExists, WrongRevision
from opencrust.bus.archive import Archive
from opencrust.bus.kv import Entry
from opencrust.contracts.base import ContractError, decode, encode

log = logging.getLogger(__name__)

ATTEMPTS = 10
"""How often a compare-and-set is begun anew."""
_PREFIX = "$KV.access."


class Contended(Exception):
    """Others changed the same record again and again."""


class PeopleStore:
    """Every method raises BusError when the bus is away."""

    def __init__(self, bus: Bus) -> None:
        self._bucket = bus.kv("access")
        self._stream = Archive(bus, "KV_access")

    async def person(self, person: PersonId) -> Person | None:
        """The record; a blocked one where it is damaged."""
        entry = await self._bucket.get(person.key)
        return None if entry is None else read_person(entry.value, person)

    async def by_key(self, key: str) -> Person | None:
        """The record under a key.

        Raises:
            ContractError: it is damaged.
        """
        entry = await self._bucket.get(key)
        return None if entry is None else _own(decode(Person, entry.value), key)

    async def keys(self, channel: str = "*") -> list[str]:
        """The keys of all people (of one channel)."""
        found = await self._stream.subjects(f"{_PREFIX}{channel}.person.*")
        return sorted(subject.removeprefix(_PREFIX) for subject in found)

    async def people(self, channel: str = "*") -> list[Person]:
        """All that can be read."""
        found = []
        for key in await self.keys(channel):
            try:
                person = await self.by_key(key)
            except ContractError:
                continue
            if person is not None:
                found.append(person)
        return found

    async def change(self, person: PersonId, change: Callable[[Person | None], Person]) -> Person:
        """Write what ``change`` makes of the present record; of a damaged one it is told None.

        Raises:
            Contended: others write it all the time.
        """
        for _ in range(ATTEMPTS):
            entry = await self._bucket.get(person.key)
            after = change(_sound(entry, person))
            if await self._write(person.key, encode(after), entry):
                return after
        raise Contended

    async def remove(self, key: str) -> bool:
        """Forget a person. False where there was none."""
        if await self._bucket.get(key) is None:
            return False
        await self._bucket.delete(key)
        return True

    async def policy(self, channel: str) -> ChannelPolicy:
        """The policy; the default where none was set, CLOSED where it is damaged."""
        entry = await self._bucket.get(policy_key(channel))
        return ChannelPolicy() if entry is None else read_policy(entry.value, entry.key)

    async def set_policy(self, channel: str, policy: ChannelPolicy) -> None:
        """Set it."""
        await self._bucket.put(policy_key(channel), encode(policy))

    async def tell(self, to: PersonId, text: str, *, now: datetime, until: datetime) -> None:
        """Have the adapter of his channel tell a person something. Given up where that channel's board is full."""
        notice = Notice(id=b32encode(secrets.token_bytes(10)).decode().lower(), to=to, text=text, expires=until)
        key = board_key(to.channel)
        for _ in range(ATTEMPTS):
            entry = await self._bucket.get(key)
            try:
                board = NoticeBoard() if entry is None else decode(NoticeBoard, entry.value)
            except ContractError:
                board = NoticeBoard()
            if await self._write(key, encode(board.with_notice(notice, now)), entry):
                return

    async def _write(self, key: str, value: bytes, over: Entry | None) -> bool:
        try:
            if over is None:
                await self._bucket.create(key, value)
            else:
                await self._bucket.update(key, value, revision=over.revision)
        except (KeyExists, WrongRevision):
            return False
        return True


def _own(record: Person, key: str) -> Person:
    if record.id.key != key:
        raise ContractError("the record is another person's")
    return record


def _sound(entry: Entry | None, person: PersonId) -> Person | None:
    if entry is None:
        return None
    try:
        return _own(decode(Person, entry.value), person.key)
    except ContractError:
        log.error("the damaged record %s is written anew", person.key)
        return None
