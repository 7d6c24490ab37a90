"""GET /v1/vault: which credentials there are. Names and dates; a value never comes here."""

from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web
from pydantic import BaseModel

from opencrust.credentials import CredentialError
from opencrust_gateway.errors import nobody_serves
from opencrust_gateway.http import documented, told

Names = Callable[[], Awaitable[list[dict[str, Any]]]]
"""Asks the vault; raises CredentialError."""


class KnownSecret(BaseModel):
    """One credential. `created` and `expires` are seconds since the epoch; `readers` are services."""

    name: str
    version: int
    created: int
    expires: int | None
    readers: list[str]


class KnownSecrets(BaseModel):
    """All of them, by name."""

    secrets: list[KnownSecret]


class VaultDesk:
    """The handler."""

    def __init__(self, names: Names | None) -> None:
        self._names = names

    @documented(answer=KnownSecrets)
    async def list(self, request: web.Request) -> web.StreamResponse:
        """GET /v1/vault: the names of all credentials, and which services may have each."""
        try:
            found = await self._names() if self._names is not None else None
        except CredentialError:
            found = None
        if found is None:
            raise nobody_serves("the names cannot be told now", "vault")
        return told(KnownSecrets(secrets=[KnownSecret.model_validate(one) for one in found]))
