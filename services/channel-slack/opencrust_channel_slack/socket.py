"""Socket Mode: several WebSockets side by side, each made anew when it breaks or Slack says that it will end it.

slack-sdk's client is not used for them: whenever Slack says ``disconnect`` it opens a new socket by itself, inside the
same object, so that we would neither know of the gap nor acknowledge over the socket that an envelope came by. Source
of the protocol: Slack's documentation, "Using Socket Mode".
"""

import asyncio
import contextlib
import json
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

import aiohttp

from opencrust.channel.adapter import LinkError, Runtime
from opencrust_channel_slack.api import Api, NoAnswer, Refusal, no_redirects
from opencrust_channel_slack.connection import CLOSE_SECONDS, FLUSH_SECONDS, Connection
from opencrust_channel_slack.sending import link_error

log = logging.getLogger(__name__)

CONNECT_SECONDS: Final = 5.0
WORKED_SECONDS: Final = 1.0
"""A connection that stood so long was none of a row of failures: its successor is made at once."""
FIRST_PAUSE, LONGEST_PAUSE = 0.2, 10.0
LINGER_SECONDS: Final = 20.0
"""How long a connection is still listened to that Slack said it would end; it does so after about ten."""
LARGEST_FRAME: Final = 16 * 1024 * 1024
FULL: Final = "too_many_websockets"

Envelope = Callable[[Mapping[str, Any], Connection], None]
"""Takes an envelope over; must not wait. It is acknowledged later, by :meth:`Connection.acknowledge`."""
Unread = Callable[[str], None]
"""Takes a frame that is no JSON object."""


class Sockets:
    """All connections of one replica.

    Args:
        count: how many; ten in all are Slack's limit for an app.
        begun: called whenever one was made.
        lost: called whenever one ended in such a way that what Slack had sent by it may not have come.
    """

    def __init__(
        self,
        runtime: Runtime,
        api: Api,
        count: int,
        envelope: Envelope,
        unread: Unread,
        begun: Callable[[], None],
        lost: Callable[[], None],
    ) -> None:
        self._runtime = runtime
        self._api = api
        self._count = count
        self._envelope = envelope
        self._unread = unread
        self._has_begun = begun
        self._was_lost = lost
        self._session: aiohttp.ClientSession | None = None
        self._open: dict[Connection, asyncio.Task[None]] = {}
        self._opening: set[asyncio.Future[None]] = set()
        """Handshakes under way: Slack may send by a connection that we do not have yet."""
        self.begun = 0
        self.dead = 0
        """How often one was silent and had to be left."""

    async def run(self, broken: Awaitable[None], stop: asyncio.Event) -> None:
        """Stay connected until ``stop``, or until ``broken`` raises. Raises LinkError where Slack does not want us."""
        running: list[asyncio.Future[Any]] = [asyncio.create_task(self._keep_one()) for _ in range(self._count)]
        running += [asyncio.ensure_future(broken), asyncio.create_task(stop.wait())]
        try:
            done, _ = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)

    async def close(self) -> None:
        """End all connections; what is still to be acknowledged comes again."""
        with contextlib.suppress(Exception):
            async with asyncio.timeout(2 * CLOSE_SECONDS):
                await asyncio.gather(*(connection.close() for connection in self._open))
        for task in self._open.values():
            task.cancel()
        await asyncio.gather(*self._open.values(), return_exceptions=True)
        if self._session is not None:
            await self._session.close()

    async def flushed(self, apart: object) -> bool:
        """Whether all that Slack sent before this call has been read, by any connection but ``apart``. False where one
        does not answer: what it swallowed is not known."""
        if self._opening:
            _, late = await asyncio.wait(set(self._opening), timeout=FLUSH_SECONDS)
            if late:
                return False
        others = [connection for connection in self._open if connection is not apart]
        return all(await asyncio.gather(*(connection.flushed() for connection in others)))

    @property
    def connected(self) -> int:
        """How many are connected now."""
        return sum(connection.answered and not connection.ended.is_set() for connection in self._open)

    async def _keep_one(self) -> None:
        """One place among the connections, filled again whenever it becomes empty. Raises LinkError only where Slack
        does not want us."""
        pause = FIRST_PAUSE
        former: Connection | None = None
        while True:
            began = time.monotonic()
            try:
                connection = await self._connect()
            except LinkError as error:
                if error.refused:
                    raise
                log.warning("a connection was not made: %s", error)
                await asyncio.sleep(max(pause, error.after))
                pause = min(2 * pause, LONGEST_PAUSE)
                continue
            if former is not None and not former.ended.is_set():
                asyncio.get_running_loop().call_later(LINGER_SECONDS, self._leave, former)
            await connection.leaving.wait()
            former = connection
            if connection.answered and time.monotonic() - began > WORKED_SECONDS:
                pause = FIRST_PAUSE
                continue
            await asyncio.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE)

    def _leave(self, connection: Connection) -> None:
        task = self._open.get(connection)
        if task is not None:
            log.info("Slack did not end a connection that it said it would end; we do")
            task.cancel()

    async def _connect(self) -> Connection:
        """One more connection, read by a task of its own. Raises LinkError."""
        try:
            told = await self._api.call("apps.connections.open", "app_token")
        except (Refusal, NoAnswer) as error:
            raise link_error(error, "app token (xapp-…)") from None
        address = told.get("url")
        if not isinstance(address, str) or not address.startswith(("ws://", "wss://")):
            raise LinkError("Slack named no address for its socket")
        if self._session is None:
            self._session = aiohttp.ClientSession(
                timeout=aiohttp.ClientTimeout(total=None),
                cookie_jar=aiohttp.DummyCookieJar(),
                trace_configs=[no_redirects()],
            )
        opening: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._opening.add(opening)
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                socket = await self._session.ws_connect(
                    address,
                    autoping=False,
                    max_msg_size=LARGEST_FRAME,
                    timeout=aiohttp.ClientWSTimeout(ws_close=CLOSE_SECONDS),
                    proxy=self._api.client().proxy,
                )
        except TimeoutError:
            raise LinkError("Slack's socket was not opened in time") from None
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise LinkError(f"Slack's socket failed ({type(error).__name__})") from None
        else:
            connection = Connection(socket, self._received, self._runtime.link.alive)
            self._open[connection] = asyncio.create_task(self._read(connection))
        finally:
            self._opening.discard(opening)
            opening.set_result(None)
        self.begun += 1
        self._has_begun()
        return connection

    async def _read(self, connection: Connection) -> None:
        try:
            await connection.run()
        finally:
            self._open.pop(connection, None)
            if connection.dead:
                self.dead += 1
                self._runtime.link.deaf_times += 1
                log.warning("a connection was silent and is made anew")
            if not connection.clean:
                self._was_lost()

    def _received(self, text: str, connection: Connection) -> None:
        """A text frame. Some servers write signs of life as text that is no JSON."""
        if not text.lstrip().startswith("{"):
            return
        try:
            frame = json.loads(text)
        except (ValueError, RecursionError):
            self._unread(text)
            return
        if frame.get("type") == "disconnect":
            self._goodbye(str(frame.get("reason"))[:100], connection)
        elif isinstance(frame.get("envelope_id"), str):
            self._envelope(frame, connection)

    def _goodbye(self, reason: str, connection: Connection) -> None:
        """Slack ends this connection, at once or in some seconds: the next one is made now, and this one read to its
        end."""
        lingering = [other for other in self._open if other.leaving.is_set()]
        if len(lingering) > self._count:  # it says so again and again, and ends none
            self._leave(lingering[0])
        if reason == FULL:
            connection.answered = False  # it never worked: the next try is not at once
            log.warning("Slack takes no more connections of this app: ten is its limit")
        elif reason == "link_disabled":
            log.warning("Slack ends a connection: Socket Mode was switched off on your app's page")
        else:
            log.debug("Slack ends a connection: %s", reason)
        connection.leaving.set()
