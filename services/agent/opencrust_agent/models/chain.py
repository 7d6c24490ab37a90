"""Models in order of preference, each behind a circuit breaker: retry, then fall back, and say so as events.

A retry after text was shown is announced by a Reset, so that nobody sees two half answers. What is retried where:

    rate_limit, overloaded, server, connection, truncated, protocol   the same model again after a pause, then the next
    timeout                                                           the next model; the same one if it is the last
    auth, bad_request, context_window                                 the next model (it may know the model, or fit)
    refused                                                           nobody: asking around until one agrees is wrong
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Any

from opencrust_agent.models.breaker import Breaker, BreakerPolicy
from opencrust_agent.models.errors import AllModelsFailed, ErrorKind, ModelError
from opencrust_agent.models.events import Attempt, Completion, Event, Reset, TextDelta
from opencrust_agent.models.messages import Request
from opencrust_agent.models.model import Model


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """`attempts` per model. Pauses double from `pause` to `max_pause` seconds, with jitter. A Retry-After up to
    `patience` seconds is waited for; a longer one sends the call to the next model. No attempt begins after `deadline`
    seconds."""

    attempts: int = 3
    pause: float = 0.5
    max_pause: float = 8.0
    patience: float = 20.0
    deadline: float = 300.0


class Chain:
    """Implements `Model`. `clock` (monotonic seconds), `sleep` and `jitter` (0 to 1) are injected by tests."""

    def __init__(
        self,
        models: Sequence[Model],
        policy: RetryPolicy | None = None,
        breakers: BreakerPolicy | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        if not models:
            raise ValueError("a chain needs at least one model")
        self._policy = policy or RetryPolicy()
        self._clock = clock
        self._sleep = sleep
        self._jitter = jitter
        self._links = [(model, Breaker(breakers or BreakerPolicy(), clock)) for model in models]

    @property
    def provider(self) -> str:
        return self._links[0][0].provider

    @property
    def model(self) -> str:
        return self._links[0][0].model

    @property
    def supports_tools(self) -> bool:
        """Whether any model of the chain can use tools; the others answer without."""
        return any(model.supports_tools for model, _ in self._links)

    def snapshot(self) -> list[dict[str, Any]]:
        """The models in order, each with its breaker's state: plain data for status output."""
        return [
            {"provider": model.provider, "model": model.model, **breaker.snapshot()} for model, breaker in self._links
        ]

    async def stream(self, request: Request) -> AsyncGenerator[Event, None]:
        """As `Model.stream`. Raises AllModelsFailed, or the ModelError itself when nothing else was tried."""
        give_up = self._clock() + self._policy.deadline
        errors: list[ModelError] = []
        number = 0
        for position, (model, breaker) in enumerate(self._links):
            is_last = position == len(self._links) - 1
            for attempt in range(1, self._policy.attempts + 1):
                if not breaker.admit():
                    errors.append(_resting(model, breaker))
                    break
                failure: ModelError | None = None
                concluded = False
                shown = False
                try:
                    async with aclosing(model.stream(request)) as events:
                        async for event in events:
                            match event:
                                case Attempt():
                                    number += 1
                                    yield replace(event, number=number, after=errors[-1] if errors else event.after)
                                case Completion():
                                    concluded = True
                                    breaker.succeeded()
                                    yield event
                                    return
                                case _:
                                    shown = isinstance(event, TextDelta)
                                    yield event
                    failure = ModelError(
                        ErrorKind.PROTOCOL, "the stream ended without a completion", provider=model.provider
                    )
                except ModelError as error:
                    failure = error
                finally:
                    if failure is not None:
                        breaker.failed(failure)
                    elif not concluded:
                        breaker.abandoned()
                errors.append(failure)
                if shown:
                    yield Reset(failure)
                if failure.kind is ErrorKind.REFUSED:
                    raise _summary(errors)
                pause = self._pause(failure, attempt, is_last)
                if pause is None:
                    if failure.retry_after and failure.retry_after > self._policy.patience:
                        breaker.rest(failure.retry_after)
                    break
                if self._clock() + pause >= give_up:
                    raise _summary(errors)
                await self._sleep(pause)
        raise _summary(errors)

    def _pause(self, failure: ModelError, attempt: int, is_last: bool) -> float | None:
        """Seconds before the same model is asked again, None for: go on to the next."""
        if not failure.retryable or attempt >= self._policy.attempts:
            return None
        if failure.kind is ErrorKind.TIMEOUT and not is_last:
            return None
        if failure.retry_after is not None:
            return failure.retry_after if failure.retry_after <= self._policy.patience else None
        ceiling = min(self._policy.pause * 2.0 ** (attempt - 1), self._policy.max_pause)
        return ceiling * (0.5 + 0.5 * self._jitter())


def _resting(model: Model, breaker: Breaker) -> ModelError:
    seconds = breaker.rests_for
    when = f"it is asked again in {seconds:.0f} s" if seconds else "another call is trying it just now"
    return ModelError(
        breaker.last_kind or ErrorKind.OVERLOADED,
        f"resting after failures; {when}",
        provider=model.provider,
        model=model.model,
        retry_after=seconds,
    )


def _summary(errors: Sequence[ModelError]) -> ModelError:
    return errors[0] if len(errors) == 1 else AllModelsFailed(errors)
