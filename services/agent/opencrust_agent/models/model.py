"""The protocol that everything which answers implements: a provider over HTTP, the demo model, a chain of them."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Protocol, TypeAlias

from opencrust_agent.models.events import Event
from opencrust_agent.models.messages import Request


class Model(Protocol):
    """`provider` is the configured name of the endpoint, `model` the model asked for."""

    @property
    def provider(self) -> str: ...

    @property
    def model(self) -> str: ...

    @property
    def supports_tools(self) -> bool:
        """False: tools in a request are left out, the model only talks."""
        ...

    def stream(self, request: Request) -> AsyncGenerator[Event, None]:
        """Answers once. Ends with a Completion or raises ModelError; closing it cuts the connection."""
        ...


class Credential(Protocol):
    """A secret that does not print itself, such as `opencrust.credentials.secret.Secret`."""

    def reveal_text(self) -> str:
        """The value. Raises ValueError when it is gone or is not text."""
        ...


CredentialSource: TypeAlias = Callable[[], Awaitable[Credential]]
"""Called once for each request, so that a rotated key is used at once."""
