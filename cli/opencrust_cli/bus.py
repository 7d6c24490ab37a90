"""A short connection to the running bus as the identity ``cli``."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from opencrust.bus import Bus, BusError
from opencrust.identity import Identity, IdentityError
from opencrust_cli import running
from opencrust_cli.errors import CommandError, NotRunning
from opencrust_cli.home import Home

CONNECT_SECONDS = 5.0
Result = TypeVar("Result")


def with_bus(home: Home, work: Callable[[Bus], Awaitable[Result]]) -> Result:
    """Connect, do `work`, and disconnect.

    Raises:
        NotRunning: nothing runs in this home.
        CommandError: the bus does not answer, or refuses something.
    """
    running.require(home)
    url = running.read_status(home).get("bus_url")
    if not isinstance(url, str):
        raise NotRunning("OpenCrust is only just starting: try again in a moment")
    try:
        return asyncio.run(_with_bus(home, url, work))
    except IdentityError as error:
        raise CommandError(f"the command's own certificate cannot be used: {error}") from None
    except BusError as error:
        raise CommandError(f"the bus: {error}") from None


async def _with_bus(home: Home, url: str, work: Callable[[Bus], Awaitable[Result]]) -> Result:
    bus = await Bus.connect(url, Identity(home.identity("cli")), timeout=CONNECT_SECONDS)
    try:
        return await work(bus)
    finally:
        await bus.close()
