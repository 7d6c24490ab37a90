"""In Slack's order within one conversation, though events come by several connections.

Two events of one conversation may come by two connections, and be read in the wrong order when this process was busy,
or the first of them may be lost with a connection that is dead and not yet known to be. So an event that came waits
until the other connections have shown, by answering a ping, that nothing older is still on its way; what is at hand
then goes on sorted by its time stamp. That costs one round trip to Slack. A connection that does not answer is doubted:
the conversation is read first (:mod:`.catchup`).
"""

import asyncio
import heapq
import itertools
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

Work = Callable[[], Awaitable[None]]
Stamp = tuple[int, int]
FIRST: Stamp = (0, 0)


@dataclass(order=True, slots=True)
class _Item:
    stamp: Stamp
    number: int
    work: Work = field(compare=False)
    source: object = field(compare=False)
    settled: bool = field(compare=False, default=False)


class Ordered:
    """Queues by key, each worked off by one task while it has something to do.

    Args:
        settled: whether nothing older than what is at hand can still come, by any source but the given one.
        doubt: called where that is not known.
        failed: called once with the first error that a piece of work raises; all else is then given up.
    """

    def __init__(
        self,
        settled: Callable[[object], Awaitable[bool]],
        doubt: Callable[[], None],
        failed: Callable[[BaseException], None],
    ) -> None:
        self._settled = settled
        self._doubt = doubt
        self._failed = failed
        self._queues: dict[str, list[_Item]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._numbers = itertools.count()
        self._closed = False

    def put(self, key: str, stamp: Stamp | None, work: Work, source: object = None) -> None:
        """Do ``work`` in its turn. Never waits.

        Args:
            stamp: where its turn is; None: after all that is waiting; :data:`FIRST`: before it.
            source: the connection that it came by; None: it came by none, and waits for none.
        """
        if self._closed:
            return
        queue = self._queues.get(key)
        if stamp is None:
            stamp = max((item.stamp for item in queue), default=FIRST) if queue else FIRST
        item = _Item(stamp, next(self._numbers), work, source, settled=source is None)
        if queue is not None:
            heapq.heappush(queue, item)
            return
        self._queues[key] = [item]
        task = asyncio.create_task(self._run(key))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def __len__(self) -> int:
        return sum(len(queue) for queue in self._queues.values())

    async def drain(self, seconds: float) -> None:
        """Wait until all is done, no longer than ``seconds``."""
        if self._tasks:
            await asyncio.wait(set(self._tasks), timeout=seconds)

    async def close(self) -> None:
        """Give up what is not done."""
        self._closed = True
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._queues.clear()

    async def _run(self, key: str) -> None:
        queue = self._queues[key]
        try:
            while queue:
                if not any(item.settled for item in queue):
                    await self._settle(queue)
                # what came meanwhile and is older than something settled was sent before that: it is settled, too
                await heapq.heappop(queue).work()
        except Exception as error:  # noqa: BLE001 - handed on
            self._closed = True
            self._failed(error)
        finally:
            self._queues.pop(key, None)

    async def _settle(self, queue: list[_Item]) -> None:
        waiting = list(queue)
        sources = {item.source for item in waiting}
        if not await self._settled(next(iter(sources)) if len(sources) == 1 else None):
            self._doubt()
        for item in waiting:
            item.settled = True
