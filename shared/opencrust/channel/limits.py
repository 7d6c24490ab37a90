"""How fast a platform may be called: the rates that it publishes, and what it said when we were too fast."""

import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

_REMEMBERED: Final = 10_000


class Limits:
    """Rate-limit memory of one process. Replicas have one each: what they exceed together, the platform refuses, and
    that is remembered here too.

    Args:
        per_conversation, per_account: messages a second; 0 is no limit of ours.
        clock: seconds, monotonic.
    """

    def __init__(
        self, per_conversation: float, per_account: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._conversation_gap = 1 / per_conversation if per_conversation else 0.0
        self._account_gap = 1 / per_account if per_account else 0.0
        self._clock = clock
        self._next: OrderedDict[str, float] = OrderedDict()
        self._next_of_all = 0.0

    def reserve(self, conversation: str) -> float:
        """Take the next free place of a conversation; seconds until it comes (0: now)."""
        now = self._clock()
        at = max(now, self._next.get(conversation, 0.0), self._next_of_all)
        if self._conversation_gap:
            self._remember(conversation, at + self._conversation_gap)
        if self._account_gap:
            self._next_of_all = at + self._account_gap
        return at - now

    def wait(self, conversation: str) -> float:
        """Seconds until a conversation may be written to, without taking the place."""
        return max(self._next.get(conversation, 0.0), self._next_of_all, now := self._clock()) - now

    def pause(self, conversation: str, seconds: float, *, everywhere: bool = False) -> None:
        """The platform said to wait."""
        until = self._clock() + seconds
        if everywhere:
            self._next_of_all = max(self._next_of_all, until)
        else:
            self._remember(conversation, max(self._next.get(conversation, 0.0), until))

    def _remember(self, conversation: str, until: float) -> None:
        self._next[conversation] = until
        self._next.move_to_end(conversation)
        if len(self._next) > _REMEMBERED:
            self._next.popitem(last=False)
