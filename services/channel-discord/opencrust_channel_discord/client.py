"""discord.py's client, reduced to the link: shards, heartbeats, identify and resume.

What it would do with events (a cache of everything, parsers that end the client at the first malformed field) is
switched off; its sockets (:mod:`.socket`) hand the frames to us and it what the link needs. It makes no REST call.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import aiohttp
import discord
from discord.http import HTTPClient

from opencrust_channel_discord.socket import Listening, Socket

if TYPE_CHECKING:
    from discord.http import Route

DEFAULT_GATEWAY: Final = "wss://gateway.discord.gg/"
IDENTIFY_SECONDS: Final = 5.0
HEARTBEAT_SECONDS: Final = 60.0
"""Without a frame for so long discord.py ends the connection and resumes it."""


class Client(discord.AutoShardedClient):
    """One set of sessions.

    Args:
        token: the bot's.
        gateway: where to connect.
        concurrency: sessions that may be begun in :data:`IDENTIFY_SECONDS` (``max_concurrency``).
        fixed: also resume there, whatever Discord says (an address from the configuration).
        content: ask for the text of messages that do not name us (a privileged intent).
        listening: told of every frame, in order.
        down: called when a shard's connection ended.
    """

    def __init__(
        self,
        token: str,
        gateway: str,
        shards: int,
        *,
        concurrency: int,
        fixed: bool,
        content: bool,
        listening: Listening,
        down: Callable[[], None],
    ) -> None:
        intents = discord.Intents(guilds=True, guild_messages=True, dm_messages=True)
        intents.message_content = content
        super().__init__(
            intents=intents,
            shard_count=shards,
            max_messages=None,
            chunk_guilds_at_startup=False,
            member_cache_flags=discord.MemberCacheFlags.none(),
            heartbeat_timeout=HEARTBEAT_SECONDS,
        )
        self._down = down
        self._apart = IDENTIFY_SECONDS / max(1, concurrency)
        self._identified = -IDENTIFY_SECONDS
        self.http: HTTPClient = _Http(self.http, gateway, fixed, listening)
        self.http.token = token
        self._connection.http = self.http
        self._connection.parsers.clear()

    async def run_until_closed(self) -> None:
        """Connect, and stay connected. Ends with whatever discord.py ends with."""
        await self._async_setup_hook()
        await self.connect(reconnect=True)

    async def before_identify_hook(self, shard_id: int | None, *, initial: bool = False) -> None:
        """Sessions are begun no faster than Discord takes them; after a refused one a moment more, as it asks for."""
        del shard_id
        pause = 0.0 if initial else random.uniform(1.0, 2.0)  # noqa: S311 - spread, no secret
        await asyncio.sleep(max(pause, self._identified + self._apart - self.loop.time()))
        self._identified = self.loop.time()

    async def on_shard_disconnect(self, shard_id: int) -> None:
        """A connection ended; discord.py makes another."""
        del shard_id
        self._down()


class _Http(HTTPClient):
    """What discord.py's gateway asks of its HTTP client: to open a WebSocket."""

    def __init__(self, original: HTTPClient, gateway: str, fixed: bool, listening: Listening) -> None:
        super().__init__(original.loop)
        self._listening = listening
        self._gateway = gateway
        self._fixed = fixed
        self._own: aiohttp.ClientSession | None = None

    async def ws_connect(self, url: str, *, compress: int = 0) -> aiohttp.ClientWebSocketResponse:
        if self._own is None:
            self._own = aiohttp.ClientSession(ws_response_class=Socket, cookie_jar=aiohttp.DummyCookieJar())
        socket = await self._own.ws_connect(
            address(url, self._gateway, fixed=self._fixed),
            max_msg_size=0,
            timeout=aiohttp.ClientWSTimeout(ws_close=2.0),
            autoclose=False,
            headers={"User-Agent": self.user_agent},
            compress=compress,
        )
        assert isinstance(socket, Socket)
        socket.listening = self._listening
        return socket

    async def request(self, route: Route, **kwargs: Any) -> Any:
        raise discord.ClientException(f"{route.key}: this client makes no REST call")

    async def close(self) -> None:
        if self._own is not None:
            await self._own.close()


def address(url: str, gateway: str, *, fixed: bool) -> str:
    """Where to connect when discord.py asks for ``url``: the default address, what is no address of a gateway, and with
    ``fixed`` any, is replaced by ``gateway``. The stream is compressed as :class:`Socket` reads it."""
    asked, ours = urlsplit(url), urlsplit(gateway)
    theirs = not fixed and asked.hostname != urlsplit(DEFAULT_GATEWAY).hostname
    safe = asked.scheme == "wss" or (asked.scheme == "ws" and ours.scheme == "ws")  # our token goes there
    place = asked if theirs and safe and asked.hostname else ours
    query = urlencode({**dict(parse_qsl(ours.query)), **dict(parse_qsl(asked.query)), "compress": "zlib-stream"})
    return urlunsplit((place.scheme, place.netloc, place.path or "/", query, ""))
