"""The operations of one WebSocket connection; the table of permissions has been asked before."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from opencrust.access import Scope
from opencrust.telemetry import spans
from opencrust_gateway import frames
from opencrust_gateway.approvals import ApprovalDesk
from opencrust_gateway.attachments import Attachments
from opencrust_gateway.authentication import Principal
from opencrust_gateway.connection import Result
from opencrust_gateway.conversations import Conversation, is_stop, new_message_id
from opencrust_gateway.errors import ApiError
from opencrust_gateway.hub import Hub
from opencrust_gateway.notices import Notice, Watcher, notice_of_turn
from opencrust_gateway.settings import Limits


@dataclass(frozen=True, slots=True)
class _Opened:
    watcher: Watcher
    lock: asyncio.Lock


class Operations:
    """What one client does, and the conversations that it has open.

    Parameters:
        send_text: queues a frame for the client; it must not block.
    """

    def __init__(
        self,
        hub: Hub,
        desk: ApprovalDesk,
        attachments: Attachments,
        limits: Limits,
        caller: Principal,
        send_text: Callable[[str], None],
    ) -> None:
        self._hub = hub
        self._desk = desk
        self._attachments = attachments
        self._limits = limits
        self._caller = caller
        self._send_text = send_text
        self._opened: dict[str, _Opened] = {}

    def close(self) -> None:
        """Watch nothing any more."""
        for opened in self._opened.values():
            self._hub.remove(opened.watcher)
        self._opened.clear()

    async def operate(self, frame: frames.Request) -> Result:
        """Do it. Raises ApiError and BusError."""
        match frame.op:
            case "open":
                return await self._open(frames.parse_params(frames.ConversationParams, frame.params))
            case "resume":
                return await self._resume(frames.parse_params(frames.ResumeParams, frame.params))
            case "close":
                self._forget(frames.parse_params(frames.ConversationParams, frame.params).conversation)
                return {}, None
            case "send":
                return await self._send(frames.parse_params(frames.SendParams, frame.params)), None
            case "stop":
                params = frames.parse_params(frames.ConversationParams, frame.params)
                await self._hub.stop_turn(Conversation(self._caller.owner, params.conversation))
                return {}, None
            case "approve":
                word = frames.parse_params(frames.ApproveParams, frame.params)
                approval = await self._desk.say(self._caller, word.id, approve=word.approve)
                return {"approval": approval.model_dump(mode="json", exclude_none=True)}, None
            case _:  # "ping"
                frames.parse_params(frames.NoParams, frame.params)
                return {}, None

    async def _open(self, params: frames.ConversationParams) -> Result:
        opened = self._attach(params.conversation)
        watcher = opened.watcher
        async with opened.lock:
            watcher.hold()
            try:
                view = await self._hub.history(watcher.conversation)
            except BaseException:
                watcher.resume(None)
                raise
        result = {
            "conversation": params.conversation,
            "history": frames.history(watcher.conversation, view),
            "seq": frames.last_seq(view),
            "running": self._hub.running(watcher.conversation),
        }
        return result, lambda: watcher.resume(view)

    async def _resume(self, params: frames.ResumeParams) -> Result:
        """As `_open`, but only what came after what the client has; what the session has dropped is read from the log.

        Where that is too much for one answer, the conversation is not open yet: events would run ahead of it.
        """
        was_open = Conversation(self._caller.owner, params.conversation).key in self._opened
        opened = self._attach(params.conversation)
        watcher, conversation = opened.watcher, opened.watcher.conversation
        async with opened.lock:
            watcher.hold()
            try:
                view = await self._hub.history(conversation)
                passage = await self._hub.passage(conversation, view, params.after)
            except BaseException:
                watcher.resume(None)
                raise
        turns = frames.passage(conversation, passage.replies)
        if not passage.more:
            turns += frames.history(conversation, view, after=params.after)
        result = {
            "conversation": params.conversation,
            "history": turns,
            "seq": max((turn["seq"] for turn in turns), default=params.after),
            "more": passage.more,
            "whole": passage.whole,
            "running": [] if passage.more else self._hub.running(conversation),
        }
        if not passage.more:
            return result, lambda: watcher.resume(view)
        if was_open:
            return result, lambda: watcher.resume(None)
        self._forget(params.conversation)
        return result, None

    async def _send(self, params: frames.SendParams) -> dict[str, Any]:
        message_id = params.message_id or new_message_id()
        result: dict[str, Any] = {"conversation": params.conversation, "message_id": message_id, "duplicate": False}
        if is_stop(params.text) and not params.attachments:  # out of band: behind the turn it would come too late
            await self._hub.stop_turn(Conversation(self._caller.owner, params.conversation))
            return {**result, "stopped": True}
        files = await self._attachments.named(self._caller.owner, params.attachments)
        opened = self._attach(params.conversation)
        async with opened.lock:  # messages of a conversation are stored in the order in which they came
            with spans.server("websocket send"):
                accepted = await self._hub.send(
                    opened.watcher,
                    message_id,
                    params.text,
                    repeated=params.message_id is not None,
                    attachments=files,
                    may_approve=Scope.APPROVE in self._caller.scopes,
                )
        result["duplicate"] = accepted.duplicate
        if accepted.answer is not None:
            result["reply"] = notice_of_turn(opened.watcher.conversation, accepted.answer).data
        return result

    def _attach(self, name: str) -> _Opened:
        """The conversation as this connection watches it; watched from now on if it was not."""
        conversation = Conversation(self._caller.owner, name)
        found = self._opened.get(conversation.key)
        if found is None:
            most = self._limits.conversations
            if len(self._opened) >= most:
                raise ApiError(400, "too_many_conversations", f"{most} are open here; close one first")
            watcher = self._hub.add(conversation, self._notice, everything=Scope.READ in self._caller.scopes)
            found = self._opened[conversation.key] = _Opened(watcher, asyncio.Lock())
        return found

    def _forget(self, name: str) -> None:
        opened = self._opened.pop(Conversation(self._caller.owner, name).key, None)
        if opened is not None:
            self._hub.remove(opened.watcher)

    def _notice(self, notice: Notice) -> None:
        self._send_text(notice.text)
