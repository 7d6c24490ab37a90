"""Notices: a few words that an adapter tells one person in private, such as that a stranger asks to be let in.

The gateway may not send replies on other channels, and needs no such right: it keeps the notices of a channel under
``<channel>.notices`` in the bucket ``access``, which that channel's adapter follows anyway. Each is claimed in the
adapter's own ledger before it is told, so of several replicas one tells it, once.
"""

import logging
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Annotated, Final

from pydantic import AwareDatetime, Field, StringConstraints

from opencrust.access.people import PersonId
from opencrust.bus import Bus, BusError, KeyExists, Message, subjects
from opencrust.bus.registry import CHANNELS
from opencrust.contracts.base import Contract, ContractError, Versioned, decode

log = logging.getLogger(__name__)

MAX_NOTICES: Final = 20
_CLAIM_SECONDS: Final = 3600

Tell = Callable[[PersonId, str], Awaitable[None]]
"""Send a person a private text on the adapter's platform."""


class Notice(Contract):
    """One text to one person."""

    id: Annotated[str, StringConstraints(pattern=r"^[a-z2-7]{16}$")]
    to: PersonId
    text: Annotated[str, StringConstraints(max_length=2000)]
    expires: AwareDatetime


class NoticeBoard(Versioned):
    """All live notices of one channel, oldest first."""

    notices: list[Notice] = Field(default=[], max_length=MAX_NOTICES)

    def with_notice(self, notice: Notice, now: datetime) -> "NoticeBoard":
        """The board with one more; unchanged when it is full of live ones."""
        live = [other for other in self.notices if now < other.expires]
        return NoticeBoard(notices=[*live, notice] if len(live) < MAX_NOTICES else live)


def board_key(channel: str) -> str:
    """The key of a channel's notices in the bucket ``access``."""
    return f"{channel}.notices"


class Notices:
    """An adapter's side: calls ``tell`` once for every notice on its channel."""

    def __init__(self, bus: Bus, tell: Tell) -> None:
        self._bus = bus
        self._tell = tell
        self._channel = next(channel.name for channel in CHANNELS if channel.service == bus.service)

    async def start(self) -> None:
        """Follow them, and look for those that came before. Raises BusError."""
        subject = subjects.wildcard(subjects.EVT_ACCESS, channel=self._channel, key="notices")
        await self._bus.subscribe(subject, self._changed)
        self._bus.on_reconnect(self._read)
        await self._read()

    async def _changed(self, message: Message) -> None:
        await self._take(message.data)

    async def _read(self) -> None:
        entry = await self._bus.kv("access").get(board_key(self._channel))
        if entry is not None:
            await self._take(entry.value)

    async def _take(self, data: bytes) -> None:
        try:
            board = decode(NoticeBoard, data)
        except ContractError as error:
            log.error("the notices of %s are damaged and told to nobody: %s", self._channel, error)
            return
        now = datetime.now(UTC)
        for notice in board.notices:
            if now < notice.expires and notice.to.channel == self._channel and await self._claim(notice):
                try:
                    await self._tell(notice.to, notice.text)
                except Exception:
                    log.exception("a notice could not be told on %s", self._channel)

    async def _claim(self, notice: Notice) -> bool:
        try:
            await self._bus.kv("ledger").create(f"{self._channel}.notice.{notice.id}", b"1", ttl=_CLAIM_SECONDS)
        except KeyExists:
            return False
        except BusError as error:
            log.warning("a notice on %s was not told: %s", self._channel, error)
            return False
        return True
