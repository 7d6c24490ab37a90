"""Tokens over HTTP, for whoever holds the scope ``admin``: list, make, rotate, revoke.

What a token mints is never more than the token itself: not in scopes, and a program's token mints nothing that
outlives it. Revoking one takes along what it minted. Rotating is both: a fresh secret under the same name, and whoever
used the old one is out at once.
"""

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Annotated

from aiohttp import web
from pydantic import AwareDatetime, BaseModel, Field

from opencrust.access import Scope, ScopeError, TokenKind, TokenRecord, is_token_id, lifetime, mint_bearer
from opencrust.access.tokenstore import TokenStore
from opencrust.bus.errors import BusError
from opencrust_gateway.authentication import LiveConnections, Principal
from opencrust_gateway.errors import ApiError, bus_away
from opencrust_gateway.http import Given, documented, principal, read_json, told
from opencrust_gateway.people import called
from opencrust_gateway.record import Record


class TokenBody(Given):
    """A token to make."""

    name: Annotated[str, Field(min_length=1, max_length=100)]
    scopes: Annotated[frozenset[Scope], Field(min_length=1)]
    expires: AwareDatetime | None = None


class TokenTold(BaseModel):
    """A token, without what could log in. ``current``: the one that asks."""

    id: str
    kind: TokenKind
    name: str
    owner: str
    scopes: list[Scope]
    created: datetime
    expires: datetime | None
    parent: str | None
    current: bool


class TokensTold(BaseModel):
    """All tokens, oldest first."""

    tokens: list[TokenTold]


class TokenMade(TokenTold):
    """A fresh token, which is told this once."""

    token: str


class Tokens:
    """The handlers."""

    def __init__(self, tokens: TokenStore, live: LiveConnections, record: Record, body_time: float) -> None:
        self._tokens = tokens
        self._live = live
        self._record = record
        self._body_time = body_time

    @documented(answer=TokensTold)
    async def list(self, request: web.Request) -> web.StreamResponse:
        """GET /v1/tokens: all, without anything that could log in."""
        caller = principal(request)
        try:
            records = await self._tokens.records()
        except BusError:
            raise bus_away() from None
        return told(TokensTold(tokens=[token_told(record, caller) for record in records]))

    @documented(body=TokenBody, answer=TokenMade, status=201)
    async def create(self, request: web.Request) -> web.StreamResponse:
        """POST /v1/tokens: a token for a program; it is in this answer and nowhere else."""
        caller, body = principal(request), await read_json(request, TokenBody, self._body_time)
        text, record = _minted(caller, body.name, body.scopes, body.expires, parent=caller.token_id)
        try:
            await self._record.write("token.created", _recorded(record), by=called(caller))
            await self._tokens.add(record)
        except BusError:
            raise bus_away() from None
        return _made(text, record, caller)

    @documented(answer=TokenMade, status=201)
    async def rotate(self, request: web.Request) -> web.StreamResponse:
        """POST /v1/tokens/{id}/rotate: the old one ends, and a fresh one stands in its place.

        It has at most the scopes of who asks, or rotating would be a way to more (CVE-2026-32922).
        """
        caller = principal(request)
        try:
            old = await self._found(request)
            if old.kind is not TokenKind.BEARER:
                raise ApiError(400, "not_a_bearer", "only programs' tokens are rotated: a session is logged in anew")
            if old.id in await self._ancestors(caller):
                raise ApiError(403, "not_yours", "a token cannot rotate the one that made it")
            expires = None if old.expires is None else datetime.now(UTC) + (old.expires - old.created)
            text, record = _minted(caller, old.name, old.scopes, expires, parent=old.parent)
            await self._record.write("token.rotated", {"old": old.id, **_recorded(record)}, by=called(caller))
            await self._end(old.id)
            await self._tokens.add(record)
        except BusError:
            raise bus_away() from None
        return _made(text, record, caller)

    @documented(status=204)
    async def revoke(self, request: web.Request) -> web.StreamResponse:
        """DELETE /v1/tokens/{id}: it, and what it minted, end now."""
        caller = principal(request)
        try:
            record = await self._found(request)
            await self._record.write("token.revoked", _recorded(record), by=called(caller))
            await self._end(record.id)
        except BusError:
            raise bus_away() from None
        return web.Response(status=204)

    async def _found(self, request: web.Request) -> TokenRecord:
        token_id = request.match_info["id"]
        record = await self._tokens.get(token_id) if is_token_id(token_id) else None
        if record is None:
            raise ApiError(404, "not_found", "there is no such token: see GET /v1/tokens")
        return record

    async def _end(self, token_id: str) -> None:
        """Revoke, and drop at once who is connected here; other replicas hear of it."""
        for gone in await self._tokens.revoke(token_id):
            await self._live.recheck(gone.id)

    async def _ancestors(self, caller: Principal) -> set[str]:
        found: set[str] = set()
        record = await self._tokens.get(caller.token_id)
        while record is not None and record.parent is not None and record.parent not in found:
            found.add(record.parent)
            record = await self._tokens.get(record.parent)
        return found


def token_told(record: TokenRecord, caller: Principal) -> TokenTold:
    """A token as a client sees it."""
    return TokenTold(
        id=record.id,
        kind=record.kind,
        name=record.name,
        owner=record.owner,
        scopes=sorted(record.scopes),
        created=record.created,
        expires=record.expires,
        parent=record.parent,
        current=record.id == caller.token_id,
    )


def _made(text: str, record: TokenRecord, caller: Principal) -> web.Response:
    return told(TokenMade(token=text, **dict(token_told(record, caller))), status=201)


def _minted(
    caller: Principal, name: str, scopes: Iterable[Scope], expires: datetime | None, *, parent: str | None
) -> tuple[str, TokenRecord]:
    """A token that is no more than its maker. Raises ApiError."""
    until = lifetime(expires, kind=caller.kind, ends=caller.expires)
    try:
        return mint_bearer(name, scopes, until, held=caller.scopes, owner=caller.owner, parent=parent)
    except ScopeError as error:
        raise ApiError(403, "scope_missing", str(error)) from None
    except ValueError as error:
        raise ApiError(400, "invalid_request", str(error)) from None


def _recorded(record: TokenRecord) -> dict[str, object]:
    return {
        "token": record.id,
        "name": record.name,
        "scopes": sorted(record.scopes),
        "expires": record.expires.isoformat() if record.expires else None,
    }
