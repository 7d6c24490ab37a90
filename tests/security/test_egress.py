"""Egress against a local name server and local servers: rebinding, redirects, sizes, times."""

import asyncio
import gzip
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
from aiohttp import web

from opencrust_agent.egress import Allowed, Egress, EgressError, Refused
from simulators.dns import NameServer, StubResolver

SERVER = "127.0.0.2"
"""Stands for a public server: allowed, with its port. 127.0.0.1 stands for the inside."""
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@asynccontextmanager
async def site(handler: Handler, address: str = SERVER, port: int = 0) -> AsyncIterator[int]:
    runner = web.ServerRunner(web.Server(handler), shutdown_timeout=0)
    await runner.setup()
    place = web.TCPSite(runner, address, port)
    await place.start()
    try:
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


class Site:
    """A server that remembers what it was asked."""

    def __init__(self, answer: Handler | None = None) -> None:
        self.requests: list[web.BaseRequest] = []
        self._answer = answer

    async def __call__(self, request: web.Request) -> web.StreamResponse:
        self.requests.append(request)
        return await self._answer(request) if self._answer else web.Response(text="hello")


@asynccontextmanager
async def internet(answers: dict[str, list[list[str]]], port: int) -> AsyncIterator[tuple[Egress, NameServer]]:
    async with NameServer(answers) as server:
        yield Egress(lambda: Allowed([f"{SERVER}:{port}"]), StubResolver(server.port)), server


@pytest.mark.parametrize(
    "addresses",
    [
        ["127.0.0.1"], ["10.0.0.5"], ["192.168.0.1"], ["169.254.169.254"], ["100.64.1.1"], ["0.0.0.0"],
        ["::1"], ["::ffff:127.0.0.1"], ["::ffff:10.0.0.1"], ["64:ff9b::7f00:1"], ["fe80::1"], ["fd00::1"], ["::"],
        ["93.184.216.34", "127.0.0.1"], ["93.184.216.34", "::1"], ["224.0.0.1"], ["2002:7f00:1::"],
    ],
)  # fmt: skip
async def test_a_name_that_leads_inside_is_refused_whatever_else_it_answers(addresses: list[str]) -> None:
    async with internet({"evil.example": [addresses]}, 1) as (egress, server):
        with pytest.raises(Refused, match="not public"):
            await egress.fetch("http://evil.example/", limit=1000)
        assert server.asked


async def test_rebinding_between_check_and_connect_changes_nothing() -> None:
    """The second answer would be 127.0.0.1, where something listens: nobody asks for a second answer."""
    inside, outside = Site(), Site()
    async with (
        site(outside) as port,
        site(inside, "127.0.0.1", port),
        internet({"evil.example": [[SERVER], ["127.0.0.1"]]}, port) as (egress, server),
    ):
        answer = await egress.fetch(f"http://evil.example:{port}/a?b", limit=1000)
        assert answer.body == b"hello"
        assert server.asked["evil.example", 1] == 1
        with pytest.raises(Refused, match="loopback"):
            await egress.fetch(f"http://evil.example:{port}/", limit=1000)
    assert len(outside.requests) == 1
    assert outside.requests[0].headers["Host"] == f"evil.example:{port}"
    assert inside.requests == []


async def test_rebinding_between_two_hops_is_refused_at_the_second() -> None:
    async def again(request: web.Request) -> web.Response:
        return web.Response(status=302, headers={"Location": "/again"})

    inside, outside = Site(), Site(again)
    async with (
        site(outside) as port,
        site(inside, "127.0.0.1", port),
        internet({"evil.example": [[SERVER], ["127.0.0.1"]]}, port) as (egress, _),
    ):
        with pytest.raises(Refused, match="loopback"):
            await egress.fetch(f"http://evil.example:{port}/", limit=1000)
    assert len(outside.requests) == 1
    assert inside.requests == []


@pytest.mark.parametrize(
    "location",
    [
        "http://127.0.0.1/", "http://169.254.169.254/latest/meta-data/", "http://[::1]/", "http://2130706433/",
        "file:///etc/passwd", "//localhost/", "http://user@good.example/", "gopher://good.example/",
        "http://inside.example/", "http://good.example:22/", "http://[::ffff:169.254.169.254]/", "\\\\127.0.0.1\\x",
    ],
)  # fmt: skip
async def test_a_redirect_is_a_url_like_any_other(location: str) -> None:
    async def elsewhere(request: web.Request) -> web.Response:
        return web.Response(status=302, headers={"Location": location})

    async with site(Site(elsewhere)) as port:
        names = {"good.example": [[SERVER]], "inside.example": [["10.1.1.1"]]}
        async with internet(names, port) as (egress, _):
            with pytest.raises(Refused):
                await egress.fetch(f"http://good.example:{port}/", limit=1000)


async def test_redirects_are_followed_and_headers_stay_with_their_origin() -> None:
    async def answer(request: web.Request) -> web.Response:
        match request.path:
            case "/one":
                return web.Response(status=301, headers={"Location": "two"})
            case "/two":
                return web.Response(status=302, headers={"Location": f"http://other.example:{port}/three"})
        return web.Response(text=request.headers.get("X-Key", "none"), headers={"Set-Cookie": "a=b"})

    server = Site(answer)
    async with (
        site(server) as port,
        internet({"good.example": [[SERVER]], "other.example": [[SERVER]]}, port) as (egress, _),
    ):
        got = await egress.fetch(f"http://good.example:{port}/one", headers={"X-Key": "k"}, limit=1000)
        assert got.body == b"none"
        assert [hop.path for hop in got.hops] == ["/one", "/two"]
        await egress.fetch(f"http://other.example:{port}/three", limit=1000)
        assert "Cookie" not in server.requests[-1].headers
        raw = await egress.fetch(f"http://good.example:{port}/one", limit=1000, hops=0)
        assert raw.status == 301
    assert [request.headers.get("X-Key") for request in server.requests[:3]] == ["k", "k", None]


async def test_a_circle_ends() -> None:
    async def round_and_round(request: web.Request) -> web.Response:
        return web.Response(status=307, headers={"Location": request.path})

    server = Site(round_and_round)
    async with site(server) as port, internet({"good.example": [[SERVER]]}, port) as (egress, _):
        with pytest.raises(EgressError, match="redirects"):
            await egress.fetch(f"http://good.example:{port}/", limit=1000)
    assert len(server.requests) == 6


async def test_an_endless_body_and_a_bomb_are_cut_and_a_slow_one_ends() -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        if request.path == "/bomb":
            return web.Response(body=gzip.compress(bytes(50 << 20)), headers={"Content-Encoding": "gzip"})
        response = web.StreamResponse()
        await response.prepare(request)
        try:
            while True:
                await response.write(b"x" * 1000)
                await asyncio.sleep(0 if request.path == "/endless" else 0.2)
        except ConnectionError:
            return response

    async with site(Site(answer)) as port, internet({"good.example": [[SERVER]]}, port) as (egress, _):
        for path in ("endless", "bomb"):
            got = await egress.fetch(f"http://good.example:{port}/{path}", limit=100_000)
            assert (len(got.body), got.cut) == (100_000, True)
        with pytest.raises(EgressError, match="within"):
            await egress.fetch(f"http://good.example:{port}/slow", limit=1 << 30, seconds=0.5)


async def test_no_proxy_of_the_environment_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    proxy, server = Site(), Site()
    async with site(server) as port, site(proxy, "127.0.0.1") as trap:
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{trap}")
        async with internet({"good.example": [[SERVER]]}, port) as (egress, _):
            await egress.fetch(f"http://good.example:{port}/", limit=1000)
    assert len(server.requests) == 1
    assert proxy.requests == []


async def test_errors_quote_nothing_and_ports_of_the_house_are_closed() -> None:
    async with internet({"good.example": [[SERVER]]}, 1) as (egress, _):
        for url in ("http://good.example:4222/", "https://good.example:22/"):
            with pytest.raises(Refused, match="ports 80 and 443"):
                await egress.fetch(url, limit=1000)
        with pytest.raises(EgressError, match="cannot be reached") as failure:
            await egress.fetch("http://good.example:1/", limit=1000)
        assert "127" not in str(failure.value)
        with pytest.raises(EgressError, match="resolved"):
            await egress.fetch("http://nobody.example/", limit=1000)
