"""Discord's REST API, one call at a time: no retry, and rate-limit buckets waited for before a call is made.

discord.py's own client is not used for this: it repeats a failed call up to five times over 25 seconds, cannot tell a
call that was never made from one that was cut, and reads JSON only under one spelling of its content type.

Sources: "Rate Limits", "Opcodes and Status Codes" and "Uploading Files" of API v10's documentation.
"""

import asyncio
import json
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import aiohttp

from opencrust.channel.adapter import LinkError, OutFile
from opencrust.credentials import Secret

DEFAULT_BASE: Final = "https://discord.com/api/v10"
USER_AGENT: Final = "DiscordBot (https://opencrust.org, 1)"
CALL_SECONDS: Final = 30.0
LONGEST_WAIT: Final = 20.0
"""Longest that a call waits for its bucket; it is told otherwise."""
MOST_BUCKETS: Final = 5_000


@dataclass(frozen=True)
class Refusal(Exception):
    """Discord answered, and it is a no. ``code`` is Discord's own (JSON), ``after`` in seconds."""

    status: int
    code: int = 0
    message: str = ""
    after: float = 0.0
    everywhere: bool = False
    foreign: bool = False
    """A refusal of something that stands before Discord: a wall's 403, a proxy's 404."""

    def __str__(self) -> str:
        detail = f", code {self.code}" if self.code else ""
        return f"Discord answered {self.status}{detail}: {self.message[:200]}"


class NoAnswer(Exception):
    """No answer came. ``sent``: the request may have arrived."""

    def __init__(self, what: str, *, sent: bool) -> None:
        super().__init__(what)
        self.sent = sent


@dataclass(slots=True)
class _Bucket:
    remaining: int
    until: float


class Rest:
    """One account's REST client.

    Args:
        base: e.g. ``https://discord.com/api/v10``.
        token: gives the bot's token at each call.
    """

    def __init__(self, base: str, token: Callable[[], Awaitable[Secret]]) -> None:
        self._base = base.rstrip("/")
        self._token = token
        self._session: aiohttp.ClientSession | None = None
        self._names: dict[str, str] = {}
        """Route → the bucket that Discord says it belongs to."""
        self._buckets: OrderedDict[str, _Bucket] = OrderedDict()
        self._all_until = 0.0
        self.limited = 0

    @property
    def session(self) -> aiohttp.ClientSession:
        """The HTTP session, made at the first use."""
        if self._session is None or self._session.closed:
            self._session = aiohttp.ClientSession(
                headers={"User-Agent": USER_AGENT},
                timeout=aiohttp.ClientTimeout(total=CALL_SECONDS, sock_connect=10),
                cookie_jar=aiohttp.DummyCookieJar(),
            )
        return self._session

    async def close(self) -> None:
        """Close all connections."""
        if self._session is not None:
            await self._session.close()

    async def get(self, path: str, **query: Any) -> Any:
        """See :meth:`call`."""
        return await self.call("GET", path, query={key: str(value) for key, value in query.items()})

    async def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        files: tuple[OutFile, ...] = (),
        query: Mapping[str, str] | None = None,
        signed: bool = True,
    ) -> Any:
        """Make one call; its JSON, or None where there is none.

        Args:
            signed: with the bot's token; calls that carry an interaction's own token go without.

        Raises:
            Refusal: Discord says no.
            NoAnswer: it says nothing.
            CredentialError: the vault does not hand the token out.
        """
        headers = {}
        if signed:
            token = await self._token()
            headers["Authorization"] = f"Bot {token.reveal_text()}"
        route = _route(method, path)
        await self._wait(route)
        try:
            async with self.session.request(
                method, self._base + path, headers=headers, params=query, allow_redirects=False, **_payload(body, files)
            ) as answer:
                value = _read(await answer.read())
                self._note(route, answer.headers)
                if answer.status < 300:
                    return value
                raise self._refusal(answer.status, answer.headers, value)
        except aiohttp.ClientConnectorError:
            raise NoAnswer("Discord cannot be reached", sent=False) from None
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            # their texts may hold an address with an interaction's token in it
            raise NoAnswer(f"Discord did not answer ({type(error).__name__})", sent=True) from None

    async def _wait(self, route: str) -> None:
        now = time.monotonic()
        bucket = self._buckets.get(self._key(route))
        until = self._all_until
        if bucket is not None and bucket.remaining <= 0 and bucket.until > now:
            until = max(until, bucket.until)
        elif bucket is not None:
            bucket.remaining -= 1
        if until - now > LONGEST_WAIT:
            raise Refusal(429, message="its bucket is empty", after=until - now)
        if until > now:
            await asyncio.sleep(until - now)
            if bucket is not None:
                bucket.remaining = 0  # what is left after the reset, the answer says

    def _note(self, route: str, headers: Mapping[str, str]) -> None:
        if name := headers.get("X-RateLimit-Bucket"):
            self._names[route.partition(" #")[0]] = name
        try:
            remaining = int(headers["X-RateLimit-Remaining"])
            after = float(headers["X-RateLimit-Reset-After"])
        except (KeyError, ValueError):
            return
        key = self._key(route)
        self._buckets[key] = _Bucket(remaining, time.monotonic() + after)
        self._buckets.move_to_end(key)
        if len(self._buckets) > MOST_BUCKETS:
            self._buckets.popitem(last=False)

    def _key(self, route: str) -> str:
        shape, _, major = route.partition(" #")
        return f"{self._names.get(shape, shape)} #{major}"

    def _refusal(self, status: int, headers: Mapping[str, str], value: Any) -> Refusal:
        details = value if isinstance(value, dict) else {}
        after, everywhere = 0.0, False
        if status == 429:
            self.limited += 1
            # an answer without JSON is Cloudflare's: this address is banned for a while
            after = _number(details.get("retry_after")) or _number(headers.get("Retry-After")) or 5.0
            everywhere = bool(details.get("global")) or not isinstance(value, dict)
            if everywhere:
                self._all_until = time.monotonic() + after
        code = details.get("code")
        message = str(details.get("message") or ("no JSON" if value is None or isinstance(value, str) else ""))
        foreign = not isinstance(value, dict) and status not in (400, 413)
        return Refusal(status, code if isinstance(code, int) else 0, message, after, everywhere, foreign)


def link_error(error: Refusal | NoAnswer) -> LinkError:
    """What a failed call says about the link."""
    if isinstance(error, NoAnswer):
        return LinkError(str(error))
    if error.status == 401:
        return LinkError(
            "Discord does not know the token: reset it at the developer portal and set it anew", refused=True
        )
    return LinkError(str(error), after=error.after)


def _payload(body: Any, files: tuple[OutFile, ...]) -> dict[str, Any]:
    if not files:
        return {} if body is None else {"json": body}
    form = aiohttp.FormData(quote_fields=False)  # escaped brackets in names are not understood
    form.add_field("payload_json", json.dumps(body or {}), content_type="application/json")
    for number, file in enumerate(files):
        form.add_field(f"files[{number}]", file.data, filename=file.name, content_type=file.media_type)
    return {"data": form}


def _route(method: str, path: str) -> str:
    """The route's shape and, after ``#``, the ids that have buckets of their own."""
    parts = path.strip("/").split("/")
    major = "/".join(parts[1:2]) if parts[0] in ("channels", "guilds", "webhooks") else ""
    shape = "/".join("{id}" if part.isdigit() else part for part in parts[:6])
    if parts[0] in ("interactions", "webhooks"):
        shape = parts[0]
    return f"{method} {shape} #{major}"


def _read(data: bytes) -> Any:
    if not data:
        return None
    try:
        return json.loads(data)
    except ValueError:
        return data[:200].decode("utf-8", "replace")


def _number(value: Any) -> float:
    try:
        return max(0.0, float(value))
    except (TypeError, ValueError):
        return 0.0
