"""Between the bus, which does not wait, and a client, who may be slow: a bounded queue of one HTTP stream."""

import asyncio
from collections import deque

from opencrust_gateway.notices import Notice


class Mailbox:
    """Notices for one reader. Beyond `room`, live events are left out; a reply never is, and it holds all of
    them.
    """

    def __init__(self, room: int = 1_000) -> None:
        self._room = room
        self._notices: deque[Notice] = deque()
        self._filled = asyncio.Event()
        self.dropped = 0

    def put(self, notice: Notice) -> None:
        """A sink for `Hub.watch`."""
        if len(self._notices) >= self._room and notice.event != "reply":
            self.dropped += 1
            return
        self._notices.append(notice)
        self._filled.set()

    async def get(self, timeout: float) -> Notice | None:
        """The next notice, or None if none came within `timeout` seconds."""
        if not self._notices:
            self._filled.clear()
            try:
                async with asyncio.timeout(timeout):
                    await self._filled.wait()
            except TimeoutError:
                return None
        return self._notices.popleft()
