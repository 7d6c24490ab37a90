"""Live pieces of an answer, guarded: what is split over two of them must not slip out in halves.

Plain words go on almost at once: no value that has a fingerprint looks like three of them in a row. Everything else
(digits, mixed case, long or single characters, an open link or tag) is held back until three plain words have closed
it, or until as much has followed as a value in its longest dress has. What is given on was looked at together with what
went before it. At the end the rest follows. The reply itself is guarded again as a whole.
"""

import re
import time
from collections.abc import Callable
from typing import Any

from opencrust.contracts import EventType
from opencrust_agent.guard.disguise import find
from opencrust_agent.guard.guard import Guard, hide
from opencrust_agent.guard.links import Named
from opencrust_agent.live import Watched

HOLD = 256
"""Characters that are held back at least where no plain words close them."""
MAX_HELD = 32_768
"""An unfinished word or link longer than this is not shown live at all."""
CLOSING = 3
"""So many plain words in a row are no part of a value."""
PLAIN_WORD = 20
"""Characters. A longer word of one case could be strong enough for a fingerprint."""
PIECE, PAUSE = 24, 0.05
"""A look is taken at so many characters, or after so many seconds."""
MOST, REST = 256, 3
"""A stream that is faster than looks can be taken is looked at in larger pieces, up to so many characters: between two
looks lies so many times what the last one took, for everybody else."""
_TOKEN = re.compile(r"(\S+)\s+")
_OPEN = re.compile(r"!?\[[^\]\n]{0,2000}(?:\](?:\([^)\n]{0,8192})?)?\Z|<[A-Za-z][^>]{0,8192}\Z")
_DATA = re.compile(r"(?:[0-9A-Fa-f]{1,8}[\s,;:]+)+\Z")
"""Numbers one after the other, perhaps of something spelled out: shown when they have ended."""
_AROUND = ".,;:!?()\"'*…—-“”‘’"


class GuardedLive:
    """Stands before a :class:`opencrust_agent.live.Watched` and is one.

    Args:
        named: what was named in the turn so far; asked at every look.
        tainted: whether the turn is, asked at every look.
        longest: characters of the longest form of a secret, and of the longest that has spaces in it.
    """

    def __init__(
        self,
        live: Watched,
        guard: Guard,
        named: Callable[[], Named],
        tainted: Callable[[], bool],
        longest: Callable[[], tuple[int, int]] = lambda: (0, 0),
    ) -> None:
        self._live = live
        self._guard = guard
        self._named = named
        self._tainted = tainted
        self._longest = longest
        self._held = ""
        self._before = ""
        """The end of what was given on."""
        self._open = False
        """Something that no plain words have closed yet was the last to be looked at."""
        self._silent = False
        self._looked, self._took = 0.0, 0.0

    async def send(self, type: EventType, text: str = "", data: dict[str, Any] | None = None) -> None:
        """Send an event, after all text before it; its data is guarded too."""
        await self._give(len(self._held))
        await self._live.send(type, self._guard.value(text), self._guard.value(data or {}))

    async def delta(self, text: str) -> None:
        """More of the answer."""
        if self._silent:
            return
        self._held += text
        ready = self._ready()
        passed = time.monotonic() - self._looked
        if ready >= MOST or (passed > REST * self._took and (ready >= PIECE or (ready and passed > PAUSE))):
            await self._give(ready)
            self._took = time.monotonic() - self._looked
            self._looked += self._took
        elif len(self._held) > MAX_HELD:
            self._silent, self._held = True, ""

    async def reset(self) -> None:
        """What was shown is void."""
        self._held, self._before, self._silent, self._open = "", "", False, False
        await self._live.reset()

    def close(self) -> None:
        """Send nothing more."""
        self._held = ""
        self._live.close()

    def _ready(self) -> int:
        """How much may be looked at and given on: nothing of an open word, link or tag."""
        longest, spaced = self._longest()
        held = self._held
        words, numbers = _closed(held, fresh=not self._open), len(held) - max(HOLD, int(1.5 * longest) + 16)
        while numbers > 0 and not held[numbers - 1].isspace():
            numbers -= 1
        if found := _DATA.search(held, max(0, numbers - MAX_HELD), max(numbers, 0)):
            numbers = found.start()
        end = max(words, numbers, 0)
        if spaced:
            end = max(min(end, len(held) - spaced), 0)
            while end and not held[end - 1].isspace():
                end -= 1
        opened = _OPEN.search(held, max(0, end - MAX_HELD), end)
        return opened.start() if opened else end

    async def _give(self, end: int) -> None:
        if self._silent or not end:
            return
        self._looked = time.monotonic()
        before = len(self._before)
        text = self._before + self._held
        spans = find(text, self._guard.secrets)
        for start, stop in spans:
            if start < before + end < stop:
                end = max(start - before, 0)  # it goes on behind: not now
        piece, self._held = self._held[:end], self._held[end:]
        cut = [(max(start - before, 0), stop - before) for start, stop in spans if before < stop <= before + end]
        if find(text[: before + end], self._guard.canary.spans):
            self._silent, self._held = True, ""
            await self._live.reset()
            return
        self._open = _closed(piece, fresh=not self._open) != len(piece)
        self._before = text[: before + end][-max(HOLD, 2 * self._longest()[0]) :]
        guarded = self._guard.reply(hide(piece, cut), self._named(), tainted=self._tainted())
        if guarded.text:
            await self._live.delta(guarded.text)


def _closed(text: str, *, fresh: bool) -> int:
    """The end of the last plain words that close what is before them; ``fresh``: nothing is."""
    end, row = 0, CLOSING if fresh else 0
    for token in _TOKEN.finditer(text):
        row = row + 1 if _is_plain(token[1]) else 0
        if row >= CLOSING:
            end = token.end()
    return end


def _is_plain(token: str) -> bool:
    word = token.strip(_AROUND)
    if not 1 < len(word) <= PLAIN_WORD:
        return word in ("", "a", "A", "I", "&") and len(token) <= 3
    parts = re.split(r"['’-]", word)
    return all(part.isalpha() and part in (part.lower(), part.upper(), part.capitalize()) for part in parts)
