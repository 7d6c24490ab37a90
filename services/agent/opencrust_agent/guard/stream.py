"""Live pieces of an answer, guarded: what is split over two of them must not slip out in halves.

The newest characters are held back, as many as a secret in its longest dress has; so is a word or a link that has not
ended. What is given on was looked at together with all that was held before it. At the end of the answer the rest
follows at once. A watcher sees the answer a few words late; the reply itself is guarded again as a whole.
"""

import re
from collections.abc import Callable
from typing import Any

from opencrust.contracts import EventType
from opencrust_agent.guard.guard import Guard
from opencrust_agent.guard.links import Named
from opencrust_agent.live import Watched

HOLD = 256
"""Characters that are held back at least."""
STEP = 64
"""Looked at again after so many more."""
MAX_HELD = 32_768
"""An unfinished word or link longer than this is not shown live at all."""
_OPEN = re.compile(r"!?\[[^\]\n]{0,2000}(?:\](?:\([^)\n]{0,8192})?)?\Z|<[A-Za-z][^>]{0,8192}\Z")
_DATA = re.compile(r"(?:[0-9A-Fa-f]{1,8}[\s,;:]+)+\Z")
"""Numbers one after the other, perhaps of something spelled out: shown when they have ended."""


class GuardedLive:
    """Stands before a :class:`opencrust_agent.live.Watched` and is one.

    Args:
        named: what was named in the turn so far; asked at every look.
        tainted: whether the turn is, asked at every look.
        longest: characters of the longest form of a secret.
    """

    def __init__(
        self,
        live: Watched,
        guard: Guard,
        named: Callable[[], Named],
        tainted: Callable[[], bool],
        longest: Callable[[], int] = lambda: 0,
    ) -> None:
        self._live = live
        self._guard = guard
        self._named = named
        self._tainted = tainted
        self._longest = longest
        self._held = ""
        self._looked = 0
        self._silent = False

    async def send(self, type: EventType, text: str = "", data: dict[str, Any] | None = None) -> None:
        """Send an event, after all text before it; its data is guarded too."""
        await self._give(len(self._held))
        await self._live.send(type, self._guard.value(text), self._guard.value(data or {}))

    async def delta(self, text: str) -> None:
        """More of the answer."""
        if self._silent:
            return
        self._held += text
        hold = max(HOLD, int(1.5 * self._longest()) + 16)
        if len(self._held) < hold + STEP or len(self._held) - self._looked < STEP:
            return
        self._looked = len(self._held)
        ready = self._ready(len(self._held) - hold)
        if ready > 0:
            await self._give(ready)
        elif len(self._held) > MAX_HELD:
            self._silent, self._held = True, ""

    async def reset(self) -> None:
        """What was shown is void."""
        self._held, self._looked, self._silent = "", 0, False
        await self._live.reset()

    def close(self) -> None:
        """Send nothing more."""
        self._held = ""
        self._live.close()

    def _ready(self, end: int) -> int:
        """How much may be given on: nothing of an open word, link or tag, nor of anything that was found."""
        while end and not self._held[end - 1].isspace():
            end -= 1
        for pattern in (_OPEN, _DATA):
            opened = pattern.search(self._held, max(0, end - MAX_HELD), end)
            if opened:
                end = opened.start()
        for start, stop in self._guard.spans(self._held):
            if start < end < stop:
                end = start
        return end

    async def _give(self, end: int) -> None:
        piece, self._held = self._held[:end], self._held[end:]
        self._looked = 0
        if not piece or self._silent:
            return
        guarded = self._guard.reply(piece, self._named(), tainted=self._tainted())
        if guarded.blocked:
            self._silent, self._held = True, ""
            await self._live.reset()
            return
        if guarded.text:
            await self._live.delta(guarded.text)
