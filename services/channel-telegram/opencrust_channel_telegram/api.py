"""The Bot API (https://core.telegram.org/bots/api): one call, one answer, and no token in anything that is said.

The token is a part of the address. So no exception of aiohttp's leaves this module, and nothing here logs an address.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Final
from urllib.parse import quote

import aiohttp

from opencrust.channel.adapter import FileTooLarge, LinkError, OutFile, read_limited
from opencrust.credentials import Secret

DEFAULT_BASE: Final = "https://api.telegram.org"
CONNECT_SECONDS: Final = 10.0
CALL_SECONDS: Final = 30.0
FILE_SECONDS: Final = 120.0
CHUNK: Final = 64 * 1024
MAX_ANSWER: Final = 16 * 1024 * 1024
_FRONTS_OWN: Final = frozenset({400, 413, 414, 429, 431, 500, 502, 503, 504})
"""Statuses that mean the same from whatever stands before the Bot API. Any other (403 of a wall, 404 of a wrong path, a
redirect) is nothing that Telegram said of this call: it passes, as a 502 does."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What the Bot API answered. ``code`` is 200 where ``ok``; an answer that is no JSON has the HTTP status."""

    ok: bool
    result: Any
    code: int
    description: str = ""
    retry_after: float = 0.0
    migrate_to: int | None = None


class NoAnswer(Exception):
    """No whole answer came. ``sent``: the request may have reached Telegram."""

    def __init__(self, what: str, *, sent: bool) -> None:
        super().__init__(what)
        self.sent = sent


class BotApi:
    """One bot's calls.

    Args:
        base: without a trailing slash.
        token: asked at every call, so that a rotated one is used at once.
    """

    def __init__(self, base: str, token: Callable[[], Awaitable[Secret]]) -> None:
        self._base = base.rstrip("/")
        self._token = token
        self._session: aiohttp.ClientSession | None = None

    async def close(self) -> None:
        """Close all connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def call(
        self,
        method: str,
        parameters: Mapping[str, object] | None = None,
        *,
        file: tuple[str, OutFile] | None = None,
        timeout: float | None = CALL_SECONDS,
    ) -> Answer:
        """Call ``method`` once.

        Args:
            file: the field it belongs into, and the file; the call is then multipart.
            timeout: seconds for the whole of it; None: whoever calls watches.

        Raises:
            NoAnswer: the connection was not made, or ended before the answer.
            CredentialError: there is no token now.
        """
        limit = aiohttp.ClientTimeout(total=timeout, sock_connect=CONNECT_SECONDS)
        body: dict[str, Any] = {"json": parameters or {}} if file is None else {"data": _form(parameters or {}, file)}
        token = (await self._token()).reveal_text()
        try:
            async with self._http().post(
                f"{self._base}/bot{token}/{method}", timeout=limit, allow_redirects=False, **body
            ) as response:
                data = await read_limited(response.content.iter_chunked(CHUNK), MAX_ANSWER)
                return _answer(response.status, data, response.headers.get("Retry-After", ""))
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError, aiohttp.InvalidURL) as error:
            raise NoAnswer(f"Telegram cannot be reached: {type(error).__name__}", sent=False) from None
        except (aiohttp.ClientError, TimeoutError, OSError, FileTooLarge) as error:
            raise NoAnswer(f"Telegram gave no answer to {method}: {type(error).__name__}", sent=True) from None

    async def download(self, path: str, limit: int) -> bytes:
        """A file's bytes.

        Raises:
            LinkError: not now; ``refused`` where Telegram has it no more.
            FileTooLarge: over ``limit`` bytes.
        """
        token = (await self._token()).reveal_text()
        try:
            async with self._http().get(
                f"{self._base}/file/bot{token}/{quote(path)}",
                timeout=aiohttp.ClientTimeout(total=FILE_SECONDS, sock_connect=CONNECT_SECONDS),
                allow_redirects=False,
            ) as response:
                if response.status != 200:
                    gone = response.status in (400, 403, 404, 410)
                    raise LinkError(f"Telegram gives no file: status {response.status}", refused=gone)
                return await read_limited(_chunks(response), limit)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise LinkError(f"Telegram gives no file: {type(error).__name__}") from None

    def _http(self) -> aiohttp.ClientSession:
        if self._session is None:
            # Idle connections are closed before Telegram does it: a send on one that it closed would be "unknown".
            connector = aiohttp.TCPConnector(limit=64, keepalive_timeout=15)
            self._session = aiohttp.ClientSession(connector=connector)
        return self._session


async def _chunks(response: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
    async for chunk in response.content.iter_chunked(CHUNK):
        yield chunk


def _form(parameters: Mapping[str, object], file: tuple[str, OutFile]) -> aiohttp.FormData:
    form = aiohttp.FormData()
    for name, value in parameters.items():
        form.add_field(name, value if isinstance(value, str) else json.dumps(value))
    field, content = file
    form.add_field(field, content.data, filename=content.name, content_type=content.media_type)
    return form


def _answer(status: int, data: bytes, wait: str = "") -> Answer:
    """Telegram's envelope; a proxy in front of it answers in HTML."""
    try:
        body = json.loads(data)
    except (ValueError, RecursionError):
        body = None
    if not isinstance(body, dict) or not isinstance(body.get("ok"), bool):
        return Answer(
            False,
            None,
            status if status in _FRONTS_OWN else 502,
            "an answer that is none of the Bot API's",
            _seconds(wait),
        )
    if body["ok"]:
        return Answer(True, body.get("result"), 200)
    code, parameters = body.get("error_code"), body.get("parameters")
    parameters = parameters if isinstance(parameters, dict) else {}
    after, migrate = parameters.get("retry_after"), parameters.get("migrate_to_chat_id")
    return Answer(
        False,
        None,
        code if isinstance(code, int) else status,
        str(body.get("description", ""))[:300],
        float(after) if isinstance(after, (int, float)) else _seconds(wait),
        migrate if isinstance(migrate, int) else None,
    )


def _seconds(wait: str) -> float:
    """A ``Retry-After`` in seconds: a number, or the date until which to wait (RFC 9110, section 10.2.3)."""
    if wait.isascii() and wait.isdigit():
        return float(wait[:9])
    try:
        until = parsedate_to_datetime(wait)
    except ValueError:
        return 0.0
    return max(0.0, (until - datetime.now(UTC if until.tzinfo else None)).total_seconds())


async def stoppable(work: Awaitable[Answer], stop: asyncio.Event) -> Answer | None:
    """The answer, or None as soon as ``stop`` is set: what is still under way is cancelled."""
    calling = asyncio.ensure_future(work)
    stopped = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait({calling, stopped}, return_when=asyncio.FIRST_COMPLETED)
        return calling.result() if calling.done() else None
    finally:
        for task in (calling, stopped):
            task.cancel()
        await asyncio.gather(calling, stopped, return_exceptions=True)
