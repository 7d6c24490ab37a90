"""The lock: which plugins are installed, as the bucket ``plugins`` says. Every replica follows it."""

import logging
from collections.abc import Callable

from opencrust.bus import Bus, BusError, Message, subjects
from opencrust.bus.archive import Archive
from opencrust.bus.errors import WrongRevision
from opencrust.contracts import ContractError, decode, encode
from opencrust.contracts.plugins import PluginRecord

log = logging.getLogger(__name__)

BUCKET = "plugins"
_SUBJECT = f"$KV.{BUCKET}."
_NEWS = "evt.plugins."


class Conflict(Exception):
    """Somebody else changed the plugin at the same time."""


class Records:
    """The records of the moment. A damaged one is no plugin, and is said to be damaged."""

    def __init__(self, bus: Bus, changed: Callable[[], None]) -> None:
        self._bus = bus
        self._bucket = bus.kv(BUCKET)
        self._changed = changed
        self.now: dict[str, PluginRecord] = {}

    async def start(self) -> None:
        """Follow the bucket.

        Raises:
            BusError: the bus is away, or refuses this service.
        """
        await self._bus.subscribe(subjects.wildcard(subjects.EVT_PLUGINS), self._news)
        self._bus.on_reconnect(self._read_all)
        await self._read_all()

    async def components(self) -> set[str]:
        """Hashes of all that is installed or can be gone back to, as the bucket has it now.

        Raises:
            BusError: nobody knows.
        """
        await self._read_all()
        return {grant.wasm for record in self.now.values() for grant in (record.current, *record.previous)}

    async def look(self, name: str) -> tuple[PluginRecord | None, int]:
        """The record as it is in the bucket now, and the revision to write over."""
        entry, revision = await self._bucket.look(name)
        return (None if entry is None else _read(name, entry.value)), revision

    async def write(self, record: PluginRecord, revision: int) -> None:
        """Write over `revision`.

        Raises:
            Conflict, BusError
        """
        try:
            await self._bucket.update(record.name, encode(record), revision=revision)
        except WrongRevision:
            raise Conflict(
                "the plugin was changed by somebody else at the same time; look at it and try again"
            ) from None
        self._set(record.name, record)

    async def remove(self, name: str, revision: int) -> None:
        """Remove it.

        Raises:
            Conflict, BusError
        """
        try:
            await self._bucket.delete(name, revision=revision)
        except WrongRevision:
            raise Conflict(
                "the plugin was changed by somebody else at the same time; look at it and try again"
            ) from None
        self._set(name, None)

    async def _read_all(self) -> None:
        found = await Archive(self._bus, f"KV_{BUCKET}").subjects(f"{_SUBJECT}>")
        names = [subject.removeprefix(_SUBJECT) for subject in found]
        records = {name: record for name in names if (record := (await self.look(name))[0]) is not None}
        if records != self.now:
            self.now = records
            self._changed()

    async def _news(self, message: Message) -> None:
        name = message.subject.removeprefix(_NEWS)
        try:
            record, _ = await self.look(name)
        except BusError as error:  # a reconnect reads everything anew
            log.warning("the record of plugin %s cannot be read: %s", name, error)
            return
        self._set(name, record)

    def _set(self, name: str, record: PluginRecord | None) -> None:
        if self.now.get(name) == record:
            return
        self.now = {key: value for key, value in self.now.items() if key != name}
        if record is not None:
            self.now[name] = record
        self._changed()


def _read(name: str, data: bytes) -> PluginRecord | None:
    try:
        record = decode(PluginRecord, data)
    except ContractError as error:
        log.error("the record of plugin %s is damaged (%s): it does not run; remove and install it", name, error)
        return None
    if record.name != name:
        log.error("the record under %s is of another plugin: it does not run", name)
        return None
    return record
