"""Looking up who may speak: the bucket ``access`` as adapters and the agent read it.

What is known is at most :data:`FRESH_SECONDS` old, however the news of a change travelled: a record is used no longer
than that, and thrown away at once when ``evt.access`` or a reconnect says that it may have changed. So a person who was
blocked, removed or has expired is out within a second.

It fails closed. A damaged record makes its person blocked, a damaged policy closes its channel, and neither makes
anybody anything more. While the bucket cannot be read at all, :class:`~opencrust.bus.BusError` is raised instead of an
answer: nobody is let in, but nobody is sent away either, as a message that was dropped then would be lost. Keep the
message, and ask again.
"""

import asyncio
import logging
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, TypeVar

from opencrust.access.people import CLOSED, Admission, ChannelPolicy, Person, PersonId, Role, admit, policy_key
from opencrust.bus import Bus, Message, subjects
from opencrust.bus.registry import CHANNELS
from opencrust.contracts.base import ContractError, Versioned, decode

log = logging.getLogger(__name__)

FRESH_SECONDS: Final = 1.0
"""How long an answer is used without asking the bucket again."""
MAX_KNOWN: Final = 10_000
"""Most records remembered; beyond it the one read longest ago is forgotten."""

_Record = TypeVar("_Record", bound=Versioned)


@dataclass(frozen=True, slots=True)
class _Known:
    value: Person | ChannelPolicy | None
    read: float
    """When reading it began (the event loop's clock, in seconds)."""


class People:
    """The reader. One a process; :meth:`start` it before the first question."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._bucket = bus.kv("access")
        self._known: dict[str, _Known] = {}
        self._changes = 0
        """Counted, so that what was read while something changed is not remembered."""

    async def start(self) -> None:
        """Follow the changes: an adapter those of its own channel, others all.

        Raises:
            BusError: the bus is away, or refuses this service.
        """
        await self._bus.subscribe(followed(self._bus.service), self._changed)
        self._bus.on_reconnect(self._forget_all)

    async def look(self, person: PersonId) -> Person | None:
        """The record of ``person``; None where there is none. Expired and blocked ones are returned as they stand.

        A damaged record, or one that is another person's, counts as blocked.

        Raises:
            BusError: it cannot be known now. Nobody is let in meanwhile; ask again.
        """
        value = await self._get(person.key, person)
        assert value is None or isinstance(value, Person)
        return value

    async def policy(self, channel: str) -> ChannelPolicy:
        """The policy of ``channel``: the default where none was set, ``CLOSED`` where it is damaged.

        Raises:
            BusError: it cannot be known now. Nobody is let in meanwhile; ask again.
        """
        value = await self._get(policy_key(channel), None)
        assert value is None or isinstance(value, ChannelPolicy)
        return ChannelPolicy() if value is None else value

    async def admission(self, person: PersonId, *, is_group: bool, mentioned: bool) -> Admission:
        """:func:`~opencrust.access.people.admit` of what stands in the bucket now.

        Raises:
            BusError: it cannot be decided now. Keep the message and ask again.
        """
        known, policy = await self.look(person), await self.policy(person.channel)
        return admit(policy, known, is_group=is_group, mentioned=mentioned, now=datetime.now(UTC))

    async def _get(self, key: str, person: PersonId | None) -> Person | ChannelPolicy | None:
        now = asyncio.get_running_loop().time()
        known = self._known.get(key)
        if known is not None and now - known.read < FRESH_SECONDS:
            return known.value
        changes = self._changes
        entry = await self._bucket.get(key)
        value: Person | ChannelPolicy | None = None
        if entry is not None:
            value = read_policy(entry.value, key) if person is None else read_person(entry.value, person)
        if changes == self._changes:
            self._known.pop(key, None)
            self._known[key] = _Known(value, now)  # popped and set again: the dict is in order of reading
            if len(self._known) > MAX_KNOWN:
                del self._known[next(iter(self._known))]
        return value

    async def _changed(self, message: Message) -> None:
        self._changes += 1
        self._known.pop(message.subject.removeprefix("evt.access."), None)

    async def _forget_all(self) -> None:
        self._changes += 1
        self._known.clear()


def followed(service: str) -> str:
    """Which changes a service may follow: an adapter to strangers those of its own channel, others all."""
    own = next((channel.name for channel in CHANNELS if channel.service == service and channel.name != "web"), None)
    return subjects.wildcard(subjects.EVT_ACCESS, **({"channel": own} if own else {}))


def read_person(data: bytes, person: PersonId) -> Person:
    """The record in ``data``; a blocked one where it is damaged, or stands under the key of somebody else."""
    record = _read(Person, data, person.key)
    if record is not None and record.id == person:
        return record
    if record is not None:
        log.error("the record under %s is of another person and counts as blocked", person.key)
    return Person(id=person, role=Role.GUEST, blocked=True, since=datetime.fromtimestamp(0, UTC))


def read_policy(data: bytes, key: str) -> ChannelPolicy:
    """The policy in ``data``; ``CLOSED`` where it is damaged, or does not say both of what it must."""
    policy = _read(ChannelPolicy, data, key)
    return policy if policy is not None and {"dm", "group"} <= policy.model_fields_set else CLOSED


def _read(model: type[_Record], data: bytes, key: str) -> _Record | None:
    try:
        return decode(model, data)
    except ContractError as error:
        log.error(
            "access record %s is damaged and lets nobody in (%s): set it anew with `opencrust people` or "
            "`opencrust pair`",
            key,
            error,
        )
        return None
