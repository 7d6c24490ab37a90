"""Answering ``ctl.plugins.<service>.<op>``: installing, listing, calling, disabling plugins.

``cli`` is the operator at the keyboard, and may do everything. The gateway may do what its web page offers its
administrators: look, enable, disable, remove. What runs on this machine is decided at this machine.
"""

import asyncio
import contextlib
import json
import logging
from collections.abc import AsyncIterator, Awaitable, Callable

from opencrust.bus import Bus, BusError, Message, Subscription, subjects
from opencrust.contracts import ContractError, decode, encode
from opencrust.contracts.plugins import PluginGrant, PluginRecord, PluginRequest, PluginsReply
from opencrust_agent.plugins import manifest, storage, tools
from opencrust_agent.plugins.errors import PluginError
from opencrust_agent.plugins.limits import MAX_TOOLS_IN_ALL
from opencrust_agent.plugins.plugins import Plugins
from opencrust_agent.plugins.records import Conflict
from opencrust_agent.tools import schema

log = logging.getLogger(__name__)

_GATEWAY = frozenset({"list", "enable", "disable", "remove", "log"})
_SLOW = frozenset({"inspect", "install"})
_SLOW_AT_ONCE = 4
_SLOW_WAITS = 30.0
"""Seconds: a component may take three minutes to compile, and who asks does not wait for several."""
_KEPT = 3
_CALL_SECONDS = 60.0

Operation = Callable[[PluginRequest, str], Awaitable[PluginsReply]]


class NotDone(Exception):
    """The text says why, and what to do."""


class PluginDesk:
    """One replica answers each request. Compiling takes a while, so requests are answered side by side, and whatever is
    being looked at keeps nobody from disabling."""

    def __init__(self, bus: Bus, plugins: Plugins) -> None:
        self._bus = bus
        self._plugins = plugins
        self._slow = asyncio.Semaphore(_SLOW_AT_ONCE)
        self._tasks: set[asyncio.Task[None]] = set()
        self._subscription: Subscription | None = None
        self._operations: dict[str, Operation] = {
            "inspect": self._inspect,
            "install": self._install,
            "list": self._list,
            "call": self._call,
            "enable": self._enable,
            "disable": self._disable,
            "rollback": self._rollback,
            "remove": self._remove,
            "log": self._log,
        }

    async def start(self) -> None:
        """Begin to answer."""
        subject = subjects.wildcard(subjects.CTL_PLUGINS)
        self._subscription = await self._bus.subscribe(subject, self._serve, queue="agent")

    async def close(self) -> None:
        """Answer nothing more: from now on requests go to the other replicas."""
        if self._subscription is not None:
            await self._subscription.unsubscribe()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, message: Message) -> None:
        task = asyncio.create_task(self._answer(message))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _answer(self, message: Message) -> None:
        service, op = message.subject.split(".")[-2:]
        try:
            async with self._slot(op):
                reply = await self._do(service, op, message.data)
        except (ContractError, PluginError, Conflict, NotDone) as error:
            reply = PluginsReply(error=str(error)[:2000])
        except BusError as error:
            log.warning("a request about plugins failed: %s", error)
            reply = PluginsReply(error=f"not done, the bus: {error}"[:2000])
        except Exception:
            log.exception("a request about plugins failed")
            reply = PluginsReply(error="not done, by a fault of ours: see `opencrust logs agent`")
        except asyncio.CancelledError:  # by close(): who asked must not wait for minutes
            reply = PluginsReply(error="the agent is being stopped: ask again in a moment")
        try:
            data = encode(reply)
        except ContractError:
            data = encode(PluginsReply(error="the answer is too large for one message"))
        await self._bus.respond(message, data)

    @contextlib.asynccontextmanager
    async def _slot(self, op: str) -> AsyncIterator[None]:
        if op not in _SLOW:
            yield
            return
        try:
            async with asyncio.timeout(_SLOW_WAITS):
                await self._slow.acquire()
        except TimeoutError:
            raise NotDone(f"{_SLOW_AT_ONCE} other plugins are being looked at: try again in a few minutes") from None
        try:
            yield
        finally:
            self._slow.release()

    async def _do(self, service: str, op: str, data: bytes) -> PluginsReply:
        operation = self._operations.get(op)
        if operation is None:
            raise NotDone(f"unknown operation {op!r}; there are {', '.join(self._operations)}")
        if service != "cli" and op not in _GATEWAY:
            raise NotDone(f"{op} is done at the keyboard: `opencrust plugins {op}`")
        request = decode(PluginRequest, data) if data else PluginRequest()
        return await operation(request, f"{service}:{request.by}"[:255])

    async def _inspect(self, request: PluginRequest, by: str) -> PluginsReply:
        installed, _ = await self._of_manifest(request)
        return PluginsReply(inspection=(await self._plugins.installer.inspect(request, installed)).inspection)

    async def _install(self, request: PluginRequest, by: str) -> PluginsReply:
        """Everything is looked at again: what is installed is what was agreed to, whichever replica asks."""
        installed, revision = await self._of_manifest(request)
        found = await self._plugins.installer.inspect(request, installed)
        if request.consent != found.inspection.consent:
            raise NotDone("this is not what was agreed to: it changed since the question was shown. Install it again")
        if found.inspection.new_signer and not request.accept_new_signer:
            raise NotDone(
                f"{found.manifest.name} {found.manifest.version} is not signed by the key that signed the installed "
                "version: it may be somebody else's. Ask its author; if the key is really another one now, add "
                "--accept-new-signer"
            )
        previous: list[PluginGrant] = []
        if installed is not None:
            previous = [installed.current, *installed.previous]
            previous = [grant for grant in previous if grant.consent != found.inspection.consent][:_KEPT]
        record = PluginRecord(name=found.manifest.name, current=found.grant(by), previous=previous)
        check_names(record, self._plugins.records.now)
        if installed is None:  # what a plugin of this name once kept is not its: a removal may have ended half-way
            await storage.Store(self._bus, record.name, 1).clear()
        await self._plugins.records.write(record, revision)
        self._plugins.log.add(record.name, "info", f"version {record.current.version} installed by {by}")
        await self._audit("install", record, by)
        await self._purge(installed)
        return PluginsReply(plugins=[_short(record)])

    async def _list(self, request: PluginRequest, by: str) -> PluginsReply:
        return PluginsReply(plugins=[_short(record) for _, record in sorted(self._plugins.records.now.items())])

    async def _call(self, request: PluginRequest, by: str) -> PluginsReply:
        record, _ = await self._get(request.name)
        known = {tool.name: tool for tool in record.current.tools}
        name = request.tool or (next(iter(known)) if len(known) == 1 else "")
        if name not in known:
            raise NotDone(f"name one of its tools, as in {record.name}.{next(iter(known))}: {', '.join(known)}")
        if wrong := schema.faults(request.arguments, known[name].parameters):
            raise NotDone("; ".join(wrong[:5]))
        done, text = await self._plugins.call(record.name, name, request.arguments, _CALL_SECONDS)
        return PluginsReply(text=text, failed=not done)

    async def _enable(self, request: PluginRequest, by: str) -> PluginsReply:
        return await self._switch(request.name, by, enabled=True)

    async def _disable(self, request: PluginRequest, by: str) -> PluginsReply:
        return await self._switch(request.name, by, enabled=False)

    async def _switch(self, name: str, by: str, *, enabled: bool) -> PluginsReply:
        record, revision = await self._get(name)
        record = record.model_copy(update={"enabled": enabled, "reason": ""})
        if enabled:
            check_names(record, self._plugins.records.now)
        await self._plugins.records.write(record, revision)
        await self._audit("enable" if enabled else "disable", record, by)
        return PluginsReply(plugins=[_short(record)])

    async def _rollback(self, request: PluginRequest, by: str) -> PluginsReply:
        """To the version before, which a person agreed to once. The newer one is forgotten."""
        record, revision = await self._get(request.name)
        if not record.previous:
            raise NotDone(f"{record.name} {record.current.version} is the only version that was installed")
        before = record
        grant, *older = record.previous
        enabled = record.enabled or bool(
            record.reason
        )  # what a person disabled stays so; what we did was this version's
        record = PluginRecord(name=record.name, enabled=enabled, current=grant, previous=older)
        check_names(record, self._plugins.records.now)
        await self._plugins.records.write(record, revision)
        self._plugins.log.add(record.name, "info", f"back to version {grant.version}, by {by}")
        await self._audit("rollback", record, by)
        await self._purge(before)
        return PluginsReply(plugins=[_short(record)])

    async def _remove(self, request: PluginRequest, by: str) -> PluginsReply:
        record, revision = await self._get(request.name)
        await self._plugins.records.remove(record.name, revision)
        await storage.Store(self._bus, record.name, 1).clear()
        await self._plugins.log.remove(record.name)
        await self._audit("remove", record, by)
        await self._purge(record)
        return PluginsReply(plugins=[_short(record)])

    async def _log(self, request: PluginRequest, by: str) -> PluginsReply:
        record, _ = await self._get(request.name)
        return PluginsReply(log=await self._plugins.log.read(record.name))

    async def _of_manifest(self, request: PluginRequest) -> tuple[PluginRecord | None, int]:
        return await self._plugins.records.look(manifest.read(request.manifest).name)

    async def _get(self, name: str) -> tuple[PluginRecord, int]:
        known = self._plugins.records.now
        if name not in known:
            there = f"; there are {', '.join(sorted(known))}" if known else "; none is installed"
            raise NotDone(f"there is no plugin {name!r}{there}")
        record, revision = await self._plugins.records.look(name)
        if record is None:
            raise NotDone(f"there is no plugin {name!r} any more")
        return record, revision

    async def _purge(self, before: PluginRecord | None) -> None:
        """Components that a change left without a version go from the bus; a failure is made good by the sweep."""
        if before is None:
            return
        try:
            await self._plugins.forget_unused(among={grant.wasm for grant in (before.current, *before.previous)})
        except BusError as error:
            log.warning("the component of plugin %s is not removed yet: %s", before.name, error)

    async def _audit(self, what: str, record: PluginRecord, by: str) -> None:
        entry = {
            "v": 1,
            "event": f"plugin.{what}",
            "plugin": record.name,
            "version": record.current.version,
            "wasm": record.current.wasm,
            "consent": record.current.consent,
            "by": by,
        }
        try:
            await self._bus.publish_stored(subjects.audit("agent"), json.dumps(entry).encode())
        except BusError as error:
            log.error("the %s of plugin %s is not in the audit: %s", what, record.name, error)


def check_names(record: PluginRecord, there: dict[str, PluginRecord]) -> None:
    """Before a record is written: its tools have names that no other plugin's tools have, enabled or not, and the
    enabled ones' together are as many as every provider takes.

    Raises:
        NotDone: naming the plugin in the way.
    """
    others = [other for other in there.values() if other.name != record.name]
    ours = {tools.tool_name(record.name, tool.name) for tool in record.current.tools}
    for other in others:
        for tool in other.current.tools:
            if (name := tools.tool_name(other.name, tool.name)) in ours:
                raise NotDone(f"the plugin {other.name} has the tool {name} already: remove that first")
    count = len(ours) + sum(len(other.current.tools) for other in others if other.enabled)
    if record.enabled and count > MAX_TOOLS_IN_ALL:
        raise NotDone(
            f"plugins may have at most {MAX_TOOLS_IN_ALL} tools together, and it would be {count}: disable one"
        )


def _short(record: PluginRecord) -> PluginRecord:
    """Without manifests and old versions' tools: a list of many must fit into a message."""
    return record.model_copy(
        update={
            "current": record.current.model_copy(update={"manifest": ""}),
            "previous": [
                g.model_copy(update={"manifest": "", "tools": [], "permissions": []}) for g in record.previous
            ],
        }
    )
