"""Dead letters of what came in: an event that cannot be read, or is no message, is kept instead of only counted.

The platform is told that we have it, or it would bring it for ever and hold up everything behind it. So a copy is kept
first, under ``dlq.platform.<service>``: secrets hidden, cut at :data:`MAX_KEPT`, with the reason. ``opencrust dlq
list`` and ``opencrust dlq show`` show it beside the others. Nothing can send it on its way again: it never had a form
that could be understood. What somebody wrote can be read there, and the person asked.
"""

import hashlib
import json
import logging
import time
from collections import Counter, deque
from collections.abc import Callable
from typing import Any, Final

from opencrust.bus import Bus, Denied, PayloadTooLarge, StreamFull, subjects
from opencrust.bus.deadletter import REASON

log = logging.getLogger(__name__)

MAX_KEPT: Final = 8 * 1024
"""Characters of an event that are kept."""
MOST: Final = 60
WITHIN: Final = 600.0
"""At most so many letters in so many seconds: what a broken platform repeats does not fill the stream."""


class Letters:
    """One channel's dead letters of what came in.

    Args:
        redact: a JSON-ready copy without secrets.
        clock: seconds, monotonic.
    """

    def __init__(
        self, bus: Bus, service: str, redact: Callable[[Any], Any], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._bus = bus
        self._service = service
        self._redact = redact
        self._clock = clock
        self._times: deque[float] = deque()
        self.counts: Counter[str] = Counter()
        """``buried`` and, over :data:`MOST`, ``passed_by``."""

    async def bury(self, id: str, reason: str, event: object) -> None:
        """Keep an event; done twice within ten minutes, it is kept once. Acknowledge it to the platform afterwards.

        Args:
            id: the platform's, or empty where it has none.
            reason: for the person; nothing that a stranger wrote.
            event: plain values, as they came.

        Raises:
            BusError: it is not kept: do not acknowledge it.
        """
        text = json.dumps(self._redact(event), ensure_ascii=False, default=str)
        data = (text if len(text) <= MAX_KEPT else f"{text[:MAX_KEPT]}…").encode(errors="replace")
        now = self._clock()
        while self._times and now - self._times[0] > WITHIN:
            self._times.popleft()
        if len(self._times) >= MOST:
            self.counts["passed_by"] += 1
            log.error("an event is passed by (%s); there are %d dead letters of the last minutes already", reason, MOST)
            return
        self._times.append(now)
        try:
            await self._bus.publish_stored(
                subjects.dlq("platform", self._service),
                data,
                message_id=f"dlq:{self._service}:{id or hashlib.sha256(data).hexdigest()[:32]}",
                headers={REASON: reason},
            )
        except (Denied, PayloadTooLarge, StreamFull) as error:  # the channel goes on: others wait behind this event
            self.counts["passed_by"] += 1
            log.error("an event is passed by (%s), and could not be kept: %s", reason, error)
            return
        self.counts["buried"] += 1
        log.error("an event became a dead letter: %s", reason)
