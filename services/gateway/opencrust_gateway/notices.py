"""What happens in a conversation, as its watchers are told; and the watcher, who tells nothing twice. Pure."""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from opencrust.contracts import InboundMessage, OutboundMessage, SessionView, Turn, TurnEvent
from opencrust_gateway.conversations import Conversation
from opencrust_gateway.http import dump

SEEN = 512
"""Reply ids that a watcher remembers."""
PARTS = 256
"""Room for the parts of one answer in its durable number."""

Sink = Callable[["Notice"], None]


@dataclass(frozen=True)
class Notice:
    """Something that happened in a watched conversation. `data` is ready for JSON."""

    event: str
    conversation: Conversation
    message_id: str
    data: dict[str, Any]

    @property
    def frame(self) -> dict[str, Any]:
        """The event frame."""
        conversation = self.conversation.name
        head = {"type": "event", "event": self.event, "conversation": conversation, "message_id": self.message_id}
        return head | self.data

    @cached_property
    def text(self) -> str:
        """The same as JSON, made once however many clients are told."""
        return dump(self.frame)


def durable_seq(reply_id: str) -> int:
    """The number of a reply within its conversation: later replies have larger ones, here and on every replica, today
    and after any restart. From ``re:<sequence of the message answered>:<part>``; 0 where it is of no such form.
    """
    kind, _, rest = reply_id.partition(":")
    seq, _, part = rest.partition(":")
    if kind != "re" or not (seq.isascii() and seq.isdigit() and part.isascii() and part.isdigit()):
        return 0
    return int(seq) * PARTS + min(int(part), PARTS - 1)


def notice_of_reply(conversation: Conversation, reply: OutboundMessage) -> Notice:
    """A reply as it came over the log."""
    data: dict[str, Any] = {
        "seq": durable_seq(reply.id),
        "reply_id": reply.id,
        "text": reply.text,
        "finish": reply.finish.value,
        "model": reply.model,
        "usage": {"input_tokens": reply.usage.input_tokens, "output_tokens": reply.usage.output_tokens},
        "at": reply.created_time.isoformat(),
    }
    if reply.attachments:
        data["attachments"] = [file.model_dump(mode="json") for file in reply.attachments]
    if reply.approval is not None:
        data["approval"] = reply.approval.model_dump(mode="json")
    return Notice("reply", conversation, conversation.client_id(reply.in_reply_to), data)


def notice_of_turn(conversation: Conversation, turn: Turn) -> Notice:
    """The same reply as it stands in the session; its token counts are not kept there."""
    data = {
        "seq": durable_seq(turn.reply_id),
        "reply_id": turn.reply_id,
        "text": turn.reply,
        "finish": turn.finish.value,
        "model": turn.model,
        "at": turn.at.isoformat(),
    }
    return Notice("reply", conversation, conversation.client_id(turn.message_id), data)


def notice_of_message(conversation: Conversation, message: InboundMessage) -> Notice:
    """A message that somebody sent, as the bus has stored it."""
    data: dict[str, Any] = {"text": message.text, "at": message.received_time.isoformat()}
    if message.attachments:
        data["attachments"] = [file.model_dump(mode="json") for file in message.attachments]
    return Notice("message", conversation, conversation.client_id(message.id), data)


def notice_of_event(conversation: Conversation, event: TurnEvent) -> Notice:
    """A live event of a running turn."""
    data: dict[str, Any] = {"attempt": event.attempt, "index": event.index}
    if event.text:
        data["text"] = event.text
    if event.data:
        data["data"] = event.data
    return Notice(event.type.value, conversation, conversation.client_id(event.message_id), data)


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
        answered: set[str] = set()
        if view is not None:
            self.cursor = view.cursor
            answered = {self.conversation.client_id(turn.message_id) for turn in view.turns}
            self.pending -= answered
            for turn in view.turns:
                self._remember(turn.reply_id)
        held, self._held = self._held or [], None
        for notice in held:
            if notice.event == "reply" or notice.message_id not in answered:
                self.offer(notice)

    def offer(self, notice: Notice) -> None:
        """Pass a notice on, unless it is not for this client, or is a reply that it has, or its own message."""
        own = notice.message_id in self.own
        if not (self.everything or own) or (own and notice.event == "message"):
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
