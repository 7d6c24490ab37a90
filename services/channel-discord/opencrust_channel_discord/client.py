"""discord.py's client, reduced to the link: shards, heartbeats, identify and resume.

What it would do with events (a cache of everything, parsers that end the client at the first malformed field) is
switched off; the frames themselves are handed on. It makes no REST call.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit, urlunsplit

import aiohttp
import discord
from discord.gateway import DiscordClientWebSocketResponse
from discord.http import HTTPClient

if TYPE_CHECKING:
    from discord.http import Route

DEFAULT_GATEWAY: Final = "wss://gateway.discord.gg/"
HEARTBEAT_SECONDS: Final = 60.0
"""Without a frame for so long discord.py ends the connection and resumes it."""

Frame = Callable[[str], None]


class Client(discord.AutoShardedClient):
    """One set of sessions.

    Args:
        token: the bot's.
        gateway: where to connect.
        fixed: also resume there, whatever Discord says (an address from the configuration).
        content: ask for the text of messages that do not name us (a privileged intent).
        frame: called with every frame, in order, as JSON text; must not wait.
        down: called when a shard's connection ended.
    """

    def __init__(
        self,
        token: str,
        gateway: str,
        shards: int,
        *,
        fixed: bool,
        content: bool,
        frame: Frame,
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
            enable_debug_events=True,  # makes on_socket_raw_receive
            heartbeat_timeout=HEARTBEAT_SECONDS,
        )
        self._frame = frame
        self._down = down
        self.http: HTTPClient = _Http(self.http, gateway, fixed)
        self.http.token = token
        self._connection.http = self.http
        self._connection.parsers.clear()

    async def run_until_closed(self) -> None:
        """Connect, and stay connected. Ends with whatever discord.py ends with."""
        await self._async_setup_hook()
        await self.connect(reconnect=True)

    async def on_socket_raw_receive(self, message: str) -> None:
        """discord.py starts this for each frame in their order, and nothing in it waits: so the order stays."""
        self._frame(message)

    async def on_shard_disconnect(self, shard_id: int) -> None:
        """A connection ended; discord.py makes another."""
        del shard_id
        self._down()


class _Http(HTTPClient):
    """What discord.py's gateway asks of its HTTP client: to open a WebSocket."""

    def __init__(self, original: HTTPClient, gateway: str, fixed: bool) -> None:
        super().__init__(original.loop)
        self._gateway = gateway
        self._fixed = fixed
        self._own: aiohttp.ClientSession | None = None

    async def ws_connect(self, url: str, *, compress: int = 0) -> aiohttp.ClientWebSocketResponse:
        if self._own is None:
            self._own = aiohttp.ClientSession(
                ws_response_class=DiscordClientWebSocketResponse, cookie_jar=aiohttp.DummyCookieJar()
            )
        return await self._own.ws_connect(
            self._at(url),
            max_msg_size=0,
            timeout=aiohttp.ClientWSTimeout(ws_close=2.0),
            autoclose=False,
            headers={"User-Agent": self.user_agent},
            compress=compress,
        )

    async def request(self, route: Route, **kwargs: Any) -> Any:
        raise discord.ClientException(f"{route.key}: this client makes no REST call")

    async def close(self) -> None:
        if self._own is not None:
            await self._own.close()

    def _at(self, url: str) -> str:
        """The default address, and with ``fixed`` any, is replaced by the configured one; the query stays."""
        asked = urlsplit(url)
        if not self._fixed and asked.hostname != urlsplit(DEFAULT_GATEWAY).hostname:
            return url
        ours = urlsplit(self._gateway)
        return urlunsplit((ours.scheme, ours.netloc, ours.path or "/", asked.query, ""))
