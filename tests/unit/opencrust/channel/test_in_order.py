import asyncio

import pytest

from opencrust.channel.in_order import InOrder


async def test_one_after_another_within_a_key_side_by_side_over_all() -> None:
    done: list[str] = []
    held = asyncio.Event()
    work = InOrder(lambda error: pytest.fail(str(error)))

    async def slow() -> None:
        await held.wait()
        done.append("a1")

    async def note(name: str) -> None:
        done.append(name)

    work.put("a", slow)
    work.put("a", lambda: note("a2"))
    work.put("b", lambda: note("b1"))
    await asyncio.sleep(0.01)
    assert done == ["b1"]
    assert len(work) == 2
    held.set()
    await work.drain(1)
    assert done == ["b1", "a1", "a2"]
    assert len(work) == 0


async def test_the_first_failure_is_told_and_ends_all() -> None:
    failures: list[BaseException] = []
    work = InOrder(failures.append)

    async def fail() -> None:
        raise ValueError("x")

    work.put("a", fail)
    await work.drain(1)
    work.put("a", fail)
    await work.close()
    assert [type(failure) for failure in failures] == [ValueError]
