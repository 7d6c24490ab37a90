"""Webhooks: the platform calls us. One small HTTP server for an adapter's routes, behind the person's reverse proxy.

The body is read raw and with a limit before anything looks at it; handlers verify it before they parse. A refusal says
nothing but its status. While an event cannot be stored the answer is 503: platforms come again after that.
"""

import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

from opencrust.bus import BusError
from opencrust.channel.adapter import Emit, Route, WebhookReply, WebhookRequest
from opencrust.config import Webhook
from opencrust.service import SettingsError

if TYPE_CHECKING:
    from aiohttp import web

log = logging.getLogger(__name__)

MAX_BODY: Final = 1024 * 1024


@asynccontextmanager
async def served(routes: Sequence[Route], settings: Webhook, emit: Callable[[], Emit]) -> AsyncIterator[None]:
    """Serve ``routes`` while the block runs.

    Raises:
        SettingsError: it cannot listen there.
    """
    from aiohttp import web

    app = web.Application(client_max_size=MAX_BODY)
    for route in routes:
        app.router.add_route(route.method, route.path, _handler(route, emit))
    runner = web.AppRunner(app, access_log=None, keepalive_timeout=75, shutdown_timeout=2)
    await runner.setup()
    try:
        try:
            await web.TCPSite(runner, settings.host, settings.port, reuse_port=True).start()
        except OSError as error:
            raise SettingsError(f"cannot listen on {settings.host}:{settings.port}: {error.strerror}") from None
        yield
    finally:
        await runner.cleanup()


def _handler(route: Route, emit: Callable[[], Emit]) -> "Callable[[web.Request], Awaitable[web.StreamResponse]]":
    from aiohttp import web

    async def handle(request: web.Request) -> web.Response:
        try:
            body = await request.read()
        except web.HTTPRequestEntityTooLarge:
            return web.Response(status=413)
        asked = WebhookRequest(
            method=request.method,
            path=request.path,
            query=dict(request.query),
            headers={name.lower(): value for name, value in request.headers.items()},
            body=body,
        )
        try:
            answer = await route.handler(asked, emit())
        except BusError as error:
            log.warning("a webhook's event is not stored, the platform will bring it again: %s", error)
            answer = WebhookReply(503)
        except Exception as error:  # noqa: BLE001 - hostile bytes; what they broke must not tell them how
            log.error("a webhook's handler failed: %s", type(error).__name__)
            answer = WebhookReply(500)
        return web.Response(status=answer.status, body=answer.body, content_type=answer.content_type)

    return handle
