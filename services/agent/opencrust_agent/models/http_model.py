"""One provider's model over HTTP: request out, events in. The short path that everything else serves."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from dataclasses import replace
from typing import Any

from opencrust_agent.models import anthropic_messages, openai_chat, provider_errors
from opencrust_agent.models.assembly import Parser
from opencrust_agent.models.errors import ErrorKind, ModelError
from opencrust_agent.models.events import Attempt, Completion, Event, TextDelta
from opencrust_agent.models.messages import Message, Request
from opencrust_agent.models.presets import Endpoint
from opencrust_agent.models.redaction import KeyInUse
from opencrust_agent.models.transport import Response, Transport
from opencrust_agent.models.turns import without_images

_AFTER_FINISH = 2.0
"""Seconds to wait for the token counts that follow a finish marker."""


class HttpModel:
    """Implements `Model` for an Endpoint. One request, no retry: that is the chain's."""

    def __init__(self, endpoint: Endpoint, transport: Transport) -> None:
        self._endpoint = endpoint
        self._transport = transport

    @property
    def provider(self) -> str:
        return self._endpoint.name

    @property
    def model(self) -> str:
        return self._endpoint.model

    @property
    def supports_tools(self) -> bool:
        return self._endpoint.preset.supports_tools

    async def stream(self, request: Request) -> AsyncGenerator[Event, None]:
        """Attempt, TextDelta…, Completion; raises ModelError."""
        yield Attempt(1, self.provider, self.model)
        parser = self._parser()
        key = KeyInUse()
        shown = False
        failure: ModelError | None = None
        try:
            await key.fetch(self._endpoint)
            body = json.dumps(self._body(request)).encode()
            async with self._transport.post(
                self._endpoint.url, body, key.headers(self._endpoint), self._endpoint.timeouts
            ) as response:
                await _accept(response)
                if response.content_type == "application/json":
                    for text in parser.read(await _whole(response)):
                        shown = True
                        yield TextDelta(text)
                else:
                    while chunk := await _next(response, parser):
                        for text in parser.feed(chunk):
                            shown = True
                            yield TextDelta(text)
                        if parser.done:
                            await response.finish()
                            break
            answer = parser.close()
        except ModelError as error:
            failure = error
        if failure is not None:
            raise self._describe(failure, key, shown, parser)
        yield Completion(
            Message("assistant", answer.parts, origin=self.provider),
            answer.finish,
            answer.usage,
            self.provider,
            answer.model or self.model,
            answer.response_id,
        )

    def _parser(self) -> Parser:
        if self._endpoint.preset.wire == "anthropic":
            return anthropic_messages.MessagesParser()
        return openai_chat.ChatParser(self._endpoint.preset.dialect)

    def _body(self, request: Request) -> dict[str, Any]:
        endpoint = self._endpoint
        if not endpoint.preset.supports_tools and request.tools:
            request = replace(request, tools=())
        if not endpoint.vision:
            request = without_images(request)
        if endpoint.max_output_tokens is not None and request.max_tokens > endpoint.max_output_tokens:
            request = replace(request, max_tokens=endpoint.max_output_tokens)
        if endpoint.preset.wire == "anthropic":
            return anthropic_messages.request_body(request, model=endpoint.model, origin=endpoint.name)
        return openai_chat.request_body(
            request, model=endpoint.model, origin=endpoint.name, dialect=endpoint.preset.dialect
        )

    def _describe(self, error: ModelError, key: KeyInUse, shown: bool, parser: Parser) -> ModelError:
        """The same error with our names, without the key, printable and short."""
        return ModelError(
            error.kind,
            provider_errors.one_line(key.redact(error.message)),
            provider=self.provider,
            model=self.model,
            status=error.status,
            retry_after=error.retry_after,
            partial=shown,
            usage=parser.usage,
        )


async def _accept(response: Response) -> None:
    if response.status != 200:
        raise provider_errors.from_response(response.status, await response.error_body(), response.headers)
    if response.content_type == "text/html":
        raise ModelError(ErrorKind.BAD_REQUEST, "a web page answered, not an API: check the provider's base URL")


async def _next(response: Response, parser: Parser) -> bytes:
    if not parser.finished:
        return await response.chunk()
    try:
        return await response.chunk(within=_AFTER_FINISH)
    except ModelError:
        return b""  # the answer is whole; only bookkeeping is missing


async def _whole(response: Response) -> bytes:
    pieces: list[bytes] = []
    while chunk := await response.chunk():
        pieces.append(chunk)
    return b"".join(pieces)
