"""POST /v1/chat/completions and GET /v1/models: OpenAI's protocol over a conversation on the bus."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import Any

from aiohttp import web
from pydantic import TypeAdapter

from opencrust.access import Scope
from opencrust.contracts import Source
from opencrust.telemetry import spans
from opencrust_gateway import openai
from opencrust_gateway.authentication import LiveConnections, Principal
from opencrust_gateway.conversations import ONCE, Conversation, MessageId, is_stop, new_message_id
from opencrust_gateway.errors import ApiError
from opencrust_gateway.http import KEEP_ALIVE, EventStream, principal, read_body
from opencrust_gateway.hub import Accepted, Hub
from opencrust_gateway.mailbox import Mailbox
from opencrust_gateway.notices import Notice, notice_of_turn
from opencrust_gateway.settings import Limits

STOPPED = "Stopped."
_MESSAGE_ID: TypeAdapter[str] = TypeAdapter(MessageId)


class Completions:
    """The handlers."""

    def __init__(self, hub: Hub, live: LiveConnections, limits: Limits) -> None:
        self._hub = hub
        self._live = live
        self._limits = limits

    async def models(self, request: web.Request) -> web.StreamResponse:
        """GET /v1/models."""
        return web.json_response(openai.models())

    async def create(self, request: web.Request) -> web.StreamResponse:
        """POST /v1/chat/completions.

        ``Idempotency-Key`` becomes the message's id: a retry gets the answer to the first sending, not a
        second one.
        """
        caller = principal(request)
        key = _idempotency_key(request)
        asked = openai.parse(await read_body(request, self._limits.body_time))
        message_id = key or new_message_id()
        if asked.conversation and is_stop(asked.text):  # out of band: behind the turn it would come too late
            await self._hub.stop_turn(Conversation(caller.owner, asked.conversation))
            return await self._stopped(request, asked, message_id)
        conversation = Conversation(caller.owner, asked.conversation or f"{ONCE}{message_id}")
        stream = EventStream()
        try:
            with spans.server("POST /v1/chat/completions"):
                async with self._live.hold(caller), self._turn(caller, conversation, message_id, asked, key) as notices:
                    if not asked.stream:
                        return await self._whole(message_id, notices)
                    await stream.start(request)
                    await self._stream(stream, asked, message_id, notices)
        except ApiError as error:
            if not stream.response.prepared:
                raise
            await stream.data(error.openai())
        except ConnectionError:
            return stream.response  # the client left; the answer stays in its conversation
        await stream.data("[DONE]")
        return stream.response

    @staticmethod
    async def _stopped(request: web.Request, asked: openai.ChatRequest, message_id: str) -> web.StreamResponse:
        if not asked.stream:
            return web.json_response(openai.completion(message_id, STOPPED, openai.MODEL, None))
        stream = EventStream()
        await stream.start(request)
        await stream.data(openai.chunk(message_id, {"role": "assistant", "content": STOPPED}))
        await stream.data(openai.chunk(message_id, {}, finish="stop"))
        await stream.data("[DONE]")
        return stream.response

    @asynccontextmanager
    async def _turn(
        self,
        caller: Principal,
        conversation: Conversation,
        message_id: str,
        asked: openai.ChatRequest,
        key: str | None,
    ) -> AsyncIterator[AsyncIterator[Notice | None]]:
        """Store the message; then its events as they come, with the reply last. Raises ApiError."""
        mailbox = Mailbox()
        with self._hub.watch(conversation, mailbox.put, everything=False) as watcher:
            accepted = await self._hub.send(
                watcher,
                message_id,
                asked.text,
                repeated=key is not None,
                context=asked.context,
                source=Source.API,
                may_approve=Scope.APPROVE in caller.scopes,
            )
            notices = self._follow(conversation, accepted, mailbox)
            async with aclosing(notices):
                yield notices

    async def _follow(
        self, conversation: Conversation, accepted: Accepted, mailbox: Mailbox
    ) -> AsyncGenerator[Notice | None, None]:
        """Events of the turn, the reply last; None for every stretch of silence. Raises ApiError 504."""
        if accepted.answer is not None:
            yield notice_of_turn(conversation, accepted.answer)
            return
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._limits.answer_time
        while (left := deadline - loop.time()) > 0:
            notice = await mailbox.get(min(KEEP_ALIVE, left))
            yield notice
            if notice is not None and notice.event == "reply":
                return
        raise ApiError(
            504,
            "answer_timeout",
            "no answer yet; the message is kept and will be answered. Ask again with the same Idempotency-Key",
            final=True,
        )

    async def _whole(self, message_id: str, notices: AsyncIterator[Notice | None]) -> web.Response:
        async for notice in notices:
            if notice is not None and notice.event == "reply":
                reply = _answered(notice)
                return web.json_response(
                    openai.completion(message_id, reply["text"], reply["model"], reply.get("usage"))
                )
        raise AssertionError("a turn ends with its reply or with an error")

    async def _stream(
        self, stream: EventStream, asked: openai.ChatRequest, message_id: str, notices: AsyncIterator[Notice | None]
    ) -> None:
        text = openai.TextStream()
        await stream.data(openai.chunk(message_id, {"role": "assistant", "content": ""}))
        async for notice in notices:
            if notice is None:
                await stream.comment()
            elif notice.event == "reply":
                await self._end(stream, asked, message_id, text, _answered(notice))
            elif piece := text.feed(
                notice.event, notice.data["attempt"], notice.data["index"], notice.data.get("text", "")
            ):
                await stream.data(openai.chunk(message_id, {"content": piece}))

    async def _end(
        self,
        stream: EventStream,
        asked: openai.ChatRequest,
        message_id: str,
        text: openai.TextStream,
        reply: dict[str, Any],
    ) -> None:
        try:
            rest = text.finish(reply["text"])
        except openai.Diverged:
            raise ApiError(
                502,
                "answer_restarted",
                "the answer was started over after a part of it was sent. Ask again with the same Idempotency-Key "
                "to get the whole answer",
            ) from None
        model = reply["model"]
        if rest:
            await stream.data(openai.chunk(message_id, {"content": rest}, model=model))
        await stream.data(openai.chunk(message_id, {}, finish="stop", model=model))
        if asked.include_usage:
            await stream.data(openai.usage_chunk(message_id, reply.get("usage"), model))


def _answered(notice: Notice) -> dict[str, Any]:
    """The reply's fields. Raises ApiError 502 if the turn failed."""
    if notice.data["finish"] == "failed":
        raise ApiError(502, "turn_failed", notice.data["text"] or "the model could not answer", final=True)
    return notice.data


def _idempotency_key(request: web.Request) -> str | None:
    shown = request.headers.getall("Idempotency-Key", [])
    if not shown:
        return None
    try:
        (key,) = shown
        return _MESSAGE_ID.validate_python(key)
    except ValueError:  # a ValidationError is one
        raise ApiError(
            400, "invalid_idempotency_key", "Idempotency-Key: 1 to 128 characters of A-Z a-z 0-9 . _ : ~ -", final=True
        ) from None
