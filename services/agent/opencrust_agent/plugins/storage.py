"""What plugins keep: each its own store, and its own log. Both lie in the bucket ``plugindata``, so that every replica
of the agent has them.

A plugin's keys are hashed below its own name: no key that it chooses can reach another's.
"""

import asyncio
import hashlib
import json
from datetime import UTC, datetime

from opencrust.bus import Bus, BusError
from opencrust.bus.errors import WrongRevision
from opencrust_agent.plugins.description import plain
from opencrust_agent.plugins.limits import KV_KEY, KV_KEYS, KV_VALUE, KiB

BUCKET = "plugindata"
LOG_KEPT = 200
_LOG_LINE = 500
_TRIES = 5
_FLUSH_SECONDS = 0.5


class Refused(Exception):
    """The store does not take it; the text says why."""


class Store:
    """The store of one plugin."""

    def __init__(self, bus: Bus, plugin: str, most_kib: int) -> None:
        self._bucket = bus.kv(BUCKET)
        self._prefix = f"kv.{plugin}"
        self._most = most_kib * KiB

    async def get(self, key: str) -> str | None:
        """The value, or None. Raises Refused for a key that can never be set."""
        entry = await self._bucket.get(self._key(key))
        return entry.value.decode() if entry is not None else None

    async def set(self, key: str, value: str) -> None:
        """Keep a value; "" removes it.

        Raises:
            Refused: too long, too many, too much.
            BusError: the outcome is unknown.
        """
        place, data = self._key(key), value.encode()
        if len(data) > KV_VALUE:
            raise Refused(f"a value may have {KV_VALUE // KiB} KiB")
        name = place.rpartition(".")[2]
        for _ in range(_TRIES):
            sizes, revision = await self._index()
            sizes.pop(name, None)
            if data:
                sizes[name] = len(data) + len(key.encode())
            if len(sizes) > KV_KEYS:
                raise Refused(f"it may keep {KV_KEYS} keys")
            if sum(sizes.values()) > self._most:
                raise Refused(f"it may keep {self._most // KiB} KiB in all")
            try:
                await self._bucket.update(f"{self._prefix}.index", json.dumps(sizes).encode(), revision=revision)
            except WrongRevision:
                continue
            if data:
                await self._bucket.put(place, data)
            else:
                await self._bucket.delete(place)
            return
        raise Refused("others write to it at the same time; try again")

    async def clear(self) -> None:
        """Remove everything: the plugin is removed."""
        sizes, _ = await self._index()
        for name in sizes:
            await self._bucket.delete(f"{self._prefix}.{name}")
        await self._bucket.delete(f"{self._prefix}.index")

    def _key(self, key: str) -> str:
        if not key or len(key.encode()) > KV_KEY:
            raise Refused(f"a key has 1 to {KV_KEY} bytes")
        return f"{self._prefix}.{hashlib.sha256(key.encode()).hexdigest()[:40]}"

    async def _index(self) -> tuple[dict[str, int], int]:
        entry, revision = await self._bucket.look(f"{self._prefix}.index")
        return (json.loads(entry.value) if entry is not None else {}), revision


class Log:
    """The newest lines of each plugin: what it said, and how its calls ended. Written in the background."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._bucket = bus.kv(BUCKET)
        self._pending: dict[str, list[str]] = {}
        self._flushing: asyncio.Task[None] | None = None

    def add(self, plugin: str, level: str, text: str) -> None:
        """One more line."""
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        lines = self._pending.setdefault(plugin, [])
        lines.append(f"{now} {plain(level, 10)} {plain(text, _LOG_LINE)}")
        del lines[:-LOG_KEPT]
        if self._flushing is None or self._flushing.done():
            self._flushing = asyncio.create_task(self._flush())

    async def read(self, plugin: str) -> list[str]:
        """Oldest first."""
        kept, _ = await self._kept(plugin)
        return (kept + self._pending.get(plugin, []))[-LOG_KEPT:]

    async def remove(self, plugin: str) -> None:
        """The plugin is removed, and its log with it."""
        self._pending.pop(plugin, None)
        await self._bucket.delete(f"log.{plugin}")

    async def close(self) -> None:
        """Write what is pending."""
        if self._flushing is not None:
            await asyncio.gather(self._flushing, return_exceptions=True)

    async def _flush(self) -> None:
        await asyncio.sleep(_FLUSH_SECONDS)
        while self._pending:
            plugin, lines = self._pending.popitem()
            for _ in range(_TRIES):
                try:
                    kept, revision = await self._kept(plugin)
                    data = json.dumps((kept + lines)[-LOG_KEPT:], ensure_ascii=False).encode()
                    await self._bucket.update(f"log.{plugin}", data, revision=revision)
                    break
                except WrongRevision:
                    continue
                except BusError:  # the bus is away: these lines are lost, the calls are not
                    break

    async def _kept(self, plugin: str) -> tuple[list[str], int]:
        entry, revision = await self._bucket.look(f"log.{plugin}")
        return (json.loads(entry.value) if entry is not None else []), revision
