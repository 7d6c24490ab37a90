"""One way to start a service, to say that it is ready, to drain it and to stop it.

A service is ``async def run(context)``: it connects nothing itself, holds no module state, calls :meth:`Context.ready`
once it serves, and returns soon after :attr:`Context.stopping` is set. Its ``__main__`` is two lines::

    def main() -> int:
        return serve("agent", run, Settings.from_environment(os.environ))

Exit codes: 0 stopped as asked · 1 failed, start me again · 75 the bus turned this identity away, start me again ·
78 the settings are wrong, starting again will not help.
"""

import asyncio
import contextlib
import logging
import os
import secrets
import signal
import sys
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

import opencrust
from opencrust import telemetry
from opencrust.bus import Bus
from opencrust.bus.health import Health
from opencrust.contracts.base import explain
from opencrust.identity import Identity, IdentityError

log = logging.getLogger(__name__)

EXIT_STOPPED = 0
EXIT_FAILED = 1
EXIT_TURNED_AWAY = 75  # EX_TEMPFAIL of sysexits.h
EXIT_SETTINGS = 78  # EX_CONFIG

DRAIN_SECONDS = 10.0
"""From SIGTERM to the end, at most."""
PULSE_SECONDS = 5.0
READY_FILE = "ready"
"""Touched in the state directory at every pulse while ready: what a container's health check looks at."""


class SettingsError(Exception):
    """The environment of a service is wrong. The text says which variable, and what it should be."""


class Settings(BaseModel):
    """What every service is told, by environment variables ``OPENCRUST_<NAME>``. None of it is secret."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    identity_dir: Path
    """Holds this service's certificate, key and trust bundle."""
    state_dir: Path
    """Scratch of this service alone."""
    bus_url: str = "tls://127.0.0.1:4222"
    log_level: str = "info"
    otlp_endpoint: str | None = None
    """Base URL of an OTLP/HTTP receiver; ``OTEL_EXPORTER_OTLP_ENDPOINT`` is read too. None: nothing is exported."""
    ready_fd: int | None = None
    """A pipe to write ``READY`` to."""

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> "Settings":
        """Read them.

        Raises:
            SettingsError: one is missing or malformed.
        """
        given = {
            name: environment[variable]
            for name in cls.model_fields
            if environment.get(variable := f"OPENCRUST_{name.upper()}")
        }
        if endpoint := environment.get("OTEL_EXPORTER_OTLP_ENDPOINT"):
            given.setdefault("otlp_endpoint", endpoint)
        try:
            return cls.model_validate(given)
        except ValidationError as error:
            raise SettingsError(f"settings of the service (OPENCRUST_… in its environment): {explain(error)}") from None


@dataclass(slots=True)
class Context:
    """What a running service works with."""

    service: str
    settings: Settings
    environment: Mapping[str, str]
    """For a service's own settings; see its ``settings.py``."""
    identity: Identity
    bus: Bus
    instance: str
    """This process among the replicas of the service."""
    redactor: telemetry.Redactor
    stopping: asyncio.Event = field(default_factory=asyncio.Event)
    facts: Callable[[], dict[str, object]] = dict
    """Plain facts about the service for its STATS; replace it. Nothing secret."""
    is_ready: bool = False
    broken: "asyncio.Future[None]" = field(default_factory=lambda: asyncio.get_running_loop().create_future())
    """Ends with the error of a background task that ended; the service then ends too, to be started again."""

    def spawn(self, work: Coroutine[Any, Any, None]) -> "asyncio.Task[None]":
        """Run ``work`` beside the service until the service cancels it. Should it fail, the service fails: a part that
        died in silence would leave a service that looks well and does nothing."""
        task = asyncio.create_task(work)
        task.add_done_callback(self._ended)
        return task

    def ready(self) -> None:
        """The service serves from now on."""
        if not self.is_ready:
            self.is_ready = True
            self._notify(b"READY\n")
            self._touch()
            log.info("ready")

    def not_ready(self, why: str) -> None:
        """The service runs but cannot serve now."""
        if self.is_ready:
            self.is_ready = False
            with contextlib.suppress(OSError):
                (self.settings.state_dir / READY_FILE).unlink()
            log.info("not ready: %s", why)

    async def pulse(self) -> None:
        """Follow renewed certificates and keep the ready file fresh, for ever."""
        while True:
            await asyncio.sleep(PULSE_SECONDS)
            with contextlib.suppress(IdentityError, OSError):
                if self.identity.reload_if_changed():
                    log.info("certificate renewed")
            if self.is_ready and self.bus.connected:
                self._touch()

    def _ended(self, task: "asyncio.Task[None]") -> None:
        if not task.cancelled() and task.exception() is not None and not self.broken.done():
            self.broken.set_exception(task.exception() or RuntimeError())

    def _touch(self) -> None:
        with contextlib.suppress(OSError):
            (self.settings.state_dir / READY_FILE).touch(mode=0o600)

    def _notify(self, line: bytes) -> None:
        if self.settings.ready_fd is not None:
            with contextlib.suppress(OSError):
                os.write(self.settings.ready_fd, line)


Run = Callable[[Context], Awaitable[None]]


def serve(
    service: str, run: Run, settings: Settings, environment: Mapping[str, str] | None = None, *, name: str | None = None
) -> int:
    """Run a service until SIGTERM or SIGINT; returns its exit code. Blocks: for a fresh or freshly forked process.

    Args:
        service: as the registry of the bus calls it; the certificate must say the same.
        name: of this instance; made up if not given.
    """
    told = telemetry.configure(service, settings.otlp_endpoint, log_level=settings.log_level)
    settings.state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    (settings.state_dir / READY_FILE).unlink(missing_ok=True)
    instance = name or f"{service}-{secrets.token_hex(4)}"
    try:
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            return runner.run(_serve(service, run, settings, environment or {}, instance, told.redactor))
    except (IdentityError, SettingsError) as error:
        log.error("%s", error)
        return EXIT_SETTINGS
    finally:
        told.shutdown()


def main(service: str, run: Run) -> int:
    """Entry point of a service that is started as a process of its own, with its settings in the environment."""
    try:
        settings = Settings.from_environment(os.environ)
    except SettingsError as error:
        print(f"{service}: {error}", file=sys.stderr)  # noqa: T201 - before there is a log
        return EXIT_SETTINGS
    return serve(service, run, settings, dict(os.environ))


async def _serve(
    service: str,
    run: Run,
    settings: Settings,
    environment: Mapping[str, str],
    instance: str,
    redactor: telemetry.Redactor,
) -> int:
    identity = Identity(settings.identity_dir)
    if identity.service != service:
        raise IdentityError(f"the certificate in {settings.identity_dir} is of {identity.service!r}, not {service!r}")
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)

    bus = await _connect(settings.bus_url, identity, instance, stopping)
    if bus is None:
        return EXIT_STOPPED
    context = Context(service, settings, environment, identity, bus, instance, redactor, stopping)
    tasks = _Tasks(
        service=asyncio.create_task(_run(run, context)),
        pulse=asyncio.create_task(context.pulse()),
        stop=asyncio.create_task(stopping.wait()),
    )
    try:
        ends: set[asyncio.Future[object]] = {tasks.service, tasks.stop, bus.lost, context.broken}  # type: ignore[arg-type]
        await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        if bus.lost.done():
            log.error("%s", bus.lost.result())
            return EXIT_TURNED_AWAY
        if context.broken.done():
            log.error("a part of it failed", exc_info=context.broken.exception())
            return EXIT_FAILED
        if not tasks.service.done():
            log.info("stopping")
            await asyncio.wait({tasks.service}, timeout=DRAIN_SECONDS - 1)
        return await _outcome(tasks.service, asked=stopping.is_set())
    finally:
        for task in (tasks.service, tasks.pulse, tasks.stop):
            task.cancel()
        await asyncio.gather(tasks.service, tasks.pulse, tasks.stop, return_exceptions=True)
        with contextlib.suppress(OSError):
            (settings.state_dir / READY_FILE).unlink()
        await bus.close()


@dataclass(frozen=True, slots=True)
class _Tasks:
    service: asyncio.Task[None]
    pulse: asyncio.Task[None]
    stop: asyncio.Task[bool]


async def _run(run: Run, context: Context) -> None:
    await Health(
        context.bus, opencrust.__version__, context.instance, lambda: context.is_ready, lambda: context.facts()
    ).start()
    await run(context)


async def _outcome(service: "asyncio.Task[None]", *, asked: bool) -> int:
    if not service.done():
        log.error("did not stop within %g s", DRAIN_SECONDS)
        return EXIT_FAILED
    error = service.exception()
    if error is not None:
        if isinstance(error, SettingsError):
            raise error
        log.error("failed", exc_info=error)
        return EXIT_FAILED
    if not asked:
        log.error("ended without being asked to")
        return EXIT_FAILED
    return EXIT_STOPPED


async def _connect(url: str, identity: Identity, instance: str, stopping: asyncio.Event) -> Bus | None:
    """Wait for the bus however long it takes: services start in any order. None if told to stop meanwhile."""
    connecting = asyncio.create_task(Bus.connect(url, identity, name=instance, timeout=None))
    waiting = asyncio.create_task(stopping.wait())
    await asyncio.wait({connecting, waiting}, return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()
    if connecting.done():
        return connecting.result()
    connecting.cancel()
    await asyncio.gather(connecting, return_exceptions=True)
    return None


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop]:
    try:
        import uvloop
    except ImportError:  # a platform without it
        return asyncio.new_event_loop
    return uvloop.new_event_loop
