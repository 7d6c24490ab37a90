"""The aiohttp application: every route of the table, behind the same four steps."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress

from aiohttp import hdrs, web

from opencrust.access import TokenKind
from opencrust.access.tokenstore import TokenStore
from opencrust.bus import Bus, BusError, Denied, subjects
from opencrust.bus.message import Message
from opencrust_gateway import guard, openapi
from opencrust_gateway.approvals import ApprovalDesk, ApprovalNews
from opencrust_gateway.attachments import Attachments
from opencrust_gateway.audit import AuditDesk
from opencrust_gateway.authentication import LiveConnections, Principal, authenticate
from opencrust_gateway.completions import Completions
from opencrust_gateway.configuration import ConfigurationDesk
from opencrust_gateway.errors import ApiError, bus_away, unauthenticated
from opencrust_gateway.events import Events
from opencrust_gateway.health import HealthDesk
from opencrust_gateway.history import Histories
from opencrust_gateway.http import set_principal
from opencrust_gateway.hub import Hub, Spawn
from opencrust_gateway.index import ConversationIndex
from opencrust_gateway.limits import Limiter, address_key
from opencrust_gateway.login import Login, cookie_name
from opencrust_gateway.pages import Pages
from opencrust_gateway.pairing import Desk, Wire
from opencrust_gateway.people import People
from opencrust_gateway.permissions import ROUTES, Need, Route, demand
from opencrust_gateway.plugins import PluginDesk
from opencrust_gateway.record import Record
from opencrust_gateway.settings import GatewaySettings
from opencrust_gateway.tokens import Tokens
from opencrust_gateway.usage import UsageDesk
from opencrust_gateway.vault import Names, VaultDesk
from opencrust_gateway.websocket import Sockets

log = logging.getLogger(__name__)

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
RECHECK_SECONDS = 60.0
"""How often the tokens of live connections are looked at, should the news of a change have been missed."""
_BY_ROUTE = {(route.method, route.path): route for route in ROUTES}


class Gateway:
    """All parts of the gateway over one bus connection."""

    def __init__(
        self, bus: Bus, settings: GatewaySettings, spawn: Spawn = asyncio.create_task, *, names: Names | None = None
    ) -> None:
        """``names``: asks the vault for the names of all credentials."""
        self._bus = bus
        self._settings = settings
        self._tokens = TokenStore(bus)
        self._live = LiveConnections(self._tokens)
        self._spawn = spawn
        self._index = ConversationIndex(bus)
        self._hub = Hub(bus, spawn, self._index)
        self._attachments = Attachments(bus, settings.limits)
        self._approvals = ApprovalDesk(bus, settings.limits)
        self._desk = Desk(bus)
        self._vault = VaultDesk(names)
        self._news = ApprovalNews(bus)
        self._sockets = Sockets(
            self._hub,
            self._tokens,
            self._live,
            settings.limits,
            desk=self._approvals,
            news=self._news,
            attachments=self._attachments,
        )
        self._requests = Limiter(settings.limits.requests)
        self._strict = {
            ("POST", "/login"): Limiter(settings.limits.logins),
            ("GET", "/v1/ws"): Limiter(settings.limits.upgrades),
        }
        self._tokens_doubtful = asyncio.Event()
        self._watching: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin to listen to the bus. Raises BusError."""
        await self._bus.subscribe(subjects.wildcard(subjects.EVT_TOKEN), self._token_changed)
        self._bus.on_reconnect(self._reconnected)
        self._watching = self._spawn(self._watch_tokens())
        await self._hub.start()
        await self._news.start()
        self._bus.on_reconnect(self._desk.resume)
        await self._desk.resume()
        await Wire(self._bus, self._desk).start()

    async def stop(self) -> None:
        """End the background work. The application's shutdown has closed the connections."""
        if self._watching is not None:
            self._watching.cancel()
            await asyncio.gather(self._watching, return_exceptions=True)
        await self._hub.stop()

    def facts(self) -> dict[str, object]:
        """Plain numbers for the health answer."""
        return {"sockets": self._sockets.count, "conversations": self._hub.count, **self._desk.facts()}

    def handlers(self) -> dict[tuple[str, str], Handler]:
        """Every route's handler."""
        login = Login(self._tokens, self._live, self._settings)
        completions = Completions(self._hub, self._live, self._settings.limits)
        pages = Pages()
        people = People(self._desk, self._settings.limits.body_time)
        tokens = Tokens(self._tokens, self._live, Record(self._bus), self._settings.limits.body_time)
        histories = Histories(self._hub, self._index)
        health = HealthDesk(self._bus)
        plugins = PluginDesk(self._bus)
        handlers: dict[tuple[str, str], Handler] = {
            ("GET", "/healthz"): _healthz,
            ("GET", "/login"): pages.login,
            ("POST", "/login"): login.redeem,
            ("GET", "/login/{asset}"): pages.login_asset,
            ("GET", "/favicon.ico"): pages.icon,
            ("GET", "/"): pages.app,
            ("GET", "/app/{asset}"): pages.app_asset,
            ("POST", "/logout"): login.logout,
            ("GET", "/v1/session"): login.session,
            ("GET", "/v1/ws"): self._sockets.connect,
            ("GET", "/v1/models"): completions.models,
            ("POST", "/v1/chat/completions"): completions.create,
            ("GET", "/v1/conversations/{name}/events"): Events(self._hub, self._live).follow,
            ("GET", "/v1/people"): people.list,
            ("POST", "/v1/people"): people.add,
            ("PUT", "/v1/people/{key}"): people.change,
            ("DELETE", "/v1/people/{key}"): people.remove,
            ("GET", "/v1/pairing"): people.waiting,
            ("POST", "/v1/pairing/invites"): people.invite,
            ("POST", "/v1/pairing/{id}/approve"): people.approve,
            ("POST", "/v1/pairing/{id}/block"): people.block,
            ("GET", "/v1/channels/{name}/policy"): people.policy,
            ("PUT", "/v1/channels/{name}/policy"): people.set_policy,
            ("GET", "/v1/tokens"): tokens.list,
            ("POST", "/v1/tokens"): tokens.create,
            ("POST", "/v1/tokens/{id}/rotate"): tokens.rotate,
            ("DELETE", "/v1/tokens/{id}"): tokens.revoke,
            ("GET", "/v1/conversations"): histories.list,
            ("GET", "/v1/conversations/{name}"): histories.show,
            ("POST", "/v1/attachments"): self._attachments.upload,
            ("GET", "/v1/attachments/{sha256}"): self._attachments.download,
            ("GET", "/v1/approvals"): self._approvals.list,
            ("POST", "/v1/approvals/{id}"): self._approvals.decide,
            ("GET", "/v1/health"): health.health,
            ("GET", "/v1/channels"): health.channels,
            ("GET", "/v1/plugins"): plugins.list,
            ("POST", "/v1/plugins/{name}/enable"): plugins.enable,
            ("POST", "/v1/plugins/{name}/disable"): plugins.disable,
            ("DELETE", "/v1/plugins/{name}"): plugins.remove,
            ("GET", "/v1/usage"): UsageDesk(self._bus).show,
            ("GET", "/v1/vault"): self._vault.list,
            ("GET", "/v1/audit"): AuditDesk(self._bus).page,
            ("GET", "/v1/settings"): ConfigurationDesk(self._bus, self._settings).show,
        }
        handlers["GET", "/v1/openapi.json"] = openapi.served(handlers)
        return handlers

    def app(self) -> web.Application:
        """The application. Raises KeyError where a handler is not in the table of permissions, or the other
        way.
        """
        handlers = self.handlers()
        if handlers.keys() != _BY_ROUTE.keys():
            raise KeyError(f"routes and permissions differ: {sorted(handlers.keys() ^ _BY_ROUTE.keys())}")
        app = web.Application(
            middlewares=[self._errors, self._admission, self._authentication],
            client_max_size=self._settings.limits.body,
        )
        for (method, path), handler in handlers.items():
            app.router.add_route(method, path, handler)
        app.on_response_prepare.append(_add_headers)
        app.on_shutdown.append(self._close_sockets)
        return app

    async def _close_sockets(self, app: web.Application) -> None:
        await self._sockets.close()

    # -- revoked and expired tokens

    async def _token_changed(self, message: Message) -> None:
        try:
            await self._live.recheck(subjects.last_token(message.subject))
        except BusError:
            self._tokens_doubtful.set()

    async def _reconnected(self) -> None:
        self._tokens_doubtful.set()

    async def _watch_tokens(self) -> None:
        """Look at every token in use after a reconnect, when a revocation may have been missed, and now and
        then.
        """
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(RECHECK_SECONDS):
                    await self._tokens_doubtful.wait()
            self._tokens_doubtful.clear()
            try:
                await self._live.recheck_all()
            except BusError:
                self._tokens_doubtful.set()
                await asyncio.sleep(1)

    # -- the steps, outermost first

    @web.middleware
    async def _errors(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            return await handler(request)
        except ApiError as error:
            return _error_response(error)
        except web.HTTPRequestEntityTooLarge:
            most = self._settings.limits.body
            return _error_response(ApiError(413, "too_large", f"a request's body has at most {most} bytes", final=True))
        except web.HTTPNotFound:
            return _error_response(ApiError(404, "not_found", "there is nothing here"))
        except web.HTTPMethodNotAllowed as error:
            allowed = ", ".join(sorted(error.allowed_methods))
            return _error_response(ApiError(405, "method_not_allowed", f"allowed here: {allowed}"))
        except web.HTTPException as error:
            if error.status < 400:
                raise
            return _error_response(ApiError(error.status, "bad_request", error.reason))
        except (asyncio.CancelledError, ConnectionError):
            raise
        except Denied:
            log.exception("%s %s failed", request.method, _canonical(request))
            return _error_response(ApiError(500, "internal", "the gateway may not do this; its log says more"))
        except BusError:
            return _error_response(bus_away())
        except Exception:
            log.exception("%s %s failed", request.method, _canonical(request))
            return _error_response(ApiError(500, "internal", "the gateway failed at this; its log says more"))

    @web.middleware
    async def _admission(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Count, then see by which name and from which page we are called. No credential has been looked at
        yet.
        """
        peer = address_key(request.get_extra_info("peername"))
        self._count(peer, request)
        proxy = self._settings.trusted_proxy
        if proxy is not None and peer not in (address_key((proxy,)), "127.0.0.1", address_key(("::1",))):
            raise ApiError(403, "proxy_only", "connect through the proxy")
        guard.check_host(request.headers.getall(hdrs.HOST, []), self._settings.hosts)
        route = _BY_ROUTE.get((request.method, _canonical(request)))
        guard.check_origin(
            request.headers.getall(hdrs.ORIGIN, []),
            request.headers.get("Sec-Fetch-Site", ""),
            allowed=self._settings.origins,
            navigation=route is not None and route.page and request.headers.get("Sec-Fetch-Mode") == "navigate",
        )
        return await handler(request)

    def _count(self, peer: str, request: web.Request) -> None:
        now = asyncio.get_running_loop().time()
        strict = self._strict.get((request.method, _canonical(request)))
        wait = self._requests.take(peer, now) or (strict.take(peer, now) if strict else 0.0)
        if wait:
            raise ApiError(429, "rate_limited", "too many requests from this address", retry_after=max(1, round(wait)))

    @web.middleware
    async def _authentication(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        route = _BY_ROUTE.get((request.method, _canonical(request)))
        if route is None or route.need is Need.NOTHING:  # no route: the router's own 404 or 405
            return await handler(request)
        try:
            caller = await self._caller(request, route)
        except ApiError as error:
            if route.page and error.status == 401:
                raise web.HTTPSeeOther("/login") from None
            raise
        if caller is not None:
            demand(route.need, caller.scopes)
        set_principal(request, caller)
        return await handler(request)

    async def _caller(self, request: web.Request, route: Route) -> Principal | None:
        shown = request.headers.getall(hdrs.AUTHORIZATION, [])
        if shown:
            scheme, _, text = shown[0].partition(" ")
            if len(shown) > 1 or scheme.lower() != "bearer":
                raise unauthenticated("Authorization: Bearer and a token is the only scheme here")
            return await authenticate(self._tokens, text.strip(), TokenKind.BEARER)
        cookie = request.cookies.get(cookie_name(self._settings))
        if cookie is not None:
            changes = route.method != "GET" or route.need is Need.TOKEN_OR_FIRST_FRAME
            guard.check_cookie_use(request.headers.getall(hdrs.ORIGIN, []), changes=changes)
            return await authenticate(self._tokens, cookie, TokenKind.SESSION)
        if route.need is Need.TOKEN_OR_FIRST_FRAME:
            return None
        raise unauthenticated("this needs a token: Authorization: Bearer, or a login link in the browser")


async def _healthz(request: web.Request) -> web.StreamResponse:
    """GET /healthz: this process answers. What is behind it is for `opencrust status`."""
    return web.Response(text="ok\n")


def _canonical(request: web.Request) -> str:
    resource = request.match_info.route.resource
    return "" if resource is None else resource.canonical


def _error_response(error: ApiError) -> web.Response:
    response = web.json_response(error.openai(), status=error.status)
    if error.status == 401:
        response.headers["WWW-Authenticate"] = "Bearer"
    if error.retry_after is not None:
        response.headers["Retry-After"] = str(round(error.retry_after))
    if error.final:
        response.headers["x-should-retry"] = "false"  # OpenAI's client libraries heed it
    return response


async def _add_headers(request: web.Request, response: web.StreamResponse) -> None:
    for name, value in guard.SECURITY_HEADERS.items():
        response.headers[name] = value
    response.headers.setdefault(hdrs.CACHE_CONTROL, "no-store")
    response.headers[hdrs.SERVER] = "opencrust"
