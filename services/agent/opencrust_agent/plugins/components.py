"""From a component's hash to machine code that may be loaded: from the cache, or compiled from the bus's bytes."""

import asyncio
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import BinaryIO

from opencrust.bus import Bus, subjects
from opencrust.bus.blobs import BlobError, Blobs
from opencrust_agent.plugins import limits
from opencrust_agent.plugins.cache import Cache
from opencrust_agent.plugins.errors import PluginRefused
from opencrust_agent.plugins.limits import MAX_COMPONENT
from opencrust_agent.plugins.processes import Processes

_FAILED_KEPT = 256


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

    def __init__(self, bus: Bus, cache: Cache, processes: Processes, used: Callable[[], set[str]]) -> None:
        """Args:
        used: the components of all versions that are installed or can be gone back to, by the lock as known now.
        """
        self._blobs = Blobs(bus, "PLUGINS", subjects.plugin)
        self._cache = cache
        self._processes = processes
        self._used = used
        self._compiling: dict[tuple[str, bool], asyncio.Task[None]] = {}
        self._looked_at: dict[str, float] = {}
        self._failed: dict[tuple[str, bool], tuple[float, str]] = {}
        self._tidying = asyncio.Lock()

    async def open(self, wasm: str, *, fuel: bool) -> BinaryIO:
        """Sealed machine code of a component, open for reading.

        Raises:
            PluginRefused: the component is not there, is damaged, too large, or does not compile.
            PluginFault: nothing can be compiled here.
            BusError: the bus is away.
        """
        code = await asyncio.to_thread(self._cache.open, wasm, fuel=fuel)
        if code is None:
            await self._compiled(wasm, fuel)
            code = await asyncio.to_thread(self._cache.open, wasm, fuel=fuel)
        if code is None:
            raise PluginRefused("its machine code is gone: it was removed meanwhile, or the disk is damaged")
        return code

    def look_at(self, wasm: str) -> None:
        """It may be agreed to soon: what is compiled of it is kept for a day. One that failed is tried again."""
        self._looked_at[wasm] = time.monotonic()
        for fuel in (False, True):
            self._failed.pop((wasm, fuel), None)

    def agreed(self) -> None:
        """The lock changed: from now on it alone keeps what it names."""
        for wasm in self._used() & self._looked_at.keys():
            del self._looked_at[wasm]

    async def prepare(self, wasm: str, *, fuel: bool) -> None:
        """Compile it, where that is not done yet: before the first call, which would not wait for it.

        Raises:
            PluginRefused, PluginFault, BusError: as :meth:`open`.
        """
        if not self._cache.has(wasm, fuel=fuel):
            await self._compiled(wasm, fuel)

    async def tidy(self) -> None:
        """Remove the machine code that nobody needs, and what a crash left behind; nothing that is being made now."""
        async with self._tidying:  # what is begun meanwhile waits, so that it is not missing on the list
            before = time.monotonic() - limits.UNUSED
            self._looked_at = {wasm: at for wasm, at in self._looked_at.items() if at > before}
            kept = self._used() | self._looked_at.keys() | {wasm for wasm, _ in self._compiling}
            await asyncio.to_thread(self._cache.keep_only, kept, drafts=bool(self._compiling))

    async def close(self) -> None:
        """End what is being compiled."""
        for task in list(self._compiling.values()):
            task.cancel()
        await asyncio.gather(*self._compiling.values(), return_exceptions=True)

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

    async def _compiled(self, wasm: str, fuel: bool) -> None:
        """Once for all who want it, and to the end also when they are gone: the next call finds it. One that failed is
        not tried again at every call: that could be a minute of processor time each."""
        at, why = self._failed.get((wasm, fuel), (0.0, ""))
        if why and time.monotonic() - at < limits.COMPILE_AGAIN:
            raise PluginRefused(why)
        async with self._tidying:
            task = self._compiling.get((wasm, fuel))
            if task is None:
                task = self._compiling[wasm, fuel] = asyncio.create_task(self._compile(wasm, fuel))
                task.add_done_callback(lambda done: done.cancelled() or done.exception())
        await asyncio.shield(task)

    async def _compile(self, wasm: str, fuel: bool) -> None:
        try:
            try:
                component = await self._blobs.get(wasm, limit=MAX_COMPONENT)
            except BlobError as error:
                raise PluginRefused(f"its component {error}") from None
            with self._cache.create() as draft, tempfile.TemporaryFile(dir=self._cache.directory) as source:
                source.write(component)
                source.seek(0)
                await self._processes.compile(source, draft.file, fuel=fuel)
                await asyncio.to_thread(draft.keep, wasm, fuel=fuel)
            self._failed.pop((wasm, fuel), None)
            if wasm not in self._used() | self._looked_at.keys():  # removed while it was compiled
                self._cache.forget(wasm)
        except PluginRefused as error:
            while len(self._failed) >= _FAILED_KEPT:
                del self._failed[next(iter(self._failed))]
            self._failed[wasm, fuel] = (time.monotonic(), str(error))
            raise
        finally:
            self._compiling.pop((wasm, fuel), None)
