"""The agent's end of a plugin's host functions, for one call: it counts, and decides by the grant."""

import asyncio
import time
from collections.abc import Iterable
from typing import Any, Protocol

from opencrust.bus import BusError
from opencrust_agent.plugins import limits, storage
from opencrust_agent.plugins.broker import Broker
from opencrust_agent.plugins.errors import PluginFault
from opencrust_agent.plugins.manifest import SENDING, Manifest


class Sink(Protocol):
    """Where a plugin's log lines go."""

    def __call__(self, level: str, text: str) -> None: ...


class HostCalls:
    """One call's. Whatever it is asked for, in whatever order, it answers with data or ends the call."""

    def __init__(
        self,
        manifest: Manifest,
        broker: Broker,
        store: storage.Store | None,
        sink: Sink,
        *,
        deadline: float,
        effects: Iterable[str],
    ) -> None:
        """Args:
        store: None: the manifest asks for none.
        deadline: of the call, by time.monotonic().
        effects: of the tool, as agreed to.
        """
        self._manifest = manifest
        self._broker = broker
        self._store = store
        self._sink = sink
        self._deadline = deadline
        self._reading = SENDING.isdisjoint(effects)
        self._keeps = "write" in effects
        self._calls = 0
        self._requests = 0
        self._lines = 0

    def log(self, said: Any) -> None:
        """A line of the plugin's own.

        Raises:
            PluginFault: a worker that sends more than it can is not ours any more.
        """
        self._lines += 1
        match said:
            case [str(level), str(text)] if self._lines <= limits.LOG_LINES + 1 and len(text) <= limits.LOG_LINE:
                self._sink(level, text)
            case _:
                raise PluginFault("host-calls", "its process does not keep to the protocol")

    async def answer(self, name: Any, arguments: Any) -> dict[str, Any]:
        """The frame to answer with.

        Raises:
            PluginFault: ``host-calls``: too many.
        """
        self._calls += 1
        if self._calls > self._manifest.limits.host_calls:
            raise PluginFault("host-calls", f"it asked the host more than {self._manifest.limits.host_calls} times")
        texts = arguments if isinstance(arguments, list) and all(isinstance(a, str) for a in arguments) else None
        try:
            match name, texts:
                case "http-fetch", [request]:
                    return await self._fetch(request)
                case "kv-get", [key]:
                    return {} if self._store is None else {"value": await self._store.get(key)}
                case "kv-set", [key, value]:
                    if self._store is None:
                        return {"error": "it was not granted a store"}
                    if not self._keeps:
                        return {"error": "this tool may only read (its effects in plugin.toml have no `write`)"}
                    await self._store.set(key, value)
                    return {"ok": ""}
        except storage.Refused as error:
            return {"error": str(error)} if name == "kv-set" else {}
        except BusError:
            return {"error": "the store cannot be reached"} if name == "kv-set" else {}
        raise PluginFault("host-calls", "its process does not keep to the protocol")

    async def _fetch(self, request: str) -> dict[str, Any]:
        self._requests += 1
        if self._requests > self._manifest.limits.http_calls:
            return {"error": f"more than {self._manifest.limits.http_calls} requests in one call"}
        left = self._deadline - time.monotonic()
        if left <= 0:
            return {"error": "there is no time left"}
        async with asyncio.timeout(left + limits.WATCHDOG):
            done, text = await self._broker.fetch(self._manifest, request, seconds=left, reading=self._reading)
        return {"ok": text} if done else {"error": text}
