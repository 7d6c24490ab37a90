"""One exception with a kind, so that callers decide by kind and people read a sentence.

No error holds a header, a key or a request; what a provider said is cut short and has the key blacked out before
it gets here (see `transport`).
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum

from opencrust_agent.models.usage import Usage


class ErrorKind(StrEnum):
    RATE_LIMIT = "rate_limit"
    OVERLOADED = "overloaded"
    SERVER = "server"
    TIMEOUT = "timeout"
    CONNECTION = "connection"
    TRUNCATED = "truncated"
    PROTOCOL = "protocol"
    AUTH = "auth"
    BAD_REQUEST = "bad_request"
    CONTEXT_WINDOW = "context_window"
    REFUSED = "refused"
    BUDGET = "budget"
    """Ours: a limit of the ledger has no room for the request, which was not sent."""


RETRYABLE = frozenset(
    {
        ErrorKind.RATE_LIMIT,
        ErrorKind.OVERLOADED,
        ErrorKind.SERVER,
        ErrorKind.TIMEOUT,
        ErrorKind.CONNECTION,
        ErrorKind.TRUNCATED,
        ErrorKind.PROTOCOL,
    }
)
"""Kinds where the same request may well succeed a moment later."""


class ModelError(Exception):
    """A call to a model that gave no answer.

    `status` is the HTTP status when there was one; `retry_after` seconds, when the provider asked for a pause;
    `partial` whether text had already been yielded; `usage` what the provider had reported as spent by then.
    """

    def __init__(
        self,
        kind: ErrorKind,
        message: str,
        *,
        provider: str = "",
        model: str = "",
        status: int | None = None,
        retry_after: float | None = None,
        partial: bool = False,
        usage: Usage | None = None,
    ) -> None:
        super().__init__(message)
        self.kind = kind
        self.message = message
        self.provider = provider
        self.model = model
        self.status = status
        self.retry_after = retry_after
        self.partial = partial
        self.usage = usage or Usage()

    @property
    def retryable(self) -> bool:
        return self.kind in RETRYABLE

    def __str__(self) -> str:
        where = f"{self.provider}: " if self.provider else ""
        status = f" (HTTP {self.status})" if self.status else ""
        return f"{where}{self.kind}: {self.message}{status}"


class AllModelsFailed(ModelError):
    """Every model of a chain failed or is resting; `errors` has one error for each attempt and each resting model."""

    def __init__(self, errors: Sequence[ModelError]) -> None:
        last = errors[-1]
        super().__init__(
            last.kind,
            "; ".join(str(error) for error in errors),
            status=last.status,
            retry_after=min((e.retry_after for e in errors if e.retry_after is not None), default=None),
        )
        self.errors = tuple(errors)
