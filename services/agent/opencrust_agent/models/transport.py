"""The only I/O of the model layer: one POST and the bytes that come back, under four timeouts and a size limit.

No redirects (a key would travel to where the answer points), no proxy from the environment, no cookies, no netrc, no
compression (a bomb, and a delay in a stream). Errors carry neither headers nor keys: they are built outside of
aiohttp's exceptions, so those are not even in `__context__`.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import aiohttp

from opencrust_agent.models.errors import ErrorKind, ModelError

MAX_ANSWER = 8 << 20
MAX_ERROR_BODY = 64 << 10
_USER_AGENT = "opencrust-agent"


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds. `connect`: name, TCP, TLS. `first_byte`: from there to the first byte of the answer's body. `idle`:
    between two chunks. `total`: the whole call; it bounds servers that keep a stream alive with comments."""

    connect: float = 10.0
    first_byte: float = 60.0
    idle: float = 30.0
    total: float = 300.0


class Response:
    """An answer whose headers have arrived. Every method raises ModelError (TIMEOUT, CONNECTION, PROTOCOL)."""

    def __init__(self, response: aiohttp.ClientResponse, timeouts: Timeouts, first: float, deadline: float) -> None:
        self._response = response
        self._timeouts = timeouts
        self._first = first
        self._deadline = deadline
        self._received = 0
        self.status = response.status
        self.headers: Mapping[str, str] = response.headers
        self.content_type = response.content_type

    async def chunk(self, *, within: float | None = None) -> bytes:
        """The next bytes as they arrive, b"" at the end. `within` shortens the idle timeout, in seconds."""
        loop = asyncio.get_running_loop()
        idle = self._timeouts.idle if within is None else within
        until = min(self._deadline, self._first if not self._received else loop.time() + idle)
        failure: ModelError | None = None
        chunk = b""
        try:
            async with asyncio.timeout_at(until):
                while not chunk:
                    chunk = await self._response.content.readany()
                    if not chunk and self._response.content.at_eof():
                        return b""
        except TimeoutError:
            failure = self._late(loop.time())
        except aiohttp.ClientPayloadError:
            failure = ModelError(ErrorKind.TRUNCATED, "the connection ended in the middle of the answer")
        except (aiohttp.ClientError, OSError) as error:
            failure = _connection(error)
        if failure:
            raise failure
        self._received += len(chunk)
        if self._received > MAX_ANSWER:
            raise ModelError(ErrorKind.PROTOCOL, f"the answer is larger than {MAX_ANSWER >> 20} MiB")
        return chunk

    async def error_body(self) -> bytes:
        """At most MAX_ERROR_BODY bytes of it, and what has come when the rest does not: an error must not hang."""
        pieces: list[bytes] = []
        size = 0
        try:
            while size < MAX_ERROR_BODY and (chunk := await self.chunk(within=5.0)):
                pieces.append(chunk)
                size += len(chunk)
        except ModelError:
            pass  # the status says enough
        return b"".join(pieces)[:MAX_ERROR_BODY]

    async def finish(self) -> None:
        """Lets the connection be used again if the answer's end is already here; else it is cut when leaving."""
        try:
            while await self.chunk(within=0.05):
                pass
        except ModelError:
            pass

    def _late(self, now: float) -> ModelError:
        if now >= self._deadline:
            return ModelError(ErrorKind.TIMEOUT, f"no complete answer within {self._timeouts.total:g} s")
        if not self._received:
            return ModelError(ErrorKind.TIMEOUT, f"no answer began within {self._timeouts.first_byte:g} s")
        return ModelError(ErrorKind.TIMEOUT, f"the answer stalled for {self._timeouts.idle:g} s")


class Transport:
    """One connection pool. Open it inside the running loop: `async with Transport() as transport`."""

    def __init__(self) -> None:
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, ttl_dns_cache=60),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=None),
            headers={"User-Agent": _USER_AGENT, "Accept-Encoding": "identity"},
            auto_decompress=False,
            trust_env=False,
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    @asynccontextmanager
    async def post(
        self, url: str, body: bytes, headers: Mapping[str, str], timeouts: Timeouts
    ) -> AsyncGenerator[Response, None]:
        """Yields the Response when its headers are here; leaving cuts the connection unless the answer was read to its
        end. Raises ModelError (TIMEOUT, CONNECTION)."""
        if self._session is None:
            raise RuntimeError("the transport is not open: use it inside `async with Transport()`")
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeouts.total
        first = loop.time() + timeouts.connect + timeouts.first_byte
        failure: ModelError | None = None
        response: aiohttp.ClientResponse | None = None
        try:
            async with asyncio.timeout_at(min(first, deadline)):
                response = await self._session.post(
                    url,
                    data=body,
                    headers=headers,
                    allow_redirects=False,
                    timeout=aiohttp.ClientTimeout(total=None, connect=timeouts.connect),
                )
        except aiohttp.ConnectionTimeoutError:
            failure = ModelError(ErrorKind.TIMEOUT, f"no connection within {timeouts.connect:g} s")
        except TimeoutError:
            failure = ModelError(ErrorKind.TIMEOUT, f"no answer began within {timeouts.first_byte:g} s")
        except (aiohttp.ClientError, OSError) as error:
            failure = _connection(error)
        except ValueError:
            failure = ModelError(ErrorKind.BAD_REQUEST, "the request cannot be sent: check the base URL and the key")
        if response is None:
            raise failure or ModelError(ErrorKind.CONNECTION, "the request was not sent")
        try:
            encoding = response.headers.get("Content-Encoding", "identity").lower()
            if encoding != "identity":
                raise ModelError(ErrorKind.PROTOCOL, "the provider compressed its answer though it was asked not to")
            yield Response(response, timeouts, first, deadline)
        finally:
            response.close()  # a no-op when the answer was read to its end


def _connection(error: Exception) -> ModelError:
    """A sentence by the error's type: aiohttp's own texts may quote addresses and certificates at length."""
    match error:
        case aiohttp.ClientConnectorCertificateError() | ssl.SSLCertVerificationError():
            said = "the server's certificate is not valid for this address"
        case aiohttp.ClientSSLError() | ssl.SSLError():
            said = "no TLS connection could be made (is this a plain http address?)"
        case aiohttp.ClientConnectorDNSError():
            said = "the server's name cannot be resolved"
        case aiohttp.ClientConnectorError(os_error=os_error):
            said = f"cannot connect ({os_error.strerror or type(os_error).__name__})"
        case aiohttp.ServerDisconnectedError() | ConnectionResetError():
            said = "the server closed the connection"
        case _:
            said = f"the connection failed ({type(error).__name__})"
    return ModelError(ErrorKind.CONNECTION, said)
