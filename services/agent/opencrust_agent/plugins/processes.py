"""The zygote and its children as the agent sees them. Started with the first plugin that is compiled or called."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from opencrust_agent.plugins import frames, limits
from opencrust_agent.plugins.errors import PluginFault, PluginRefused

log = logging.getLogger(__name__)

UNLOCKED = "OPENCRUST_AGENT_PLUGINS_UNLOCKED"
"""Set to 1, plugins run even where Landlock or seccomp is missing. For development on another system alone."""
_START_SECONDS = 30.0
_ORDER_SECONDS = 10.0


@dataclass(slots=True)
class Child:
    """A forked process and our end of its socket."""

    pid: int
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    ended: bool = False

    def send(self, message: dict[str, Any]) -> None:
        """Queue a frame; the socket takes it at once, as the process only ever waits for us."""
        self.writer.write(frames.encode(message))


class Processes:
    """The zygote: started when needed, ended with :meth:`close` or when it was not needed for `idle` seconds."""

    def __init__(self, *, unlocked: bool = False) -> None:
        self._unlocked = unlocked
        self._zygote: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None
        self._lock = asyncio.Lock()
        self._compiling = asyncio.Lock()
        self._over = False
        self._closing: set[asyncio.Task[Any]] = set()
        self.children: dict[int, Child] = {}

    @property
    def running(self) -> bool:
        """Whether there is a zygote."""
        return self._zygote is not None and self._zygote.poll() is None

    @property
    def pid(self) -> int | None:
        """The zygote's."""
        return self._zygote.pid if self._zygote is not None else None

    async def worker(self, name: str, code: BinaryIO, *, fuel: bool) -> Child:
        """A locked process that has loaded `code` and waits for calls.

        Raises:
            PluginFault: ``stale`` (the code is of another version of the runtime), ``lock`` (this system cannot lock a
                plugin in, so none is run), ``worker`` (it ended at its start).
        """
        order = {"do": "worker", "name": name, "fuel": fuel, "unlocked": self._unlocked}
        child = await self._fork(order, code.fileno())
        try:
            async with asyncio.timeout(_ORDER_SECONDS):
                said = await frames.read(child.reader)
        except (frames.Broken, TimeoutError):
            raise PluginFault("worker", f"its process did not start ({_ending(await self.end(child))})") from None
        except asyncio.CancelledError:
            await asyncio.shield(self.end(child))
            raise
        if "ready" not in said:
            await self.end(child)
            raise PluginFault(str(said.get("fault")), str(said.get("detail")))
        return child

    async def compile(self, component: BinaryIO, code: BinaryIO, *, fuel: bool) -> None:
        """Compile `component` into `code`, in a process of its own; one at a time.

        Raises:
            PluginRefused: it is no plugin, or takes more to compile than anything may.
            PluginFault: ``lock``: this system cannot lock it in.
        """
        async with self._compiling:
            order = {
                "do": "compile",
                "name": "compiler",
                "fuel": fuel,
                "cpu": limits.COMPILE_CPU,
                "memory": limits.COMPILE_MEMORY,
                "unlocked": self._unlocked,
            }
            child = await self._fork(order, component.fileno(), code.fileno())
            started = time.monotonic()
            said: dict[str, Any] = {}
            late = False
            try:
                async with asyncio.timeout(limits.COMPILE_WALL):
                    said = await frames.read(child.reader)
            except frames.Broken:
                pass
            except TimeoutError:
                late = True
            finally:
                status = await asyncio.shield(self.end(child))
            if "ok" in said:
                log.info("compiled a component of %d bytes in %.1f s", said["ok"], time.monotonic() - started)
                return
            if said.get("fault") == "lock":
                raise PluginFault("lock", str(said["detail"]))
            if "fault" in said:
                raise PluginRefused(str(said["detail"]))
            if late:
                raise PluginRefused(f"compiling it was ended: it took more than {limits.COMPILE_WALL:g} s")
            if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGXCPU:
                raise PluginRefused(f"compiling it was ended: more than {limits.COMPILE_CPU} s of processor time")
            raise PluginRefused(
                f"compiling it was ended: it takes more than {limits.COMPILE_MEMORY // limits.MiB} MiB, or makes the "
                f"compiler fail ({_ending(status)})"
            )

    async def end(self, child: Child) -> int:
        """Kill a child if it still runs; returns its wait status (0 if the zygote is gone, and the child with it)."""
        if child.ended:
            return 0
        child.ended = True
        self.children.pop(child.pid, None)
        self._hang_up(child)
        return await self._end(child.pid)

    async def close(self) -> None:
        """End the zygote, and with it all its children."""
        async with self._lock:
            for child in self.children.values():
                child.ended = True
                self._hang_up(child)
            self.children.clear()
            await self._stop()
        await asyncio.gather(*self._closing, return_exceptions=True)

    async def shut(self) -> None:
        """:meth:`close`, for good: an order that waited meanwhile starts nothing any more."""
        self._over = True
        await self.close()

    def _hang_up(self, child: Child) -> None:
        """Close our end, without waiting: whoever ends a child may be cancelled over it."""
        child.writer.close()
        closing = asyncio.create_task(child.writer.wait_closed())
        self._closing.add(closing)
        closing.add_done_callback(self._closing.discard)
        closing.add_done_callback(lambda task: task.cancelled() or task.exception())

    async def _fork(self, order: dict[str, Any], *descriptors: int) -> Child:
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        ordered = asyncio.create_task(self._exchange(order, (theirs.fileno(), *descriptors), start=True))
        try:
            said = await asyncio.shield(ordered)
            reader, writer = await asyncio.open_connection(sock=ours, limit=frames.LARGEST + 4)
        except BaseException:
            ours.close()
            ordered.add_done_callback(self._orphaned)
            raise
        finally:
            theirs.close()
        child = self.children[said["pid"]] = Child(said["pid"], reader, writer)
        return child

    def _orphaned(self, ordered: asyncio.Task[dict[str, Any]]) -> None:
        """Whoever asked for a process is gone: so is the process, and its number with the zygote."""
        if ordered.cancelled() or ordered.exception() is not None:
            return
        ending = asyncio.create_task(self._end(ordered.result()["pid"]))
        self._closing.add(ending)
        ending.add_done_callback(self._closing.discard)

    async def _end(self, pid: int) -> int:
        with contextlib.suppress(PluginFault):
            return int((await self._order({"do": "end", "pid": pid}))["status"])
        return 0

    async def _order(self, order: dict[str, Any]) -> dict[str, Any]:
        # Shielded: an order that was given must be answered, or the next one would read the answer.
        return await asyncio.shield(asyncio.create_task(self._exchange(order, (), start=False)))

    async def _exchange(self, order: dict[str, Any], descriptors: tuple[int, ...], start: bool) -> dict[str, Any]:
        copies = [os.dup(descriptor) for descriptor in descriptors]  # whoever asked may be gone before we send
        try:
            async with self._lock:
                if not self.running:
                    await self._stop()
                    if not start or self._over:
                        raise PluginFault("worker", "the plugins' processes have ended")
                    await self._start()
                assert self._control is not None
                try:
                    async with asyncio.timeout(_ORDER_SECONDS):
                        socket.send_fds(self._control, [json.dumps(order).encode()], copies)
                        return await self._line()
                except (OSError, TimeoutError, ValueError):
                    await self._stop()
                    raise PluginFault(
                        "worker", "the plugins' processes have ended; they start with the next call"
                    ) from None
        finally:
            for copy in copies:
                os.close(copy)

    async def _start(self) -> None:
        ours, theirs = socket.socketpair()
        try:
            self._zygote = subprocess.Popen(  # noqa: ASYNC220, S603 - a fork and an exec of ourselves: milliseconds
                [sys.executable, "-I", "-B", str(Path(__file__).with_name("zygote.py"))],
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env={"LC_ALL": "C.UTF-8"},
                cwd="/",
            )
        except OSError as error:
            ours.close()
            raise PluginFault("worker", f"the plugins' process cannot be started ({error.strerror})") from None
        finally:
            theirs.close()
        ours.setblocking(False)
        self._control = ours
        ours.sendall(json.dumps(_import_path()).encode() + b"\n")
        try:
            async with asyncio.timeout(_START_SECONDS):
                await self._line()
        except (OSError, TimeoutError, ValueError):
            await self._stop()
            raise PluginFault("worker", "the plugins' process did not start") from None

    async def _line(self) -> dict[str, Any]:
        assert self._control is not None
        data = b""
        while not data.endswith(b"\n"):
            piece = await asyncio.get_running_loop().sock_recv(self._control, 65536)
            if not piece:
                raise OSError("ended")
            data += piece
        answer: dict[str, Any] = json.loads(data)
        return answer

    async def _stop(self) -> None:
        zygote, control = self._zygote, self._control
        self._zygote = self._control = None
        if control is not None:
            control.close()
        if zygote is not None:
            zygote.kill()
            await asyncio.to_thread(zygote.wait)


def _import_path() -> list[str]:
    return [os.path.abspath(path) for path in sys.path if path]


def _ending(status: int) -> str:
    if os.WIFSIGNALED(status):
        return signal.Signals(os.WTERMSIG(status)).name
    return f"exit code {os.waitstatus_to_exitcode(status)}"
