"""Work in order within one conversation, side by side over all: for adapters whose library hands over events one by one
and does not wait (Discord's gateway, Slack's socket)."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable

Work = Callable[[], Awaitable[None]]


class InOrder:
    """Queues by key, each worked off by one task while it has something to do.

    Args:
        failed: called once with the first error that a piece of work raises; all else is then given up.
    """

    def __init__(self, failed: Callable[[BaseException], None]) -> None:
        self._failed = failed
        self._queues: dict[str, deque[Work]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._closed = False

    def put(self, key: str, work: Work) -> None:
        """Do ``work`` after all that was put under ``key`` before. Never waits."""
        if self._closed:
            return
        queue = self._queues.get(key)
        if queue is not None:
            queue.append(work)
            return
        self._queues[key] = deque([work])
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
                await queue[0]()  # stays in the queue while it is worked on: what comes meanwhile lines up behind it
                queue.popleft()
        except Exception as error:  # noqa: BLE001 - handed on
            self._closed = True
            self._failed(error)
        finally:
            self._queues.pop(key, None)
