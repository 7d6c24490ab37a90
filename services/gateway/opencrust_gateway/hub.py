"""Conversations over the bus: send, watch, stop. Every accepted message's reply reaches its watchers, once.

Live events and the log arrive on core subjects, which may miss something while a connection is down. So a
reply has three ways here, and a watcher takes the first and drops the others by the reply's id:

1. ``log.web.<conv>``, the server's own copy of every stored reply, to every replica; 2. the durable
``out-web`` on MSG_OUT, which one replica consumes. The log is the place of delivery for this channel,
   so the durable is there to settle the work queue, and hands over what it sees first;
3. the session in KV, read when a conversation is opened, every two seconds while a sent message is
unanswered, and for
   a while after every reconnect.
"""

import asyncio
import logging
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from pydantic import ValidationError

from opencrust.bus import subjects
from opencrust.bus.connection import Bus
from opencrust.bus.consumer import Delivery
from opencrust.bus.errors import BusError, Denied, Disconnected, StreamFull, Timeout
from opencrust.bus.message import Message, Stored
from opencrust.contracts import (
    Attachment,
    ContextTurn,
    ContractError,
    InboundMessage,
    OutboundMessage,
    SessionView,
    Source,
    Turn,
    TurnEvent,
    decode,
    encode,
)
from opencrust.contracts.base import explain
from opencrust.telemetry import spans
from opencrust_gateway.conversations import CHANNEL, Conversation
from opencrust_gateway.errors import ApiError, bus_away
from opencrust_gateway.index import ConversationIndex
from opencrust_gateway.notices import (
    Notice,
    Sink,
    Watcher,
    durable_seq,
    notice_of_event,
    notice_of_message,
    notice_of_reply,
    notice_of_turn,
)
from opencrust_gateway.running import RunningTurns
from opencrust_gateway.weblog import Passage, WebLog

log = logging.getLogger(__name__)

POLL = 2.0
"""Seconds between looks at the session of a conversation that waits for a reply."""
SUSPECT = 30.0
"""Seconds after a reconnect in which every watched conversation is looked at: the log may have missed a
reply, and the agent may be writing the session only now.
"""
STORE_TIMEOUT = 5.0


@dataclass(frozen=True, slots=True)
class Accepted:
    """The message lies in MSG_IN. `answer` is there if it was sent before and is answered."""

    message_id: str
    duplicate: bool
    answer: Turn | None


Spawn = Callable[[Coroutine[Any, Any, None]], "asyncio.Task[None]"]
"""How background work is started: in a service, so that its failure is the service's."""


class Hub:
    """All conversations of channel "web" that somebody watches through this gateway."""

    def __init__(self, bus: Bus, spawn: Spawn = asyncio.create_task, index: ConversationIndex | None = None) -> None:
        self._bus = bus
        self._spawn = spawn
        self._index = index or ConversationIndex(bus)
        self._sessions = bus.kv("sess")
        self._log = WebLog(bus)
        self._running = RunningTurns()
        self._watchers: dict[str, list[Watcher]] = {}
        self._suspect_until = 0.0
        self._wake = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Subscribe and begin to settle replies. Raises BusError."""
        await self._bus.subscribe(subjects.wildcard(subjects.EVT_CONV, channel=CHANNEL), self._on_event)
        await self._bus.subscribe(subjects.wildcard(subjects.LOG, channel=CHANNEL), self._on_log)
        await self._bus.subscribe(subjects.wildcard(subjects.SAID, channel=CHANNEL), self._on_said)
        self._bus.on_reconnect(self._on_reconnect)
        self._tasks = [self._spawn(self._settle()), self._spawn(self._reconcile())]

    async def stop(self) -> None:
        """End the background work."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    @property
    def count(self) -> int:
        """Conversations that are watched."""
        return len(self._watchers)

    # -- what clients do

    @contextmanager
    def watch(self, conversation: Conversation, sink: Sink, *, everything: bool) -> Iterator[Watcher]:
        """Call `sink` (which must not block) for what happens in `conversation`, while the block runs."""
        watcher = self.add(conversation, sink, everything=everything)
        try:
            yield watcher
        finally:
            self.remove(watcher)

    def add(self, conversation: Conversation, sink: Sink, *, everything: bool) -> Watcher:
        """As `watch`, until `remove`."""
        watcher = Watcher(conversation, sink, everything)
        self._watchers.setdefault(conversation.key, []).append(watcher)
        return watcher

    def remove(self, watcher: Watcher) -> None:
        """Stop watching."""
        key = watcher.conversation.key
        watchers = self._watchers.get(key, [])
        if watcher in watchers:
            watchers.remove(watcher)
        if not watchers:
            self._watchers.pop(key, None)

    async def history(self, conversation: Conversation) -> SessionView:
        """The last turns of a conversation; an empty view if there were none. Raises ApiError."""
        try:
            entry = await self._sessions.get(f"{CHANNEL}.{conversation.key}")
        except BusError:
            raise bus_away() from None
        if entry is None:
            return SessionView()
        try:
            return decode(SessionView, entry.value)
        except ContractError as error:
            log.error("session %s is unreadable: %s", conversation.key, error)
            raise ApiError(500, "history_unreadable", "this conversation's history cannot be read") from None

    async def passage(self, conversation: Conversation, view: SessionView, after: int) -> Passage:
        """The replies after the durable number `after` that are older than all turns of `view`, from the log.

        Raises ApiError.
        """
        numbers = [number for turn in view.turns if (number := durable_seq(turn.reply_id))]
        if not numbers or min(numbers) <= after:
            return Passage([], more=False, whole=True)
        try:
            return await self._log.between(conversation, after, min(numbers))
        except BusError:
            raise bus_away() from None

    def running(self, conversation: Conversation) -> list[dict[str, Any]]:
        """The turns at work in a conversation, for JSON."""
        found = self._running.of(conversation.key, _monotonic())
        return [{**turn.told(), "message_id": conversation.client_id(turn.message_id)} for turn in found]

    async def send(
        self,
        watcher: Watcher,
        message_id: str,
        text: str,
        *,
        repeated: bool,
        context: list[ContextTurn] | None = None,
        attachments: list[Attachment] | None = None,
        source: Source = Source.USER,
        may_approve: bool = False,
    ) -> Accepted:
        """Store a message; when this returns, it is accepted and will be answered, and `watcher` will be
        told.

        `repeated`: the client chose the id, so it may have sent the message before.

        Raises ApiError: 400 for what breaks the contract, 503 if it could not be stored (or that is unknown:
        then the same id may be sent again).
        """
        conversation = watcher.conversation
        try:
            message = conversation.inbound(
                message_id,
                text,
                datetime.now(UTC),
                context=context,
                attachments=attachments,
                source=source,
                may_approve=may_approve,
            )
        except ValidationError as error:
            raise ApiError(400, "invalid_message", explain(error), final=True) from None
        if repeated and (answer := await self._answer(conversation, message.id)) is not None:
            return Accepted(message_id, True, answer)
        await self._index.note(conversation, text or (attachments[0].name if attachments else ""))
        watcher.own.add(message_id)
        watcher.pending.add(message_id)
        try:
            stored = await self._store(message)
            answer = await self._answer_before(conversation, message.id, stored) if stored.duplicate else None
        except ApiError:
            watcher.pending.discard(message_id)
            raise
        if answer is not None:
            watcher.pending.discard(message_id)
        else:
            self._wake.set()
        return Accepted(message_id, stored.duplicate, answer)

    async def stop_turn(self, conversation: Conversation) -> None:
        """Ask the agent to end the running turn. Raises ApiError."""
        try:
            await self._bus.publish(subjects.ctl_stop(CHANNEL, conversation.key), b"{}")
        except BusError:
            raise bus_away() from None

    async def _store(self, message: InboundMessage) -> Stored:
        try:
            return await self._bus.publish_stored(
                subjects.msg_in(CHANNEL, message.key),
                encode(message),
                message_id=message.dedupe_id,
                timeout=STORE_TIMEOUT,
            )
        except ContractError as error:
            raise ApiError(413, "too_large", str(error), final=True) from None
        except StreamFull:
            raise ApiError(503, "overloaded", "too much waits to be answered; try later", retry_after=10) from None
        except Denied:
            raise
        except BusError:
            raise bus_away() from None

    async def _answer(self, conversation: Conversation, bus_id: str) -> Turn | None:
        return (await self.history(conversation)).answer_to(bus_id)

    async def _answer_before(self, conversation: Conversation, bus_id: str, stored: Stored) -> Turn | None:
        """The answer to a message that was stored before; None while it is not answered, or that is unknown.

        Raises ApiError 409 if it was answered so long ago that the answer is not at hand any more.
        """
        try:
            view = await self.history(conversation)
        except ApiError:
            return None
        answer = view.answer_to(bus_id)
        if answer is None and stored.seq <= view.cursor:
            raise ApiError(
                409,
                "answered_before",
                "a message with this id was answered before, and its answer is not among the last turns any more; "
                "take a fresh id for a new message",
                final=True,
            )
        return answer

    # -- what the bus tells

    async def _on_event(self, message: Message) -> None:
        key = subjects.last_token(message.subject)
        event = decode(TurnEvent, message.data)
        self._running.happened(key, event, _monotonic())
        watchers = self._watchers.get(key)
        if not watchers:
            return
        self._offer(watchers, notice_of_event(watchers[0].conversation, event))

    async def _on_said(self, message: Message) -> None:
        said = decode(InboundMessage, message.data)
        if said.source is Source.APPROVAL or said.ephemeral:
            return
        self._running.accepted(said.key, said.id, said.text, said.received_time.isoformat(), _monotonic())
        if watchers := self._watchers.get(said.key):
            self._offer(watchers, notice_of_message(watchers[0].conversation, said))

    async def _on_log(self, message: Message) -> None:
        self._reply(decode(OutboundMessage, message.data))

    def _reply(self, reply: OutboundMessage) -> None:
        self._running.answered(reply.in_reply_to)
        if watchers := self._watchers.get(reply.address.key):
            conversation = watchers[0].conversation
            self._offer(watchers, notice_of_reply(conversation, reply))

    @staticmethod
    def _offer(watchers: list[Watcher], notice: Notice) -> None:
        for watcher in list(watchers):
            watcher.offer(notice)

    async def _settle(self) -> None:
        consumer = self._bus.consumer("MSG_OUT", f"out-{CHANNEL}")
        while True:
            with suppress(Timeout, Disconnected):  # whatever was delivered is delivered again
                delivery = await consumer.next(wait=30)
                if delivery is not None:
                    await self._settle_one(delivery)

    async def _settle_one(self, delivery: Delivery) -> None:
        try:
            reply = decode(OutboundMessage, delivery.message.data)
        except ContractError as error:
            log.error("reply %d of %s is malformed: %s", delivery.seq, delivery.stream, error)
            await delivery.discard("malformed reply")
            return
        with spans.process(
            delivery.message.headers,
            subjects.MSG_OUT,
            delivery.message.subject,
            message_id=reply.id,
            consumer=delivery.durable,
            stream=delivery.stream,
            sequence=delivery.seq,
            deliveries=delivery.deliveries,
        ):
            self._reply(reply)
            await delivery.ack()

    async def _on_reconnect(self) -> None:
        self._suspect_until = asyncio.get_running_loop().time() + SUSPECT
        self._wake.set()

    async def _reconcile(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            self._wake.clear()
            suspect = loop.time() < self._suspect_until
            waiting = [w for watchers in self._watchers.values() for w in watchers if suspect or w.pending]
            if not waiting:
                await self._wake.wait()
                await asyncio.sleep(POLL)  # the live way is faster: look only if it stayed silent
                continue
            for conversation in dict.fromkeys(watcher.conversation for watcher in waiting):
                with suppress(ApiError):  # the bus is away, or it is logged
                    self._compare(conversation, await self.history(conversation))
            await asyncio.sleep(POLL)

    def _compare(self, conversation: Conversation, view: SessionView) -> None:
        """Tell watchers of the turns that they wait for, or that came after what they know."""
        watchers = self._watchers.get(conversation.key, [])
        whole = {reply.id: reply for reply in view.outbox}  # a turn holds a very long reply in part
        for turn in view.turns:
            reply = whole.get(turn.reply_id)
            notice = notice_of_reply(conversation, reply) if reply else notice_of_turn(conversation, turn)
            for watcher in list(watchers):
                if notice.message_id in watcher.pending or (watcher.cursor is not None and turn.seq > watcher.cursor):
                    watcher.offer(notice)


def _monotonic() -> float:
    return asyncio.get_running_loop().time()
