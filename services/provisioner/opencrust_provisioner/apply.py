"""What needs the bus: streams and durables, and the person's configuration for the services."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from opencrust.bus import ApiError, Bus, BusError, Disconnected, NoResponders, Timeout, topology
from opencrust.config import Configuration
from opencrust.identity import Identity

log = logging.getLogger(__name__)

RETRY_PAUSE = 0.2

_Result = TypeVar("_Result")


@dataclass(frozen=True, slots=True)
class Done:
    """What one run changed: names of streams and consumers, and keys of the bucket ``cfg``."""

    created: list[str]
    updated: list[str]
    published: list[str]


async def apply(home: Path, url: str, *, reload: bool, replicas: int, timeout: float) -> Done:
    """Bring the server and the bucket ``cfg`` up to date. Waits up to ``timeout`` seconds for the bus.

    Args:
        reload: first have the server read its configuration and certificates again.

    Raises:
        BusError: the bus is away, or refused something.
        ConfigError: the person's configuration is wrong; nothing of it was published.
    """
    configuration = Configuration.load(home)
    if reload:
        await _reload(home, url, timeout)
    bus = await Bus.connect(url, Identity(home / "identity" / "provisioner"), timeout=timeout)
    try:
        made = await _when_there(
            lambda: topology.apply(bus, replicas=replicas, max_bytes=configuration.stream_bytes), timeout
        )
        published = await _when_there(lambda: _publish(bus, configuration), timeout)
        return Done(made.created, made.updated, published)
    finally:
        await bus.close()


async def _when_there(doing: Callable[[], Awaitable[_Result]], timeout: float) -> _Result:
    """JetStream is away for a moment while the server starts or reads its configuration again: try until it answers."""
    deadline = asyncio.get_running_loop().time() + timeout
    while True:
        try:
            return await doing()
        except (Timeout, Disconnected, NoResponders) as error:
            if asyncio.get_running_loop().time() > deadline:
                raise
            log.info("JetStream does not answer yet: %s", error)
            await asyncio.sleep(RETRY_PAUSE)


async def _publish(bus: Bus, configuration: Configuration) -> list[str]:
    """Put what each service is to know under ``<service>.<key>``; services hear of it by the bucket's republish."""
    keys = bus.kv("cfg")
    published = []
    for key, value in configuration.for_services().items():
        entry = await keys.get(key)
        if entry is None or entry.value != value:
            await keys.put(key, value)
            published.append(key)
    return published


async def _reload(home: Path, url: str, timeout: float) -> None:
    bus = await Bus.connect(url, Identity(home / "identity" / "reloader"), timeout=timeout)
    try:
        await bus.reload_server()
    except (ApiError, Timeout) as error:
        raise BusError(f"nats-server did not take its new configuration: {error}") from None
    finally:
        await bus.close()
