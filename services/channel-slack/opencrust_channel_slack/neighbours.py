"""Whether other replicas listen: each of them notes every few seconds that it does, in one place on the bus."""

import asyncio
import contextlib
import json
import secrets
import time
from collections.abc import Awaitable, Callable
from typing import Final

from opencrust.bus import BusError

BEAT_SECONDS: Final = 4.0
GONE_SECONDS: Final = 20.0
KEY: Final = "listeners"


class Neighbours:
    """The replicas that listen, as one of them sees it.

    Two that write at the same moment overwrite each other, until the next beat: it is for caution, not for correctness.

    Args:
        read, keep: short texts that outlive us (:class:`~opencrust.channel.adapter.Runtime`'s ``cursor`` and ``keep``).
        clock: Unix time.
    """

    def __init__(
        self,
        read: Callable[[str], Awaitable[str | None]],
        keep: Callable[[str, str], Awaitable[None]],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._read = read
        self._keep = keep
        self._clock = clock
        self._name = secrets.token_hex(4)
        self.any = False

    async def beat(self) -> None:
        """Note that we listen, and look who else does. Raises BusError."""
        now = self._clock()
        others = {
            name: at
            for name, at in _listed(await self._read(KEY)).items()
            if name != self._name and abs(now - at) < GONE_SECONDS
        }
        self.any = bool(others)
        await self._keep(KEY, json.dumps({**others, self._name: round(now, 1)}))

    async def beating(self) -> None:
        """Do so for ever."""
        while True:
            with contextlib.suppress(BusError):
                await self.beat()
            await asyncio.sleep(BEAT_SECONDS)


def _listed(text: str | None) -> dict[str, float]:
    try:
        given = json.loads(text or "{}")
    except ValueError:
        return {}
    found = given if isinstance(given, dict) else {}
    return {name: float(at) for name, at in found.items() if isinstance(at, int | float)}
