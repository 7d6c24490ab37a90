"""From a component's hash to machine code that may be loaded: from the cache, or compiled from the bus's bytes."""

import asyncio
import tempfile
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import BinaryIO

from opencrust.bus import Bus, subjects
from opencrust.bus.blobs import BlobError, Blobs
from opencrust_agent.plugins.cache import Cache
from opencrust_agent.plugins.errors import PluginRefused
from opencrust_agent.plugins.limits import MAX_COMPONENT
from opencrust_agent.plugins.processes import Processes


@dataclass(frozen=True, slots=True)
class Code:
    """The machine code of one component."""

    components: "Components"
    wasm: str

    async def open(self, *, fuel: bool) -> BinaryIO:
        """:meth:`Components.open`."""
        return await self.components.open(self.wasm, fuel=fuel)

    def forget(self) -> None:
        """Compile it anew the next time."""
        self.components.forget(self.wasm)


class Components:
    """All components of this replica."""

    def __init__(self, bus: Bus, cache: Cache, processes: Processes) -> None:
        self._blobs = Blobs(bus, "PLUGINS", subjects.plugin)
        self._cache = cache
        self._processes = processes
        self._lock = asyncio.Lock()

    async def open(self, wasm: str, *, fuel: bool) -> BinaryIO:
        """Sealed machine code of a component, open for reading.

        Raises:
            PluginRefused: the component is not there, is damaged, too large, or does not compile.
            PluginFault: nothing can be compiled here.
            BusError: the bus is away.
        """
        async with self._lock:  # two that want the same compile it once
            code = await asyncio.to_thread(self._cache.open, wasm, fuel=fuel)
            if code is not None:
                return code
            try:
                component = await self._blobs.get(wasm, limit=MAX_COMPONENT)
            except BlobError as error:
                raise PluginRefused(f"its component {error}") from None
            await self._compile(component, wasm, fuel)
            code = await asyncio.to_thread(self._cache.open, wasm, fuel=fuel)
        if code is None:
            raise PluginRefused("its machine code was damaged on the disk as soon as it was written")
        return code

    async def size(self, wasm: str) -> int:
        """Bytes of a component.

        Raises:
            PluginRefused, BusError: as :meth:`open`.
        """
        try:
            return len(await self._blobs.get(wasm, limit=MAX_COMPONENT))
        except BlobError as error:
            raise PluginRefused(f"its component {error}") from None

    def forget(self, wasm: str) -> None:
        """Compile it anew the next time."""
        self._cache.forget(wasm)

    async def remove(self, components: set[str]) -> None:
        """Remove their bytes from the bus. Their machine code goes with the next look at the lock."""
        for wasm in sorted(components):
            await self._blobs.remove(wasm)

    async def remove_unused(self, used: set[str], *, older: float) -> set[str]:
        """Remove what was looked at and not installed, `older` seconds ago or more; returns what that was."""
        removed = set()
        for wasm, part in (await self._blobs.stored()).items():
            stored = None if wasm in used else await self._blobs.stored_at(wasm, part)
            if stored is not None and (datetime.now(UTC) - stored).total_seconds() >= older:
                await self._blobs.remove(wasm)
                removed.add(wasm)
        return removed

    async def _compile(self, component: bytes, wasm: str, fuel: bool) -> None:
        with self._cache.create() as draft, tempfile.TemporaryFile(dir=self._cache.directory) as source:
            source.write(component)
            source.seek(0)
            await self._processes.compile(source, draft.file, fuel=fuel)
            await asyncio.to_thread(draft.keep, wasm, fuel=fuel)
