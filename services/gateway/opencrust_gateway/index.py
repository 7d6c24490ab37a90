"""The list of an owner's conversations: bucket ``index``, key ``web.<owner>.<conversation key>``.

A conversation is known on the bus by a hash, so its name and title are kept here. An entry is written before its first
message is stored: a name too many does no harm, one too few would hide a conversation. Not written more often than
once a minute, so that the newest stand first without a write for each message.
"""

import asyncio
import logging
from collections import OrderedDict
from typing import Annotated

from pydantic import AwareDatetime, Field, StringConstraints, ValidationError

from opencrust.bus import Bus, BusError
from opencrust.bus.archive import Archive
from opencrust.contracts.base import Versioned, decode, encode
from opencrust.contracts.messages import now
from opencrust_gateway.conversations import CHANNEL, ONCE, Conversation

log = logging.getLogger(__name__)

TITLE = 60
"""Most characters of a title: the beginning of the first message."""
FRESH = 60.0
"""Seconds in which an entry is not written again."""
REMEMBERED = 5_000
LISTED = 500
"""Most entries in one list."""
_PREFIX = "$KV.index."


class Entry(Versioned):
    """One conversation in the list."""

    name: Annotated[str, StringConstraints(min_length=1, max_length=128)]
    title: Annotated[str, Field(max_length=TITLE)] = ""
    at: AwareDatetime
    """When somebody last wrote in it, to the minute."""


class ConversationIndex:
    """The bucket, and what of it was written lately."""

    def __init__(self, bus: Bus) -> None:
        self._bucket = bus.kv("index")
        self._stream = Archive(bus, "KV_index")
        self._written: OrderedDict[str, float] = OrderedDict()

    async def note(self, conversation: Conversation, text: str) -> None:
        """Somebody writes `text`. An index that cannot be written holds up no message."""
        if conversation.name.startswith(ONCE):
            return
        key, moment = _key(conversation), asyncio.get_running_loop().time()
        if moment - self._written.get(key, -FRESH) < FRESH:
            return
        try:
            before = await self._bucket.get(key)
            known = _read(before.value) if before else None
            entry = Entry(name=conversation.name, title=known.title if known else _title(text), at=now())
            await self._bucket.put(key, encode(entry))
        except BusError as error:
            log.warning("the list of conversations was not written: %s", error)
            return
        self._written[key] = moment
        self._written.move_to_end(key)
        if len(self._written) > REMEMBERED:
            self._written.popitem(last=False)

    async def of(self, owner: str) -> list[Entry]:
        """An owner's conversations, the latest used first. Raises BusError."""
        subjects = await self._stream.subjects(f"{_PREFIX}{CHANNEL}.{_token(owner)}.*")
        keys = [subject.removeprefix(_PREFIX) for subject in subjects]
        found = await asyncio.gather(*(self._bucket.get(key) for key in keys))
        entries = [entry for one in found if one is not None and (entry := _read(one.value)) is not None]
        return sorted(entries, key=lambda entry: entry.at, reverse=True)[:LISTED]


def _read(value: bytes) -> Entry | None:
    try:
        return decode(Entry, value)
    except (ValueError, ValidationError):
        return None


def _title(text: str) -> str:
    return " ".join(text.split())[:TITLE]


def _token(owner: str) -> str:
    return owner.encode().hex()  # an owner's name may hold a dot


def _key(conversation: Conversation) -> str:
    return f"{CHANNEL}.{_token(conversation.owner)}.{conversation.key}"
