"""One request to the outside, redirects and all. The only I/O of the package besides name look-ups."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import urljoin

import aiohttp
from yarl import URL

from opencrust_agent.egress.addresses import Address
from opencrust_agent.egress.allowed import Allowed
from opencrust_agent.egress.body import ENCODINGS, read
from opencrust_agent.egress.errors import EgressError, Refused
from opencrust_agent.egress.resolver import Pinned, Resolver, SystemResolver
from opencrust_agent.egress.url import Target, parse_url

MAX_HOPS = 5
CONNECT_SECONDS = 10.0
IDLE_SECONDS = 15.0
USER_AGENT = "OpenCrust"
_REDIRECTS = frozenset({301, 302, 303, 307, 308})

Permit = Callable[[str, Target], None]
"""Called with method and target before every hop; raises :class:`Refused` to end it."""


@dataclass(frozen=True, slots=True)
class Fetched:
    """An answer. ``body`` is decoded, and cut at the limit where ``cut`` says so; ``url`` is the last hop's."""

    url: Target
    status: int
    headers: Mapping[str, str]
    body: bytes
    cut: bool = False
    hops: tuple[Target, ...] = ()


class Egress:
    """Makes requests under the rules.

    Args:
        allowed: gives the operator's rules of the moment.
        resolver: looks names up.
        context: TLS settings; the system's trust store by default.
    """

    def __init__(
        self,
        allowed: Callable[[], Allowed] = Allowed,
        resolver: Resolver | None = None,
        context: ssl.SSLContext | None = None,
    ) -> None:
        self._allowed = allowed
        self._resolver = resolver or SystemResolver()
        self._context = context

    async def fetch(
        self,
        url: str,
        *,
        method: str = "GET",
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
        limit: int,
        seconds: float = 30.0,
        hops: int = MAX_HOPS,
        permit: Permit | None = None,
    ) -> Fetched:
        """Ask for ``url``.

        Args:
            headers: already checked where a stranger chose them (:func:`check_headers`). Sent to the first origin only.
            limit: most bytes of the body, compressed or not.
            seconds: for everything together.
            hops: redirects to follow; 0 gives them back as answers.
            permit: a further say in every hop.

        Raises:
            Refused: against the rules; the hop that broke them was not asked.
            EgressError: no answer.
        """
        try:
            async with asyncio.timeout(seconds):
                return await self._follow(parse_url(url), method, dict(headers or {}), body, limit, hops, permit)
        except TimeoutError:
            raise EgressError(f"no complete answer within {seconds:g} seconds") from None

    async def checked(self, target: Target) -> Sequence[Address]:
        """The addresses of ``target``, each within the rules.

        Raises:
            Refused: one is not, or the target is not.
            EgressError: the name has none.
        """
        allowed = self._allowed()
        allowed.check_target(target)
        literal = target.address
        addresses = [literal] if literal is not None else await self._resolver.addresses(target.host)
        if not addresses:
            raise EgressError("the host's name cannot be resolved")
        for address in addresses:
            allowed.check_address(target, address)
        return addresses

    async def _follow(
        self,
        target: Target,
        method: str,
        headers: dict[str, str],
        body: bytes | None,
        limit: int,
        hops: int,
        permit: Permit | None,
    ) -> Fetched:
        passed: list[Target] = []
        while True:
            if permit is not None:
                permit(method, target)
            answer = await self._once(target, method, headers, body, limit)
            location = answer.headers.get("Location")
            if answer.status not in _REDIRECTS or location is None or not hops:
                return Fetched(target, answer.status, answer.headers, answer.body, answer.cut, tuple(passed))
            if len(passed) == hops:
                raise EgressError(f"more than {hops} redirects")
            passed.append(target)
            following = parse_url(urljoin(str(target), location))
            if target.scheme == "https" and following.scheme == "http":
                raise Refused("the page redirects from https to plain http")
            if following.origin != target.origin:
                headers, body = {}, None
            if answer.status == 303 or (answer.status in (301, 302) and method == "POST"):
                method, body = "GET" if method != "HEAD" else method, None
            target = following

    async def _once(
        self, target: Target, method: str, headers: Mapping[str, str], body: bytes | None, limit: int
    ) -> Fetched:
        addresses = await self.checked(target)
        connector = aiohttp.TCPConnector(
            resolver=Pinned(addresses), use_dns_cache=False, force_close=True, ssl=self._context or True
        )
        sent = {"User-Agent": USER_AGENT, "Accept-Encoding": ENCODINGS, **headers, "Host": target.authority}
        failure: EgressError
        try:
            async with (
                aiohttp.ClientSession(
                    connector=connector,
                    cookie_jar=aiohttp.DummyCookieJar(),
                    auto_decompress=False,
                    trust_env=False,
                    timeout=aiohttp.ClientTimeout(total=None, connect=CONNECT_SECONDS, sock_read=IDLE_SECONDS),
                ) as session,
                session.request(
                    method, URL(str(target), encoded=True), headers=sent, data=body, allow_redirects=False
                ) as response,
            ):
                content, cut = await read(
                    _chunks(response), "" if method == "HEAD" else response.headers.get("Content-Encoding", ""), limit
                )
                return Fetched(target, response.status, response.headers.copy(), content, cut)
        except TimeoutError:
            failure = EgressError("the server did not answer in time")
        except (aiohttp.ClientError, OSError, ValueError) as error:
            failure = EgressError(_sentence(error))
        raise failure


async def _chunks(response: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
    async for chunk in response.content.iter_any():
        yield chunk


def _sentence(error: Exception) -> str:
    """By the error's type: aiohttp's own texts quote addresses and certificates at length."""
    match error:
        case aiohttp.ClientConnectorCertificateError() | ssl.SSLCertVerificationError():
            return "the server's certificate is not valid for this name"
        case aiohttp.ClientSSLError() | ssl.SSLError():
            return "no TLS connection could be made"
        case aiohttp.ClientConnectorError():
            return "the server cannot be reached"
        case aiohttp.ClientPayloadError() | aiohttp.ServerDisconnectedError() | ConnectionResetError():
            return "the answer broke off"
    return "the server's answer cannot be read"
