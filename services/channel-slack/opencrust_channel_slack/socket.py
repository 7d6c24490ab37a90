"""Socket Mode: several connections, each kept by slack-sdk's client and supervised here."""

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

import aiohttp
from slack_sdk.socket_mode.aiohttp import SocketModeClient
from slack_sdk.socket_mode.response import SocketModeResponse

from opencrust.channel.adapter import LinkError, Runtime
from opencrust_channel_slack.api import Api, NoAnswer, Refusal, silent
from opencrust_channel_slack.sending import link_error

log = logging.getLogger(__name__)

PING_SECONDS: Final = 0.8
"""aiohttp ends a connection whose pong is later than half of it: a dead one is left after 1.2 s."""
DEAD_SECONDS: Final = 1.7
CONNECT_SECONDS: Final = 10.0
FIRST_PAUSE, LONGEST_PAUSE = 0.3, 10.0

Envelope = Callable[[Mapping[str, Any], "Connection"], None]
"""Takes an envelope over; must not wait. It is acknowledged later, by :meth:`Connection.acknowledge`."""


class Connection:
    """One connection, made anew whenever it breaks, until cancelled."""

    def __init__(self, runtime: Runtime, api: Api, envelope: Envelope, begun: Callable[[], None]) -> None:
        self._runtime = runtime
        self._api = api
        self._envelope = envelope
        self._has_begun = begun
        self._client: SocketModeClient | None = None
        self.connected = False
        self.begun = 0
        self.dead = 0
        """How often it was silent and had to be left."""

    async def run(self) -> None:
        """Stay connected. Raises LinkError only where Slack does not want us."""
        pause = FIRST_PAUSE
        while True:
            began = time.monotonic()
            try:
                await self._once()
            except LinkError as error:
                if error.refused:
                    raise
                log.warning("a connection was not made: %s", error)
                pause = max(pause, error.after)
            finally:
                self.connected = False
            if time.monotonic() - began > LONGEST_PAUSE:
                pause = FIRST_PAUSE
            await asyncio.sleep(pause)
            pause = min(pause * 2, LONGEST_PAUSE)

    async def acknowledge(self, envelope: str, payload: dict[str, Any] | None = None) -> None:
        """Tell Slack that we have it; if it does not hear it, it brings the event again."""
        client = self._client
        if client is None:
            return
        with contextlib.suppress(Exception):  # slack-sdk raises whatever its socket raises
            await client.send_socket_mode_response(SocketModeResponse(envelope, payload))

    async def _once(self) -> None:
        """One connection, from its ticket to its end."""
        try:
            told = await self._api.call("apps.connections.open", "app_token")
        except (Refusal, NoAnswer) as error:
            raise link_error(error, "app token (xapp-…)") from None
        address = told.get("url")
        if not isinstance(address, str) or not address.startswith(("ws://", "wss://")):
            raise LinkError("Slack named no address for its socket")
        token = await self._runtime.secret("app_token")
        client = SocketModeClient(
            app_token=token.reveal_text(),
            web_client=self._api.client(),
            logger=silent(),
            ping_interval=PING_SECONDS,
            auto_reconnect_enabled=False,
        )
        client.message_listeners.append(self._received)
        client.wss_uri = address
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                await client.connect()  # type: ignore[no-untyped-call]
            self._client = client
            self.begun += 1
            self._has_begun()
            await self._until_broken(client)
        except TimeoutError:
            raise LinkError("Slack's socket was not opened in time") from None
        except (aiohttp.ClientError, OSError) as error:
            raise LinkError(f"Slack's socket failed ({type(error).__name__})") from None
        finally:
            self._client = None
            await _end(client)

    async def _until_broken(self, client: SocketModeClient) -> None:
        heard = None
        since = time.time()
        while client.current_session is not None and not client.current_session.closed:
            if client.last_ping_pong_time != heard:
                heard = client.last_ping_pong_time
                since = time.time()
                self.connected = True
                self._runtime.link.alive()
            if time.time() - since > DEAD_SECONDS:
                break
            await asyncio.sleep(0.1)
        else:
            if time.time() - since < PING_SECONDS:
                return
        self.dead += 1
        self._runtime.link.deaf_times += 1
        log.warning("a connection was silent and is made anew")

    async def _received(self, client: Any, message: dict[str, Any], raw: str | None = None) -> None:
        """slack-sdk starts this for each message in their order, and nothing in it waits: so the order stays."""
        del client, raw
        self._runtime.link.alive()
        self.connected = True
        if message.get("envelope_id"):
            self._envelope(message, self)


async def _end(client: SocketModeClient) -> None:
    """Close what slack-sdk opened; a dead socket must not hold us up."""
    client.closed = True
    for task in (client.current_session_monitor, client.message_receiver, client.message_processor):
        if task is not None:
            task.cancel()
    with contextlib.suppress(Exception):
        async with asyncio.timeout(0.5):
            if client.current_session is not None:
                await client.current_session.close()
    with contextlib.suppress(Exception):
        async with asyncio.timeout(1):
            await client.aiohttp_client_session.close()


class Sockets:
    """All connections of one replica.

    Args:
        count: how many; ten in all are Slack's limit for an app.
        begun: called whenever one was made.
    """

    def __init__(self, runtime: Runtime, api: Api, count: int, envelope: Envelope, begun: Callable[[], None]) -> None:
        self.connections = [Connection(runtime, api, envelope, begun) for _ in range(count)]

    async def run(self, broken: Awaitable[None], stop: asyncio.Event) -> None:
        """Stay connected until ``stop``, or until ``broken`` or a connection raises."""
        running: list[asyncio.Future[Any]] = [asyncio.create_task(c.run()) for c in self.connections]
        running += [asyncio.ensure_future(broken), asyncio.create_task(stop.wait())]
        try:
            done, _ = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)

    @property
    def connected(self) -> int:
        """How many are connected now."""
        return sum(connection.connected for connection in self.connections)
