"""Models and tools that go to the ledger first. Whoever uses them need not know.

A chain of models says ``Attempt`` before each request that it is about to send, first try, retry or fallback. There the
metered model settles the attempt before and reserves the next; where a limit has no room for it, the chain is closed,
and the request is never sent.
"""

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

from opencrust.contracts import InboundMessage
from opencrust_agent.ledger.book import Demand, OverBudget, Payer, Spent
from opencrust_agent.ledger.ledger import Hold, Ledger
from opencrust_agent.ledger.prices import Prices
from opencrust_agent.models import (
    Attempt,
    Completion,
    ErrorKind,
    Event,
    Model,
    ModelError,
    Request,
    TextDelta,
    Usage,
    message_to_json,
)
from opencrust_agent.tools import Tool, ToolContext, ToolRegistry, ToolResult, ToolSpec

BYTES_PER_TOKEN = 3
"""For estimates: most tokenizers make fewer tokens of a text than this says, in most languages."""
OVERHEAD = 64


def payer_of(message: InboundMessage) -> Payer:
    """Who pays for a turn: whose message it answers."""
    sender = message.sender
    return Payer(f"{sender.channel}:{sender.account}:{sender.user}", sender.channel)


def estimate(request: Request) -> int:
    """Tokens of a request's input, rather too many than too few."""
    size = len(request.system.encode())
    size += sum(len(str(message_to_json(message)).encode()) for message in request.messages)
    size += sum(len(f"{tool.name}{tool.description}{tool.parameters}".encode()) for tool in request.tools)
    return size // BYTES_PER_TOKEN + OVERHEAD


@dataclass(slots=True)
class _Call:
    """One attempt that was reserved."""

    hold: Hold
    attempt: Attempt
    begun: float
    shown: int = 0
    """Bytes of text that came."""


class Metered:
    """A model on somebody's account. Implements `Model`; made for one turn."""

    def __init__(self, model: Model, ledger: Ledger, prices: Callable[[], Prices], payer: Payer) -> None:
        self._model = model
        self._ledger = ledger
        self._prices = prices
        self._payer = payer

    @property
    def provider(self) -> str:
        return self._model.provider

    @property
    def model(self) -> str:
        return self._model.model

    @property
    def supports_tools(self) -> bool:
        return self._model.supports_tools

    async def stream(self, request: Request) -> AsyncGenerator[Event, None]:
        """As `Model.stream`. Raises ModelError of the kind BUDGET where a limit has no room for the next attempt."""
        expected = estimate(request)
        call: _Call | None = None
        usage: Usage | None = None
        try:
            async with aclosing(self._model.stream(request)) as events:
                async for event in events:
                    match event:
                        case Attempt():
                            ended, call = call, None
                            if ended is not None:
                                failed = event.after.usage if event.after is not None else None
                                await self._settle(ended, failed, expected)
                            call = await self._reserve(event, request, expected)
                        case TextDelta(text) if call is not None:
                            call.shown += len(text.encode())
                        case Completion():
                            usage = event.usage
                            if call is not None:
                                call.shown = max(call.shown, len(str(message_to_json(event.message)).encode()))
                    yield event
        except ModelError as error:
            usage = error.usage
            raise
        finally:
            if call is not None:
                await _finished(self._settle(call, usage, expected))

    async def _reserve(self, attempt: Attempt, request: Request, expected: int) -> _Call:
        most = self._prices().cost(attempt.provider, attempt.model, expected, request.max_tokens)
        try:
            hold = await self._ledger.reserve(self._payer, Demand(expected + request.max_tokens, most))
        except OverBudget as refusal:
            error = ModelError(ErrorKind.BUDGET, str(refusal), provider=attempt.provider, model=attempt.model)
            raise error from None
        return _Call(hold, attempt, time.monotonic())

    async def _settle(self, call: _Call, usage: Usage | None, expected: int) -> None:
        """What the provider said it was, else an estimate of what came; nothing where nothing did."""
        told = usage is not None and usage.reported
        if usage is None or not told:
            usage = Usage(expected, call.shown // BYTES_PER_TOKEN + 1) if call.shown else Usage()
        attempt = call.attempt
        spent = Spent(
            attempt.model,
            attempt.provider,
            usage.input_tokens,
            usage.output_tokens,
            usage.cached_tokens,
            self._prices().cost(
                attempt.provider, attempt.model, usage.input_tokens, usage.output_tokens, usage.cached_tokens
            ),
            seconds=time.monotonic() - call.begun,
            estimated=not told and bool(call.shown),
        )
        await self._ledger.settle(call.hold, spent)


class MeteredTools(ToolRegistry):
    """A registry whose tools go to the ledger first."""

    def __init__(self, ledger: Ledger) -> None:
        super().__init__()
        self._ledger = ledger

    def now(self) -> dict[str, Tool]:
        """As :meth:`ToolRegistry.now`."""
        return {name: MeteredTool(tool, self._ledger) for name, tool in super().now().items()}


class MeteredTool:
    """A tool on the account of whoever asked."""

    def __init__(self, tool: Tool, ledger: Ledger) -> None:
        self._tool = tool
        self._ledger = ledger

    @property
    def spec(self) -> ToolSpec:
        return self._tool.spec

    async def call(self, arguments: dict[str, Any], context: ToolContext) -> ToolResult:
        """As `Tool.call`; a failed result where a limit has no room for it."""
        person = context.person
        payer = Payer(f"{person.channel}:{person.account}:{person.user}", person.channel)
        try:
            hold = await self._ledger.reserve(payer, Demand(tool_calls=1))
        except OverBudget as refusal:
            return ToolResult(f"Not done: {refusal}. Tell the person.", failed=True)
        begun = time.monotonic()
        try:
            return await self._tool.call(arguments, context)
        finally:
            spent = Spent(self.spec.name, tool_calls=1, seconds=time.monotonic() - begun)
            await _finished(self._ledger.settle(hold, spent))


async def _finished(work: Awaitable[None]) -> None:
    """Let ``work`` end also when we are being cancelled: what was spent is counted."""
    task = asyncio.ensure_future(work)
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        task.add_done_callback(_seen)
        raise


def _seen(task: "asyncio.Future[None]") -> None:
    if not task.cancelled():
        task.exception()
