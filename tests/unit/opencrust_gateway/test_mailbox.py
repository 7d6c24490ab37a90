import asyncio
from typing import Any

from opencrust_gateway.conversations import Conversation
from opencrust_gateway.hub import Notice
from opencrust_gateway.mailbox import Mailbox


def notice(event: str, **data: Any) -> Notice:
    return Notice(event, Conversation("operator", "main"), "m1", data)


async def test_in_order_and_in_time() -> None:
    box = Mailbox()
    assert await box.get(0.01) is None
    asyncio.get_running_loop().call_later(0.02, box.put, notice("delta"))
    assert await box.get(2) == notice("delta")


async def test_a_slow_reader_loses_pieces_but_no_reply() -> None:
    box = Mailbox(room=3)
    for index in range(10):
        box.put(notice("delta", index=index))
    box.put(notice("reply"))
    got = [await box.get(0) for _ in range(4)]
    assert [one.event for one in got if one] == ["delta", "delta", "delta", "reply"]
    assert box.dropped == 7
