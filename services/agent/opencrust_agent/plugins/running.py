"""One plugin of one version that can be called: its process, started when needed, replaced when it was killed."""

import asyncio
import contextlib
import hashlib
import logging
import time
from typing import Any

from opencrust_agent.plugins import frames, limits
from opencrust_agent.plugins.components import Code
from opencrust_agent.plugins.errors import PluginFault
from opencrust_agent.plugins.host import HostCalls
from opencrust_agent.plugins.manifest import Manifest
from opencrust_agent.plugins.processes import Child, Processes

log = logging.getLogger(__name__)

DESCRIBE_SECONDS = 5.0


class Running:
    """One call at a time; others wait, and their waiting counts."""

    def __init__(self, manifest: Manifest, description: str | None, processes: Processes, code: Code) -> None:
        """Args:
        description: SHA-256 of what ``describe`` must return, looked at whenever a process starts; None: not known yet.
        """
        self.manifest = manifest
        self._description = description
        self._processes = processes
        self._code = code
        self._child: Child | None = None
        self._lock = asyncio.Lock()
        self._bucket = float(manifest.limits.calls_per_minute)
        self._filled = time.monotonic()
        self._ending: set[asyncio.Task[int]] = set()
        self._retired = False
        self.last = time.monotonic()

    @property
    def busy(self) -> bool:
        """Whether a call runs or waits."""
        return self._lock.locked()

    @property
    def alive(self) -> bool:
        """Whether it has a process."""
        return self._child is not None and not self._child.ended

    @property
    def pid(self) -> int | None:
        """Of its process."""
        return self._child.pid if self._child is not None else None

    async def describe(self) -> str:
        """What the component says of itself, with a host that answers nothing.

        Raises:
            PluginFault: it did not.
        """
        async with self._lock:
            child = await self._start()
            return await self._describe(child)

    async def call(self, text: str, host: HostCalls, deadline: float) -> tuple[bool, str]:
        """Call it; returns whether it did what was asked, and its words. A cancelled call's process is killed.

        Args:
            deadline: by time.monotonic().

        Raises:
            PluginFault: it did not return, or was not called.
        """
        self._take_token()
        size = len(text.encode())
        if size > self.manifest.limits.input_kib * limits.KiB:
            raise PluginFault("input-too-large", f"{size} bytes; {self.manifest.limits.input_kib} KiB are allowed")
        try:
            async with asyncio.timeout(max(0.0, deadline - time.monotonic())):
                await self._lock.acquire()
        except TimeoutError:
            raise PluginFault("busy", "other calls of it take all the time") from None
        try:
            try:
                async with asyncio.timeout(max(0.0, deadline - time.monotonic())):
                    child = await self._started(host)
            except TimeoutError:
                raise PluginFault("timeout", "it is still being made ready on this machine; try again soon") from None
            return await self._exchange(child, self._request(deadline, {"call": text}), host, deadline)
        finally:
            self.last = time.monotonic()
            self._lock.release()

    async def retire(self) -> None:
        """:meth:`stop`, for good: a call that waits for its process, or for its turn, starts nothing any more."""
        self._retired = True
        await self.stop()

    async def stop(self) -> None:
        """End its process, and what runs in it."""
        child, self._child = self._child, None
        if child is not None:
            await self._processes.end(child)
        await asyncio.gather(*self._ending, return_exceptions=True)

    async def _started(self, host: HostCalls) -> Child:
        if self._child is not None and not self._child.ended and not self._child.reader.at_eof():
            return self._child
        child = await self._start()
        if self._description is not None:
            said = await self._describe(child)
            if hashlib.sha256(said.encode()).hexdigest() != self._description:
                self._kill()
                raise PluginFault("changed", "it describes itself otherwise than when it was installed")
        return child

    async def _start(self) -> Child:
        await self.stop()
        fuel = self.manifest.limits.fuel is not None
        for attempt in (1, 2):
            with contextlib.closing(await self._code.open(fuel=fuel)) as code:
                try:
                    if not self._retired:
                        self._child = await self._processes.worker(self.manifest.name, code, fuel=fuel)
                    if self._retired:
                        self._kill()
                        raise _retired()
                    assert self._child is not None
                    return self._child
                except PluginFault as fault:
                    if fault.name != "stale" or attempt == 2:
                        raise
            self._code.forget()  # of another runtime or machine: compile it anew
        raise AssertionError("unreachable")

    async def _describe(self, child: Child) -> str:
        deadline = time.monotonic() + DESCRIBE_SECONDS
        request = self._request(deadline, {"describe": True, "output": limits.MAX_DESCRIPTION})
        _, text = await self._exchange(child, request, None, deadline)
        return text

    def _request(self, deadline: float, what: dict[str, Any]) -> dict[str, Any]:
        bounds = self.manifest.limits
        return {
            "ms": max(1, round((deadline - time.monotonic()) * 1000)),
            "compute_ms": bounds.compute_ms,
            "fuel": bounds.fuel,
            "memory": bounds.memory_mib * limits.MiB,
            "output": bounds.output_kib * limits.KiB,
            "host_calls": bounds.host_calls,
            **what,
        }

    async def _exchange(
        self, child: Child, request: dict[str, Any], host: HostCalls | None, deadline: float
    ) -> tuple[bool, str]:
        done = False
        try:
            async with asyncio.timeout(max(0.0, deadline - time.monotonic()) + limits.WATCHDOG):
                child.send(request)
                while True:
                    said = await frames.read(child.reader)
                    if host is not None and "log" in said:
                        host.log(said["log"])
                    elif host is not None and "host" in said:
                        child.send(await host.answer(said["host"], said.get("arguments")))
                    else:
                        done = True
                        return _outcome(said, request["output"])
        except TimeoutError:
            raise PluginFault("timeout", "it did not return in time and was killed") from None
        except frames.Broken:
            if self._retired:
                raise _retired() from None
            raise PluginFault("worker", "its process ended in the middle of the call") from None
        finally:
            if not done:
                self._kill()

    def _kill(self) -> None:
        """At once and without waiting: also when the call was cancelled."""
        child, self._child = self._child, None
        if child is not None:
            task = asyncio.create_task(self._processes.end(child))
            self._ending.add(task)
            task.add_done_callback(self._ending.discard)

    def _take_token(self) -> None:
        """Token bucket of calls_per_minute, refilled evenly."""
        now, most = time.monotonic(), float(self.manifest.limits.calls_per_minute)
        self._bucket = min(most, self._bucket + (now - self._filled) * most / 60)
        self._filled = now
        if self._bucket < 1:
            raise PluginFault("rate-limited", f"more than {most:g} calls a minute; try again in a moment")
        self._bucket -= 1


def _retired() -> PluginFault:
    return PluginFault("disabled", "it was disabled, removed or replaced just now")


def _outcome(said: dict[str, Any], most: int) -> tuple[bool, str]:
    if "fault" in said:
        raise PluginFault(str(said["fault"])[:40], str(said.get("detail", ""))[:300])
    text = said.get("ok", said.get("error"))
    if not isinstance(text, str):
        raise PluginFault("worker", "its process does not keep to the protocol")
    if len(text.encode()) > most:
        raise PluginFault("output-too-large", f"more than {most} bytes")
    return "ok" in said, text
