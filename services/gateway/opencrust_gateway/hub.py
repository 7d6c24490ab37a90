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
from collections import OrderedDict
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from pydantic import ValidationError

from opencrust.bus import subjects
from opencrust.bus.connection import Bus
from opencrust.bus.consumer import Delivery
from opencrust.bus.errors import BusError, Denied, Disconnected, StreamFull, Timeout
from opencrust.bus.message import Message, Stored
from opencrust.contracts import (
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

log = logging.getLogger(__name__)

POLL = 2.0
"""Seconds between looks at the session of a conversation that waits for a reply."""
SUSPECT = 30.0
"""Seconds after a reconnect in which every watched conversation is looked at: the log may have missed a
reply, and the agent may be writing the session only now.
"""
SEEN = 512
"""Reply ids that a watcher remembers."""
STORE_TIMEOUT = 5.0

Sink = Callable[["Notice"], None]


@dataclass(frozen=True, slots=True)
class Notice:
    """Something that happened in a watched conversation. `data` is ready for JSON."""

    event: str
    conversation: Conversation
    message_id: str
    data: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Accepted:
    """The message lies in MSG_IN. `answer` is there if it was sent before and is answered."""

    message_id: str
    duplicate: bool
    answer: Turn | None


@dataclass(slots=True, eq=False)
class Watcher:
    """One client's view of one conversation.

    `everything` is False for a client that may not read: it hears only of messages that it sent itself.
    """

    conversation: Conversation
    sink: Sink
    everything: bool
    own: set[str] = field(default_factory=set)
    """Messages that this client sent and that are not answered yet."""
    pending: set[str] = field(default_factory=set)
    """Those of them that are certainly stored, or may be: their reply is looked for."""
    cursor: int | None = None
    _seen: OrderedDict[str, None] = field(default_factory=OrderedDict)
    _held: list[Notice] | None = None

    def hold(self) -> None:
        """Keep what comes until `resume`: the history is being read."""
        self._held = self._held or []

    def resume(self, view: SessionView | None) -> None:
        """What `view` holds is known to the client (None: it could not be read); pass on what came meanwhile."""
        if view is not None:
            self.cursor = view.cursor
            for turn in view.turns:
                self._remember(turn.reply_id)
                self.pending.discard(self.conversation.client_id(turn.message_id))
        held, self._held = self._held or [], None
        for notice in held:
            self.offer(notice)

    def offer(self, notice: Notice) -> None:
        """Pass a notice on, unless it is not for this client or it is a reply that it has."""
        if not self.everything and notice.message_id not in self.own:
            return
        if self._held is not None:
            self._held.append(notice)
            return
        if notice.event == "reply":
            self.pending.discard(notice.message_id)
            self.own.discard(notice.message_id)
            if not self._remember(notice.data["reply_id"]):
                return
        self.sink(notice)

    def _remember(self, reply_id: str) -> bool:
        new = reply_id not in self._seen
        self._seen[reply_id] = None
        if len(self._seen) > SEEN:
            self._seen.popitem(last=False)
        return new


Spawn = Callable[[Coroutine[Any, Any, None]], "asyncio.Task[None]"]
"""How background work is started: in a service, so that its failure is the service's."""


class Hub:
    """All conversations of channel "web" that somebody watches through this gateway."""

    def __init__(self, bus: Bus, spawn: Spawn = asyncio.create_task, index: ConversationIndex | None = None) -> None:
        self._bus = bus
        self._spawn = spawn
        self._index = index or ConversationIndex(bus)
        self._sessions = bus.kv("sess")
        self._watchers: dict[str, list[Watcher]] = {}
        self._suspect_until = 0.0
        self._wake = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Subscribe and begin to settle replies. Raises BusError."""
        await self._bus.subscribe(subjects.wildcard(subjects.EVT_CONV, channel=CHANNEL), self._on_event)
        await self._bus.subscribe(subjects.wildcard(subjects.LOG, channel=CHANNEL), self._on_log)
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

    async def send(
        self,
        watcher: Watcher,
        message_id: str,
        text: str,
        *,
        repeated: bool,
        context: list[ContextTurn] | None = None,
        source: Source = Source.USER,
    ) -> Accepted:
        """Store a message; when this returns, it is accepted and will be answered, and `watcher` will be
        told.

        `repeated`: the client chose the id, so it may have sent the message before.

        Raises ApiError: 400 for what breaks the contract, 503 if it could not be stored (or that is unknown:
        then the same id may be sent again).
        """
        conversation = watcher.conversation
        message = _envelope(conversation, message_id, text, context, source)
        if repeated and (answer := await self._answer(conversation, message.id)) is not None:
            return Accepted(message_id, True, answer)
        await self._index.note(conversation, text)
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
        if not stored.duplicate:
            told = {"text": text, "at": message.received_time.isoformat()}
            others = [other for other in self._watchers.get(conversation.key, []) if other is not watcher]
            self._offer(others, Notice("message", conversation, message_id, told))
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
        watchers = self._watchers.get(subjects.last_token(message.subject))
        if not watchers:
            return
        event = decode(TurnEvent, message.data)
        conversation = watchers[0].conversation
        client_id = conversation.client_id(event.message_id)
        data: dict[str, Any] = {"attempt": event.attempt, "index": event.index}
        if event.text:
            data["text"] = event.text
        if event.data:
            data["data"] = event.data
        self._offer(watchers, Notice(event.type.value, conversation, client_id, data))

    async def _on_log(self, message: Message) -> None:
        if subjects.last_token(message.subject) in self._watchers:
            self._reply(decode(OutboundMessage, message.data))

    def _reply(self, reply: OutboundMessage) -> None:
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


def notice_of_reply(conversation: Conversation, reply: OutboundMessage) -> Notice:
    """A reply as it came over the log."""
    client_id = conversation.client_id(reply.in_reply_to)
    data = {
        "reply_id": reply.id,
        "text": reply.text,
        "finish": reply.finish.value,
        "model": reply.model,
        "usage": {"input_tokens": reply.usage.input_tokens, "output_tokens": reply.usage.output_tokens},
        "at": reply.created_time.isoformat(),
    }
    return Notice("reply", conversation, client_id, data)


def notice_of_turn(conversation: Conversation, turn: Turn) -> Notice:
    """The same reply as it stands in the session; its token counts are not kept there."""
    data = {
        "reply_id": turn.reply_id,
        "text": turn.reply,
        "finish": turn.finish.value,
        "model": turn.model,
        "at": turn.at.isoformat(),
    }
    return Notice("reply", conversation, conversation.client_id(turn.message_id), data)


def _envelope(
    conversation: Conversation, message_id: str, text: str, context: list[ContextTurn] | None, source: Source
) -> InboundMessage:
    try:
        return conversation.inbound(message_id, text, datetime.now(UTC), context=context, source=source)
    except ValidationError as error:
        raise ApiError(400, "invalid_message", explain(error), final=True) from None
