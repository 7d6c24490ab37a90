"""From the one-time login link to the session cookie, and back out.
 The link is ``/login#ticket=oc_…``. A fragment is sent to no server, so neither logs nor link previews nor
proxies see it; the page's own script takes it off the address bar and posts it here, which burns it.
"""

from datetime import UTC, datetime

from aiohttp import web
from pydantic import BaseModel, ConfigDict

from opencrust.access import MalformedToken, TokenKind, mint_session
from opencrust.access.tokenstore import TokenStore
from opencrust.bus.errors import BusError
from opencrust_gateway.authentication import LiveConnections
from opencrust_gateway.errors import ApiError, bus_away, unauthenticated
from opencrust_gateway.http import principal, read_json
from opencrust_gateway.settings import GatewaySettings


class _Ticket(BaseModel):
    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    ticket: str


def cookie_name(settings: GatewaySettings) -> str:
    """The session cookie's name. Cookies do not tell ports apart, so two gateways on one machine need two
    names.
    """
    return f"opencrust_session_{settings.port}"


class Login:
    """The handlers."""

    def __init__(self, tokens: TokenStore, live: LiveConnections, settings: GatewaySettings) -> None:
        self._tokens = tokens
        self._live = live
        self._settings = settings

    async def redeem(self, request: web.Request) -> web.StreamResponse:
        """POST /login {"ticket": "oc_…"}: burn it, set the cookie."""
        origin = request.headers.get("Origin")
        if origin is None:  # or any page could log the browser in as somebody else
            raise ApiError(403, "origin_missing", "only the login page can log in")
        text = (await read_json(request, _Ticket, self._settings.limits.body_time)).ticket
        now = datetime.now(UTC)
        try:
            ticket = await self._tokens.redeem(text, now)
            if ticket is None:
                raise unauthenticated("this login link was used already, or has expired: make a new one")
            cookie, session = mint_session(ticket, now=now)
            await self._tokens.add(session)
        except MalformedToken:
            raise unauthenticated("this is not a login link of OpenCrust") from None
        except BusError:
            raise bus_away() from None
        response = web.Response(status=204)
        assert session.expires is not None
        response.set_cookie(
            cookie_name(self._settings),
            cookie,
            max_age=int((session.expires - now).total_seconds()),
            path="/",
            httponly=True,
            samesite="Strict",
            secure=origin.startswith("https://"),
        )
        return response

    async def logout(self, request: web.Request) -> web.StreamResponse:
        """POST /logout: the session ends everywhere. A bearer token is revoked by the operator, not by its
        holder.
        """
        caller = principal(request)
        if caller.kind is not TokenKind.SESSION:
            raise ApiError(403, "not_a_session", "only a browser's session can log out")
        try:
            await self._tokens.remove(caller.token_id)
            await self._live.recheck(caller.token_id)
        except BusError:
            raise bus_away() from None
        response = web.Response(status=204)
        response.del_cookie(cookie_name(self._settings), path="/", httponly=True, samesite="Strict")
        return response

    async def session(self, request: web.Request) -> web.StreamResponse:
        """GET /v1/session: who am I, and what may I."""
        caller = principal(request)
        expires = caller.expires.isoformat() if caller.expires else None
        return web.json_response({"owner": caller.owner, "scopes": sorted(caller.scopes), "expires": expires})
