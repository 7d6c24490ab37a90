"""Starting the gateway: settings, parts, one listening socket; and stopping it."""

import asyncio
import errno
import logging
import ssl

from aiohttp import web

from opencrust import service
from opencrust.credentials import Credentials, LeakDetector
from opencrust.service import SettingsError
from opencrust_gateway.app import Gateway
from opencrust_gateway.serverlog import server_logger
from opencrust_gateway.settings import GatewaySettings, from_environment

log = logging.getLogger(__name__)

IDLE_SECONDS = 75.0
"""How long a connection may be idle, or take over the headers of a request."""
SHUTDOWN_SECONDS = 4.0


async def run(context: service.Context) -> None:
    """Serve until told to stop.

    Raises SettingsError where the settings are wrong or would not be safe, OSError where the port is taken.
    """
    settings = from_environment(context.environment)
    credentials = Credentials(context.bus, context.identity)
    detector = LeakDetector()
    context.redactor.add_detector(detector.spans)
    gateway = Gateway(context.bus, settings, context.spawn, names=credentials.names)
    context.facts = gateway.facts
    runner = web.AppRunner(
        gateway.app(),
        access_log=None,
        logger=server_logger(),
        keepalive_timeout=IDLE_SECONDS,
        shutdown_timeout=SHUTDOWN_SECONDS,
    )
    following: asyncio.Task[None] | None = None
    try:
        await credentials.start()
        following = context.spawn(detector.follow(credentials))
        await gateway.start()
        await runner.setup()
        await listen(runner, settings)
        log.info("listening on %s://%s:%d", settings.scheme, settings.host, settings.port)
        context.ready()
        await context.stopping.wait()
        context.not_ready("stopping")
    finally:
        await runner.cleanup()
        await gateway.stop()
        if following is not None:
            following.cancel()
        await credentials.close()


async def listen(runner: web.AppRunner, settings: GatewaySettings) -> None:
    """Open the one socket.

    Raises SettingsError for an address or a certificate that can never be used; OSError for a port that is
    taken, which may pass: the process before us may still be ending.
    """
    context = None
    if settings.certificate is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        try:
            context.load_cert_chain(settings.certificate, settings.key)
        except (OSError, ssl.SSLError) as error:
            raise SettingsError(f"the TLS certificate or its key cannot be used: {error}") from None
    try:
        await web.TCPSite(runner, settings.host, settings.port, ssl_context=context).start()
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise OSError(error.errno, f"port {settings.port} of {settings.host} is taken") from None
        raise SettingsError(f"cannot listen on {settings.host}:{settings.port}: {error.strerror}") from None


def main() -> int:
    """Entry point of the process."""
    return service.main("gateway", run)
