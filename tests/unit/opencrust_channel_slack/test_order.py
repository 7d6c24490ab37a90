"""What came by several connections goes on in its order."""

import asyncio
from functools import partial

from opencrust_channel_slack.order import FIRST, Ordered


class Bench:
    """An order whose connections answer when the test says so."""

    def __init__(self) -> None:
        self.done: list[str] = []
        self.asked: list[object] = []
        self.answer: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self.doubts = 0
        self.errors: list[BaseException] = []
        self.order = Ordered(self._settled, self._doubt, self.errors.append)

    async def _settled(self, apart: object) -> bool:
        self.asked.append(apart)
        return await asyncio.shield(self.answer)

    def _doubt(self) -> None:
        self.doubts += 1

    async def _work(self, name: str) -> None:
        self.done.append(name)

    def put(self, name: str, stamp: tuple[int, int] | None, source: object = "A", key: str = "D1") -> None:
        self.order.put(key, stamp, partial(self._work, name), source)


async def test_what_is_older_and_comes_later_goes_first() -> None:
    bench = Bench()
    bench.put("2", (2, 0))
    await asyncio.sleep(0)
    bench.put("1", (1, 0), "B")
    bench.put("3", (3, 0), "B")
    assert bench.done == []
    bench.answer.set_result(True)
    await bench.order.drain(1)
    assert (bench.done, bench.doubts) == (["1", "2", "3"], 0)
    assert bench.asked == ["A", "B"]  # "1" is older than what was settled; for "3" it is asked anew


async def test_where_a_connection_does_not_answer_there_is_doubt() -> None:
    bench = Bench()
    bench.put("1", (1, 0))
    bench.put("2", (2, 0), "B")
    bench.answer.set_result(False)
    await bench.order.drain(1)
    assert (bench.done, bench.asked, bench.doubts) == (["1", "2"], [None], 1)


async def test_conversations_do_not_wait_for_each_other() -> None:
    bench = Bench()
    bench.put("waits", (1, 0))
    bench.put("goes", (2, 0), None, "D2")
    await asyncio.sleep(0.01)
    assert bench.done == ["goes"]
    await bench.order.close()
    assert bench.done == ["goes"]


async def test_what_has_no_time_comes_after_what_is_at_hand_and_catching_up_before_it() -> None:
    bench = Bench()
    bench.put("5", (5, 0))
    bench.put("command", None)
    bench.put("missed", FIRST, None)
    bench.answer.set_result(True)
    await bench.order.drain(1)
    assert bench.done == ["missed", "5", "command"]


async def test_the_first_error_ends_it_all() -> None:
    bench = Bench()

    async def fails() -> None:
        raise ValueError

    bench.order.put("D1", (1, 0), fails)
    bench.put("2", (2, 0), None)
    await bench.order.drain(1)
    bench.put("3", (3, 0), None)
    assert (bench.done, len(bench.errors), len(bench.order)) == ([], 1, 0)
