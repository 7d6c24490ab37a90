"""Which replica listens: a lease in the bucket ``lease``; who has none stands by and takes over.

A replica that dies is followed within the lease's :data:`TTL`; one that is told to stop gives the lease back, and is
followed at once. A replica that cannot renew for as long as the lease lives stops listening: others may have begun. The
lease is for peace, not for correctness: should two listen, the stream keeps one of each event.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from enum import StrEnum
from typing import Final

from opencrust.bus import Bus, BusError
from opencrust.bus.lease import Leases, LeaseTaken
from opencrust.channel.adapter import Ingest

log = logging.getLogger(__name__)

TTL: Final = 3
"""Seconds; renewed every second."""
LOOK: Final = 0.2
"""How often a standby looks whether the lease is free."""
AWAY: Final = 0.5


class Role(StrEnum):
    """What this replica does besides sending."""

    LEADER = "leader"
    """Listens, by the lease."""
    TWIN = "twin"
    """Listens as the second of two."""
    STANDBY = "standby"
    LISTENER = "listener"
    """Listens as all replicas do."""
    SENDER = "sender"
    """Listens not, and waits for nothing: it stops, or its channel is switched off."""


class Leader:
    """One replica's part in who listens."""

    def __init__(self, bus: Bus, channel: str, owner: str, ingest: Ingest) -> None:
        self._bus = bus
        self._owner = owner
        self._leases = Leases(bus, owner, TTL)
        self._slots = {
            Ingest.ALL: {},
            Ingest.ONE: {f"{channel}.ingest": Role.LEADER},
            Ingest.TWIN: {f"{channel}.ingest": Role.LEADER, f"{channel}.ingest-twin": Role.TWIN},
        }[ingest]
        self.role = Role.SENDER

    async def run(self, listen: Callable[[asyncio.Event], Awaitable[None]], stopping: asyncio.Event) -> None:
        """Run ``listen`` whenever it is this replica's turn, until ``stopping``. Its event is set when it has to end;
        it is cancelled where it does not."""
        while not stopping.is_set():
            if not self._slots:
                self.role = Role.LISTENER
                await listen(stopping)
                continue
            self.role = Role.STANDBY
            for key, role in self._slots.items():
                try:
                    async with self._leases.hold(key) as lost:
                        self.role = role
                        log.info("%s listens as %s", self._owner, role)
                        await self._while_held(listen, lost, stopping)
                    break
                except LeaseTaken:
                    continue
                except BusError:
                    await _pause(AWAY, stopping)
            else:
                await _pause(LOOK, stopping)
        self.role = Role.SENDER

    async def _while_held(
        self, listen: Callable[[asyncio.Event], Awaitable[None]], lost: asyncio.Event, stopping: asyncio.Event
    ) -> None:
        end = asyncio.Event()
        listening = asyncio.ensure_future(listen(end))
        watching = [asyncio.create_task(w) for w in (lost.wait(), stopping.wait(), self._cut_off())]
        try:
            await asyncio.wait({listening, *watching}, return_when=asyncio.FIRST_COMPLETED)
            end.set()
            if not lost.is_set() and stopping.is_set():
                await asyncio.wait({listening}, timeout=1.0)  # what it has in hand is stored and acknowledged yet
        finally:
            for task in (listening, *watching):
                task.cancel()
            results = await asyncio.gather(listening, return_exceptions=True)
            await asyncio.gather(*watching, return_exceptions=True)
        if isinstance(results[0], Exception):
            raise results[0]

    async def _cut_off(self) -> bool:
        """Returns when the bus has been away for as long as the lease lives: it is another's by now."""
        loop = asyncio.get_running_loop()
        seen = loop.time()
        while loop.time() - seen < TTL:
            if self._bus.connected:
                seen = loop.time()
            await asyncio.sleep(LOOK)
        log.warning("the bus is away for %d s: this replica stops listening", TTL)
        return True


async def _pause(seconds: float, stopping: asyncio.Event) -> None:
    try:
        async with asyncio.timeout(seconds):
            await stopping.wait()
    except TimeoutError:
        return
