"""Reserve and settle, for any number of replicas: one record a day, written by compare-and-set.

All that wants to be written while a write is under way goes into the next one together (group commit), so a busy house
makes a few writes, not two for each call. A change is tried against the newest record, and only what was stored counts.
"""

import asyncio
import json
import logging
import secrets
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any

from opencrust.bus import Bus, BusError, KeyExists, WrongRevision, subjects
from opencrust.config.budgets import BudgetSettings
from opencrust.contracts import decode, encode
from opencrust.contracts.usage import DayUsage
from opencrust.usage import BUCKET, key
from opencrust_agent.ledger.book import Book, Demand, OverBudget, Payer, Spent

log = logging.getLogger(__name__)

HOLD_SECONDS = 900.0
"""A reservation lives so long; no call takes longer."""
KEEP_SECONDS = 400 * 24 * 3600
_TRIES = 50


@dataclass(frozen=True, slots=True)
class Hold:
    """A reservation: its name, and the day it counts for."""

    id: str
    day: date
    payer: Payer


@dataclass(slots=True)
class _Day:
    waiting: list[tuple[Callable[[Book], Any], asyncio.Future[Any]]] = field(default_factory=list)
    writing: asyncio.Task[None] | None = None


class Ledger:
    """The account.

    Args:
        bus: with the right to the bucket ``usage``.
        budgets: the limits of the moment.
        clock: for tests.
    """

    def __init__(
        self,
        bus: Bus,
        budgets: Callable[[], BudgetSettings],
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._bus = bus
        self._budgets = budgets
        self._clock = clock
        self._days: dict[date, _Day] = defaultdict(_Day)
        self._last: tuple[date, bytes, int] | None = None
        self._untold = False
        self.refused = 0

    async def reserve(self, payer: Payer, demand: Demand, seconds: float = HOLD_SECONDS) -> Hold:
        """Set aside what a call may cost.

        Raises:
            OverBudget: a limit has no room for it. Nothing may be sent.
            BusError: the account cannot be written; nothing may be sent either.
        """
        at = self._clock()
        hold = Hold(secrets.token_hex(8), at.date(), payer)
        until = at + timedelta(seconds=seconds)
        try:
            await self._change(hold.day, lambda book: book.reserve(hold.id, payer, demand, at, until))
        except OverBudget as refusal:
            self.refused += 1
            log.warning("a call was not made: %s", refusal)
            raise
        except asyncio.CancelledError:
            self._change(hold.day, lambda book: book.settle(hold.id, payer, None))
            raise
        return hold

    async def settle(self, hold: Hold, spent: Spent | None) -> None:
        """Count what it did cost; ``None``: it was not made.

        Raises:
            BusError: the account cannot be written. The reservation counts until it expires.
        """
        alerts: list[str] = await self._change(hold.day, lambda book: book.settle(hold.id, hold.payer, spent))
        for text in alerts:
            log.warning("budget: %s", text)
            await self._audit(hold.day, text)

    async def news(self) -> list[str]:
        """Alerts of today that no owner was told of: whoever calls this tells one, now. Quick where there are none.

        Raises:
            BusError: the account cannot be written.
        """
        return await self._change(self._clock().date(), Book.tell) if self._untold else []

    def _change(self, day: date, change: Callable[[Book], Any]) -> "asyncio.Future[Any]":
        """Apply ``change`` to the day's record, with others. Its result comes once it is stored."""
        state = self._days[day]
        done: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        state.waiting.append((change, done))
        if state.writing is None:
            state.writing = asyncio.create_task(self._write(day, state))
        return done

    async def _write(self, day: date, state: _Day) -> None:
        try:
            while state.waiting:
                batch, state.waiting = state.waiting, []
                try:
                    results = await self._commit(day, [change for change, _ in batch])
                except BaseException as error:
                    for _, done in batch:
                        if not done.done():
                            done.set_exception(
                                error if isinstance(error, Exception) else BusError("the ledger was stopped")
                            )
                    if not isinstance(error, Exception):
                        raise
                    continue
                for (_, done), result in zip(batch, results, strict=True):
                    if done.done():  # whoever asked was stopped meanwhile
                        continue
                    if isinstance(result, OverBudget):
                        done.set_exception(result)
                    else:
                        done.set_result(result)
        finally:
            state.writing = None
            if self._days.get(day) is state and not state.waiting:
                del self._days[day]

    async def _commit(self, day: date, changes: list[Callable[[Book], Any]]) -> list[Any]:
        bucket = self._bus.kv(BUCKET)
        for _ in range(_TRIES):
            stored, revision = await self._newest(day)
            record = decode(DayUsage, stored) if stored is not None else DayUsage(day=day)
            book = Book(record, self._budgets())
            results = [_tried(change, book) for change in changes]
            data = encode(book.record())
            self._last = None  # whatever happens now, it is not known to be the newest
            try:
                if stored is None:
                    revision = await bucket.create(key(day), data, ttl=KEEP_SECONDS)
                else:
                    revision = await bucket.update(key(day), data, revision=revision, ttl=KEEP_SECONDS)
            except (WrongRevision, KeyExists):
                continue
            self._last = (day, data, revision)
            self._untold = bool(book.untold)
            return results
        raise BusError("the usage record is written by too many at once")

    async def _newest(self, day: date) -> tuple[bytes | None, int]:
        """The day's record and its revision. What this replica wrote itself last is taken for the newest: if another
        was quicker, the write that follows finds out.
        """
        if self._last is not None and self._last[0] == day:
            return self._last[1:]
        entry, revision = await self._bus.kv(BUCKET).look(key(day))
        return (entry.value if entry else None), revision

    async def _audit(self, day: date, text: str) -> None:
        record = {"v": 1, "event": "budget", "at": self._clock().isoformat(), "alert": text}
        try:
            await self._bus.publish_stored(
                subjects.audit("agent"), json.dumps(record).encode(), message_id=f"budget:{day}:{text}"
            )
        except BusError as error:
            log.error("the audit record of a budget's alert could not be stored: %s", error)


def _tried(change: Callable[[Book], Any], book: Book) -> Any:
    try:
        return change(book)
    except OverBudget as refusal:
        return refusal
