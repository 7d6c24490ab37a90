"""The plugins that run on this replica: a few processes, stopped when nobody called them for a while."""

import asyncio
import contextlib
import time
from collections.abc import Callable

from opencrust.contracts.plugins import PluginGrant, PluginRecord
from opencrust_agent.plugins import limits, manifest
from opencrust_agent.plugins.components import Code, Components
from opencrust_agent.plugins.errors import PluginFault, PluginRefused
from opencrust_agent.plugins.processes import Processes
from opencrust_agent.plugins.running import Running

_SWEEP_SECONDS = 5.0


class Fleet:
    """At most :data:`~opencrust_agent.plugins.limits.WORKERS` processes; the zygote goes when all are idle."""

    def __init__(
        self,
        components: Components,
        processes: Processes,
        records: Callable[[], dict[str, PluginRecord]],
        *,
        idle: float = limits.IDLE,
    ) -> None:
        self._components = components
        self._processes = processes
        self._records = records
        self._idle = idle
        self._running: dict[str, tuple[str, Running]] = {}
        self._used = time.monotonic()
        self._starting = asyncio.Lock()

    def running(self) -> list[str]:
        """Names of the plugins that have a process now."""
        return sorted(name for name, (_, running) in self._running.items() if running.alive)

    def pid(self, name: str) -> int | None:
        """The process of a plugin, if it has one."""
        found = self._running.get(name)
        return None if found is None else found[1].pid

    async def get(self, name: str, grant: PluginGrant) -> Running:
        """The plugin in exactly the version that was agreed to.

        Raises:
            PluginFault: ``busy``: too many others run; ``disabled``: the lock says otherwise by now.
        """
        self._used = time.monotonic()
        async with self._starting:  # two that ask for the same get the same
            found = self._running.get(name)
            if found is not None and found[0] == grant.consent:
                return found[1]
            if found is not None:
                await self._drop(name)
            try:
                wanted = manifest.read(grant.manifest)
            except PluginRefused as error:
                raise PluginFault("changed", f"its manifest does not hold any more: {error}") from None
            await self._make_room()
            record = self._records().get(name)
            if record is None or not record.enabled or record.current.consent != grant.consent:
                raise PluginFault("disabled", "it was disabled, removed or replaced just now")
            running = Running(wanted, grant.description, self._processes, Code(self._components, grant.wasm))
            self._running[name] = (grant.consent, running)
            return running

    async def follow_records(self) -> None:
        """Stop what is disabled, removed, or runs in another version than the lock says."""
        records = self._records()
        for name, (agreed, _) in list(self._running.items()):
            record = records.get(name)
            if record is None or not record.enabled or record.current.consent != agreed:
                await self._drop(name)

    async def sweep(self) -> None:
        """Stop what is idle, for ever."""
        while True:
            await asyncio.sleep(min(_SWEEP_SECONDS, self._idle))
            before = time.monotonic() - self._idle
            for name, (_, running) in list(self._running.items()):
                if not running.busy and running.last < before:
                    await self._drop(name)
            if self._processes.running and not self._processes.children and self._used < before:
                await self._processes.close()

    async def close(self) -> None:
        """Stop everything."""
        for name in list(self._running):
            await self._drop(name)
        await self._processes.shut()

    async def _make_room(self) -> None:
        alive = [(running.last, name) for name, (_, running) in self._running.items() if running.alive or running.busy]
        if len(alive) < limits.WORKERS:
            return
        for _, name in sorted(alive):
            if not self._running[name][1].busy:
                await self._drop(name)
                return
        raise PluginFault("busy", f"{limits.WORKERS} plugins run already; try again in a moment")

    async def _drop(self, name: str) -> None:
        found = self._running.pop(name, None)
        if found is not None:
            with contextlib.suppress(PluginFault):
                await found[1].retire()
