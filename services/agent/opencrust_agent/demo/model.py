"""The demo model as a `Model`: one answer at a time, short prompts, no tools."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import replace
from typing import Any

from opencrust_agent.demo.process import DemoProcess, Serving, StartFailed
from opencrust_agent.demo.prompt import fit
from opencrust_agent.demo.weights import NotInstalled
from opencrust_agent.models import (
    Attempt,
    Completion,
    Endpoint,
    ErrorKind,
    Event,
    HttpModel,
    ModelError,
    Request,
    Transport,
    endpoint,
)

LABEL = "tiny offline demo model"
MODEL = "SmolLM2-135M"

_SHARES = (1.0, 0.5, 0.2)


class DemoModel:
    """Implements `Model`. Calls wait for each other here, where a waiting one can be cancelled."""

    provider = "demo"
    model = MODEL
    supports_tools = False

    def __init__(self, transport: Transport, process: DemoProcess | None = None) -> None:
        self._transport = transport
        self._process = process or DemoProcess()
        self._turn = asyncio.Lock()

    def snapshot(self) -> dict[str, Any]:
        """Plain data for status output."""
        return {"provider": self.provider, "model": self.model, "label": LABEL, **self._process.snapshot()}

    async def close(self) -> None:
        await self._process.close()

    async def stream(self, request: Request) -> AsyncGenerator[Event, None]:
        """As `Model.stream`. Raises ModelError(BAD_REQUEST) with instructions when the model is not installed."""
        yield Attempt(1, self.provider, self.model)
        failure: ModelError | None = None
        try:
            async with self._turn, aclosing(self._with_process(request)) as events:
                async for event in events:
                    yield event
        except NotInstalled as error:
            failure = self._error(ErrorKind.BAD_REQUEST, str(error))
        except StartFailed as error:
            failure = self._error(ErrorKind.SERVER, str(error))
        if failure is not None:
            raise failure

    async def _with_process(self, request: Request) -> AsyncGenerator[Event, None]:
        for is_second in (False, True):
            try:
                async with self._process.use() as serving, aclosing(self._answer(serving, request)) as events:
                    async for event in events:
                        yield event
                return
            except ModelError as error:
                if is_second or error.kind is not ErrorKind.CONNECTION or error.partial:
                    raise
            await self._process.close()  # it died since the last answer: start another, once

    async def _answer(self, serving: Serving, request: Request) -> AsyncGenerator[Event, None]:
        model = HttpModel(_endpoint(serving), self._transport)
        for share in _SHARES:
            try:
                async with aclosing(model.stream(fit(request, share))) as events:
                    async for event in events:
                        match event:
                            case Attempt():
                                continue
                            case Completion():
                                yield replace(event, model=MODEL)
                            case _:
                                yield event
                return
            except ModelError as error:
                if error.kind is not ErrorKind.CONTEXT_WINDOW or share == _SHARES[-1]:
                    raise

    def _error(self, kind: ErrorKind, message: str) -> ModelError:
        return ModelError(kind, message, provider=self.provider, model=self.model)


class _Key:
    """The process's key, in the shape of a credential."""

    def __init__(self, serving: Serving) -> None:
        self._serving = serving

    def reveal_text(self) -> str:
        return self._serving.key


def _endpoint(serving: Serving) -> Endpoint:
    async def credential() -> _Key:
        return _Key(serving)

    return endpoint("demo", kind="demo", model=MODEL, base_url=serving.url, credential=credential)
