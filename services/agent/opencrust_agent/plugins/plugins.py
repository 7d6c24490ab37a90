"""All of it together, as the agent's main wires it: the lock, the processes, the tools. Idle it costs nothing."""

import asyncio
import contextlib
import logging
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from opencrust.bus import Bus, BusError
from opencrust.contracts.plugins import PluginRecord
from opencrust.credentials import Credentials, Secret
from opencrust_agent.assess import Assessor
from opencrust_agent.egress import Egress
from opencrust_agent.plugins import description, limits, manifest, storage
from opencrust_agent.plugins.broker import PURPOSE, Broker, Leaks
from opencrust_agent.plugins.cache import Cache
from opencrust_agent.plugins.components import Components
from opencrust_agent.plugins.errors import PluginError, PluginFault, PluginRefused
from opencrust_agent.plugins.fleet import Fleet
from opencrust_agent.plugins.host import HostCalls
from opencrust_agent.plugins.installer import Installer
from opencrust_agent.plugins.processes import UNLOCKED, Processes
from opencrust_agent.plugins.records import Conflict, Records
from opencrust_agent.plugins.tools import PluginsTool, input_json

log = logging.getLogger(__name__)


class Plugins:
    """This replica's plugins. One per process; :meth:`start` it before use, :meth:`close` it at the end."""

    def __init__(
        self,
        bus: Bus,
        state: Path,
        egress: Egress,
        credentials: Credentials,
        leaks: Leaks,
        assessor: Assessor,
        environment: Mapping[str, str] | None = None,
        *,
        idle: float = limits.IDLE,
    ) -> None:
        """Args:
        state: the agent's own directory, for machine code.
        leaks: finds secrets of the house in what a plugin sends.
        environment: for :data:`~opencrust_agent.plugins.processes.UNLOCKED`.
        """

        async def lease(name: str) -> Secret:
            return await credentials.get(name, purpose=PURPOSE)

        self._bus = bus
        self._cache = Cache(state / "plugins")
        self.processes = Processes(unlocked=(environment or {}).get(UNLOCKED) == "1")
        self.records = Records(bus, self._changed)
        self._components = Components(bus, self._cache, self.processes, self._used)
        self.fleet = Fleet(self._components, self.processes, lambda: self.records.now, idle=idle)
        self.installer = Installer(self._components, self.processes, assessor)
        self.log = storage.Log(bus)
        self._broker = Broker(egress, lease, leaks)
        self._tools: list[PluginsTool] = []
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Follow the lock, and stop what is idle.

        Raises:
            BusError: the bus is away.
        """
        await self.records.start()
        self._spawn(self.fleet.sweep())
        self._spawn(self._sweep())

    async def close(self) -> None:
        """End all processes."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._components.close()
        await self.fleet.close()
        await self.log.close()

    def tools(self) -> list[PluginsTool]:
        """The tools of all enabled plugins: a source for the agent's registry."""
        return self._tools

    def facts(self) -> dict[str, object]:
        """For status output."""
        return {
            "installed": {name: record.current.version for name, record in sorted(self.records.now.items())},
            "disabled": sorted(name for name, record in self.records.now.items() if not record.enabled),
            "running": self.fleet.running(),
        }

    async def call(self, name: str, tool: str, arguments: dict[str, Any], seconds: float) -> tuple[bool, str]:
        """Call a tool of an installed plugin; returns whether it did it, and its words.

        Args:
            seconds: at most; the plugin's own limit may be shorter.

        Raises:
            PluginFault, PluginRefused: it was not called, or did not return.
        """
        record = self.records.now.get(name)
        if record is None:
            raise PluginFault("not-installed", f"there is no plugin {name!r}")
        if not record.enabled:
            why = record.reason or "somebody disabled it"
            raise PluginFault("disabled", f"{why}; `opencrust plugins enable {name}` lets it run again")
        started = time.monotonic()
        try:
            done, text = await self._call(record, tool, arguments, started + seconds)
        except PluginError as error:
            self.log.add(name, "error", f"{tool} failed after {time.monotonic() - started:.2f} s: {error}")
            if isinstance(error, PluginFault) and error.name == "changed":
                await self._disable(record, f"{error.detail} (a rug pull, or a damaged file)")
            raise
        except BusError as error:
            raise PluginFault("bus", f"the bus is away: {error}") from None
        except asyncio.CancelledError:
            self.log.add(name, "warn", f"{tool} was stopped after {time.monotonic() - started:.2f} s")
            raise
        self.log.add(name, "info", f"{tool} {'done' if done else 'refused'} in {time.monotonic() - started:.2f} s")
        return done, text

    async def _call(
        self, record: PluginRecord, tool: str, arguments: dict[str, Any], latest: float
    ) -> tuple[bool, str]:
        running = await self.fleet.get(record.name, record.current)
        wanted = running.manifest
        deadline = min(latest, time.monotonic() + wanted.limits.timeout_ms / 1000)
        store = None if wanted.kv is None else storage.Store(self._bus, record.name, wanted.kv.max_kib)

        def sink(level: str, text: str) -> None:
            self.log.add(record.name, level, text)

        effects = next((known.effects for known in record.current.tools if known.name == tool), ["read"])
        host = HostCalls(wanted, self._broker, store, sink, deadline=deadline, effects=effects)
        return await running.call(input_json(tool, arguments), host, deadline)

    async def _disable(self, record: PluginRecord, reason: str) -> None:
        """By ourselves, with the reason; another replica may have done it already."""
        log.error("plugin %s is disabled: %s", record.name, reason)
        with contextlib.suppress(Conflict, BusError):
            now, revision = await self.records.look(record.name)
            if now is not None and now.enabled and now.current.consent == record.current.consent:
                await self.records.write(now.model_copy(update={"enabled": False, "reason": reason}), revision)

    async def forget_unused(self, *, older: float = 0.0, among: set[str] | None = None) -> None:
        """Remove from the bus the components that no installed version has.

        Args:
            older: seconds since they were stored.
            among: only these; None: all there are, which may be of an installation that is just being agreed to.

        Raises:
            BusError: not all are removed; they go with the next sweep.
        """
        used = await self.records.components()
        if among is not None:
            await self._components.remove(among - used)
        elif removed := await self._components.remove_unused(used, older=older):
            log.info("removed %d components that nobody installed", len(removed))

    async def _sweep(self) -> None:
        """What was looked at and not agreed to, or was left when a process died in the middle; for ever."""
        while True:
            try:
                await self.forget_unused(older=limits.UNUSED)
                await self._components.tidy()
            except BusError as error:
                log.warning("unused components cannot be looked for: %s", error)
            await asyncio.sleep(limits.SWEEP)

    def _changed(self) -> None:
        records = [record for _, record in sorted(self.records.now.items()) if record.enabled]
        self._tools = [tool for record in records for tool in self._of(record)]
        self._components.agreed()
        self._spawn(self._follow())

    def _used(self) -> set[str]:
        return {grant.wasm for record in self.records.now.values() for grant in (record.current, *record.previous)}

    def _of(self, record: PluginRecord) -> list[PluginsTool]:
        try:
            wanted = manifest.read(record.current.manifest)
            for tool in record.current.tools:  # installed by a version of ours that knew less
                if description.parameters(tool.parameters, tool.name) != tool.parameters:
                    raise PluginRefused(f"tool {tool.name}: its parameters are no longer accepted; install it again")
            return [PluginsTool(record, wanted, tool, self.call) for tool in record.current.tools]
        except (PluginRefused, ValueError) as error:
            log.error("plugin %s does not run, its record does not hold any more: %s", record.name, error)
            return []

    async def _follow(self) -> None:
        await self.fleet.follow_records()
        await self._components.tidy()
        for record in list(self.records.now.values()):
            if not record.enabled:
                continue
            try:
                fuel = manifest.read(record.current.manifest).limits.fuel is not None
                await self._components.prepare(record.current.wasm, fuel=fuel)
            except (PluginError, BusError) as error:
                log.warning("plugin %s is not compiled yet: %s", record.name, error)

    def _spawn(self, work: Any) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
