import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import cast

import pytest

from opencrust.access import ALL_SCOPES, TokenRecord, mint_bearer, revoke
from opencrust.access.tokenstore import TokenStore
from opencrust.bus.errors import Disconnected
from opencrust_gateway.authentication import LiveConnections, Principal, principal_of
from opencrust_gateway.errors import ApiError


class Records:
    """The token bucket as a dictionary: only what LiveConnections asks of it."""

    def __init__(self) -> None:
        self.records: dict[str, TokenRecord] = {}
        self.away = False

    async def get(self, token_id: str) -> TokenRecord | None:
        if self.away:
            raise Disconnected("away")
        return self.records.get(token_id)


def make(expires: timedelta | None = None) -> tuple[LiveConnections, Records, Principal]:
    now = datetime.now(UTC)
    _, record = mint_bearer("x", ALL_SCOPES, now + expires if expires else None, held=ALL_SCOPES, now=now)
    store = Records()
    store.records[record.id] = record
    return LiveConnections(cast(TokenStore, store)), store, principal_of(record)


def counter() -> tuple[list[int], Callable[[], None]]:
    dropped: list[int] = []
    return dropped, lambda: dropped.append(1)


async def test_a_revoked_token_drops_those_who_use_it_and_no_others() -> None:
    live, store, principal = make()
    dropped, drop = counter()
    with live.enter(principal, drop):
        await live.recheck(principal.token_id)
        await live.recheck("somebody-else")
        assert dropped == []
        store.records[principal.token_id] = revoke(store.records[principal.token_id])
        await live.recheck_all()
        assert dropped == [1]
    await live.recheck(principal.token_id)
    assert dropped == [1]


async def test_a_deleted_token_drops_too() -> None:
    live, store, principal = make()
    dropped, drop = counter()
    with live.enter(principal, drop):
        del store.records[principal.token_id]
        await live.recheck(principal.token_id)
    assert dropped == [1]


async def test_while_the_bus_is_away_the_caller_is_told() -> None:
    live, store, principal = make()
    store.away = True
    with live.enter(principal, lambda: None), pytest.raises(Disconnected):
        await live.recheck_all()


async def test_expiry_needs_no_news() -> None:
    live, _, principal = make(timedelta(seconds=0.05))
    dropped, drop = counter()
    with live.enter(principal, drop):
        await asyncio.sleep(0.15)
    assert dropped == [1]


async def test_hold_ends_the_work_of_a_revoked_token_with_401() -> None:
    live, store, principal = make()
    store.records.clear()

    async def work() -> None:
        async with live.hold(principal):
            await asyncio.sleep(30)

    task = asyncio.create_task(work())
    await asyncio.sleep(0)
    await live.recheck(principal.token_id)
    with pytest.raises(ApiError) as refused:
        await task
    assert refused.value.status == 401


async def test_hold_leaves_a_cancellation_from_elsewhere_alone() -> None:
    live, _, principal = make()

    async def work() -> None:
        async with live.hold(principal):
            await asyncio.sleep(30)

    task = asyncio.create_task(work())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
