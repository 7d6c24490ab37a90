"""What a running answer looks like while it grows: a sign of typing, then a draft or an edited message.

The replica that stored a message shows its answer. All of it is lossy: whoever dies while showing costs a glimpse.

A draft needs no care: it vanishes when the reply comes. A shown **message** does: the reply's first part must become
its last edit, or there would be both; and no late edit of a half-done text may come after it. So its record in the
ledger (``<channel>.live.<conv>``) is changed by compare-and-set: an edit first writes until when it may be under way;
the outbox first closes the record, waits that time out, and then makes the last edit. After that no edit of ours can
begin.
"""

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Annotated, Final

from pydantic import Field, StringConstraints

from opencrust.bus import Bus, BusError, KeyValue, Message, WrongRevision, subjects
from opencrust.channel.adapter import ChannelAdapter, LinkError, OutPart, Retry, Sent, Showing
from opencrust.channel.limits import Limits
from opencrust.contracts import ContractError, EventType, InboundMessage, ReplyAddress, TurnEvent, decode, encode
from opencrust.contracts.base import Versioned

log = logging.getLogger(__name__)

CALL_SECONDS: Final = 4.0
"""Longest that showing something may take."""
LONGEST_SILENCE: Final = 180.0
"""A turn that says nothing for so long is shown no longer."""
MOST_SHOWN: Final = 500
MOST_COMPOSED: Final = 20_000
"""Characters of a running answer that are rendered for each look at it."""
KEPT: Final = 3_600


class Shown(Versioned):
    """A message that shows a running answer."""

    turn: Annotated[str, StringConstraints(max_length=255)]
    """Id of the message that is being answered."""
    message: Annotated[str, StringConstraints(max_length=255)] = ""
    """The platform's id of what shows the answer; empty while it is being sent."""
    until: Annotated[float, Field(ge=0)] = 0.0
    """Until when (Unix time) an edit may be under way."""
    reply: Annotated[str, StringConstraints(max_length=255)] = ""
    """The reply whose first part became its last edit: edit no more. Further replies are messages of their own."""


@dataclass(slots=True)
class _Turn:
    address: ReplyAddress
    message_id: str
    text: str = ""
    attempt: int = 1
    begun: asyncio.Event = field(default_factory=asyncio.Event)
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    finished: bool = False


class Live:
    """The running answers of one replica."""

    def __init__(
        self, bus: Bus, channel: str, adapter: ChannelAdapter, limits: Limits, clock: Callable[[], float] = time.time
    ) -> None:
        self._bus = bus
        self._keys = bus.kv("ledger")
        self._channel = channel
        self._adapter = adapter
        self._limits = limits
        self._clock = clock
        self._turns: dict[tuple[str, str], _Turn] = {}
        """By conversation and message: several may wait for their answer in one conversation."""
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Begin to hear of running turns. Raises BusError."""
        subject = subjects.wildcard(subjects.EVT_CONV, channel=self._channel)
        self._subscription = await self._bus.subscribe(subject, self._heard)

    async def close(self) -> None:
        """Show nothing more."""
        await self._subscription.unsubscribe()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def expect(self, message: InboundMessage) -> None:
        """This replica stored ``message``: it shows the answer."""
        if len(self._turns) < MOST_SHOWN:
            turn = _Turn(message.reply_to, message.id)
            self._turns[message.key, message.id] = turn
            task = asyncio.create_task(self._show(message.key, turn))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    def end(self, conv: str, message_id: str) -> None:
        """The reply is being sent."""
        turn = self._turns.get((conv, message_id))
        if turn is not None:
            turn.finished = True
            turn.changed.set()

    async def take_over(self, conv: str, message_id: str, reply_id: str) -> str | None:
        """The message whose last edit the reply's first part is to be; None where nothing is shown, or another reply
        has it. After this, none of our edits is under way and none begins.

        Raises:
            BusError: it cannot be known now.
        """
        key = self._key(conv)
        while True:
            entry, revision = await self._keys.look(key)
            shown = None if entry is None else _read(entry.value)
            if entry is None or shown is None or shown.turn != message_id or shown.reply not in ("", reply_id):
                return None
            if not shown.reply:
                closed = shown.model_copy(update={"reply": reply_id})
                try:
                    await self._keys.update(key, encode(closed), revision=revision, ttl=KEPT)
                except BusError:  # an edit began at this moment: look again
                    await asyncio.sleep(0.05)
                    continue
            if (left := shown.until - self._clock()) > 0:
                await asyncio.sleep(min(left, CALL_SECONDS))
                if not shown.message:  # it was being sent: its id may have been noted meanwhile
                    entry = await self._keys.get(key)
                    shown = (_read(entry.value) if entry else None) or shown
            return shown.message or None

    async def _heard(self, message: Message) -> None:
        try:
            event = decode(TurnEvent, message.data)
        except ContractError as error:
            log.warning("a live event is not shown: %s", error)
            return
        turn = self._turns.get((subjects.last_token(message.subject), event.message_id))
        if turn is None or event.attempt < turn.attempt:
            return
        turn.begun.set()
        if event.type in (EventType.STARTED, EventType.RESET) or event.attempt > turn.attempt:
            turn.attempt, turn.text = event.attempt, ""
        turn.text += event.text if event.type is EventType.DELTA else ""
        turn.finished = turn.finished or event.type is EventType.FINISHED
        turn.changed.set()

    async def _show(self, conv: str, turn: _Turn) -> None:
        typing = asyncio.create_task(self._typing(turn))
        try:
            async with asyncio.timeout(LONGEST_SILENCE) as silence:
                showing = self._adapter.shows(turn.address)
                shown = ""
                page: _Page | None = None
                while not turn.finished:
                    await turn.changed.wait()
                    turn.changed.clear()
                    silence.reschedule(asyncio.get_running_loop().time() + LONGEST_SILENCE)
                    if turn.finished or turn.text == shown or not turn.text.strip() or showing is Showing.NONE:
                        continue
                    shown = turn.text
                    if showing is Showing.DRAFT:
                        await self._draft(turn, shown)
                    else:
                        page = page or _Page(self._key(conv), turn)
                        if not await self._edit(page, shown):
                            break
                    await asyncio.sleep(self._adapter.shows_every(turn.address))
        except TimeoutError:
            log.debug("a turn was silent for long; it is shown no more")
        except BusError as error:
            log.debug("a running answer is shown no more: %s", error)
        finally:
            typing.cancel()
            self._turns.pop((conv, turn.message_id), None)

    async def _typing(self, turn: _Turn) -> None:
        every = self._adapter.capabilities.typing_every
        await turn.begun.wait()
        while every and not turn.finished and not turn.text:
            try:
                async with asyncio.timeout(CALL_SECONDS):
                    await self._adapter.typing(turn.address)
            except (LinkError, TimeoutError):
                return
            await asyncio.sleep(every * 0.9)

    async def _draft(self, turn: _Turn, text: str) -> None:
        try:
            async with asyncio.timeout(CALL_SECONDS):
                await self._adapter.draft(turn.address, turn.message_id, text[-MOST_COMPOSED:])
        except (LinkError, TimeoutError) as error:
            if isinstance(error, LinkError) and error.after:
                await asyncio.sleep(min(error.after, 30))

    async def _edit(self, page: "_Page", text: str) -> bool:
        """Show ``text`` as a message; False where it may be shown no longer."""
        parts = self._adapter.compose(text[:MOST_COMPOSED])  # the first part is what is shown
        if not parts or self._limits.wait(page.turn.address.key) > 0:
            return True
        part = OutPart(key="", address=page.turn.address, number=0, text=parts[0])
        record = Shown(turn=page.turn.message_id, message=page.message, until=self._clock() + CALL_SECONDS)
        if not await page.write(self._keys, record):
            return False
        try:
            async with asyncio.timeout(CALL_SECONDS):
                if page.message:
                    result = await self._adapter.edit(page.turn.address, page.message, part)
                else:
                    result = await self._adapter.send(part)
        except (LinkError, TimeoutError):
            return False
        if isinstance(result, Retry):
            self._limits.pause(page.turn.address.key, result.after, everywhere=result.everywhere)
            return True
        if not isinstance(result, Sent):
            return False
        if not page.message:
            page.message = result.id
            return await page.note(self._keys, record.model_copy(update={"message": result.id, "until": 0.0}))
        return True

    def _key(self, conv: str) -> str:
        return f"{self._channel}.live.{conv}"


@dataclass(slots=True)
class _Page:
    """The record of one shown message, as this replica writes it."""

    key: str
    turn: _Turn
    message: str = ""
    revision: int | None = None

    async def write(self, keys: KeyValue, record: Shown) -> bool:
        """Write it unless somebody closed it."""
        if self.revision is None:
            entry, self.revision = await keys.look(self.key)
            old = None if entry is None else _read(entry.value)
            if old is not None and old.turn == record.turn:
                return False  # closed already, or shown by another
        try:
            self.revision = await keys.update(self.key, encode(record), revision=self.revision, ttl=KEPT)
        except WrongRevision:
            return False
        return True

    async def note(self, keys: KeyValue, record: Shown) -> bool:
        """Note the id of what was just sent; also into a record that was closed meanwhile, since the outbox waits for
        it. False where it was."""
        if await self.write(keys, record):
            return True
        entry, revision = await keys.look(self.key)
        if entry is not None and (old := _read(entry.value)) is not None and old.turn == record.turn:
            closed = record.model_copy(update={"reply": old.reply})
            self.revision = await keys.update(self.key, encode(closed), revision=revision, ttl=KEPT)
        return False


def _read(data: bytes) -> Shown | None:
    try:
        return decode(Shown, data)
    except ContractError:
        return None
