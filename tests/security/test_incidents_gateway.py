"""What happened to others (research/peers.md §4.2, research/opencrust.md §15), tried on our gateway. Named after the
incident. Those of pairing, scopes and webhooks are in the tests of those rooms.
"""

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator
from importlib import resources
from pathlib import Path

import aiohttp
import pytest
from yaml import safe_load

from harness import BusServer
from opencrust.access import Scope
from opencrust.service import SettingsError
from opencrust_cli.chat_screen import printable
from opencrust_gateway.limits import Limiter, Rate, address_key
from opencrust_gateway.permissions import OPERATIONS, ROUTES, Need
from opencrust_gateway.settings import Limits, from_environment
from simulators.web import RunningGateway, running_gateway

ROOT = Path(__file__).parents[2]
WRONG = "oc_" + "a" * 16 + "_" + "b" * 32


@pytest.fixture
async def gateway(bus_server: BusServer) -> AsyncIterator[RunningGateway]:
    async with running_gateway(bus_server) as running:
        yield running


async def login(session: aiohttp.ClientSession, gateway: RunningGateway) -> aiohttp.ClientResponse:
    ticket = await gateway.ticket()
    async with session.post("/login", json={"ticket": ticket}, headers={"Origin": gateway.url}) as answer:
        assert answer.status == 204
        return answer


async def test_cve_2026_25253_no_page_takes_the_gateways_address_from_its_url(gateway: RunningGateway) -> None:
    """A control page took ``gatewayUrl`` from the query and sent its token there. Ours knows one address, its own; no
    script can read the credential, and no script could send it elsewhere.
    """
    async with gateway.client() as session:
        answer = await login(session, gateway)
        cookie = answer.headers["Set-Cookie"]
        assert "HttpOnly" in cookie
        assert "SameSite=Strict" in cookie
        async with session.get("/") as plain, session.get("/?gatewayUrl=wss://evil.example&token=x") as lured:
            assert await plain.text() == await lured.text()
            assert "connect-src 'self'" in lured.headers["Content-Security-Policy"]
    for script in resources.files("opencrust_gateway").joinpath("web").iterdir():
        if script.name.endswith(".js"):
            text = script.read_text()
            assert "location.search" not in text
            assert "document.cookie" not in text
            for made in re.findall(r"new WebSocket\(([^)]*)\)", text):
                assert "location.host" in made
            assert "oc_" not in "".join(re.findall(r"(?:local|session)Storage\.setItem\([^)]*\)", text))


@pytest.mark.parametrize("origin", ["https://evil.example", "http://localhost:1", "null"])
async def test_ghsa_5wcw_clawjacked_a_page_with_our_cookie_gets_no_socket(gateway: RunningGateway, origin: str) -> None:
    """Sockets were taken from any site, and loopback had no rate limit, so a page could guess the password."""
    async with gateway.client() as session:
        await login(session, gateway)
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await session.ws_connect("/v1/ws", origin=origin)
        assert refused.value.status == 403


async def test_clawjacked_guessing_from_loopback_is_slow(bus_server: BusServer) -> None:
    limits = Limits(upgrades=Rate(burst=10, per_second=0.1), unauthenticated_sockets=4)
    async with running_gateway(bus_server, limits=limits) as gateway, gateway.client() as session:
        tried = 0
        with contextlib.suppress(aiohttp.WSServerHandshakeError):
            while tried < 50:
                async with session.ws_connect("/v1/ws") as socket:
                    await socket.receive_json()
                    await socket.send_json({"type": "auth", "token": WRONG})
                    assert (await socket.receive_json())["ok"] is False
                tried += 1
        assert tried == 10


def test_ghsa_5847_one_host_has_one_budget_however_it_writes_its_address() -> None:
    limiter = Limiter(Rate(burst=1, per_second=0.1))
    assert limiter.take(address_key(("192.0.2.7", 1)), 0) == 0
    assert limiter.take(address_key(("::ffff:192.0.2.7", 2, 0, 0)), 0) > 0
    assert limiter.take(address_key(("::ffff:c000:207", 3, 0, 0)), 0) > 0


@pytest.mark.parametrize("token", ["dummy", WRONG, ""])
async def test_pr_57647_a_dummy_token_does_not_skip_the_limiter(bus_server: BusServer, token: str) -> None:
    async with (
        running_gateway(bus_server, limits=Limits(requests=Rate(burst=4, per_second=0.1))) as gateway,
        gateway.client(token) as session,
    ):
        statuses = []
        for _ in range(6):
            async with session.get("/v1/models") as answer:
                statuses.append(answer.status)
    assert statuses == [401] * 4 + [429] * 2


async def test_cve_2026_25593_no_route_changes_configuration_or_names_a_program(gateway: RunningGateway) -> None:
    """An unauthenticated ``config.apply`` set a path that was executed. Ours is written at the keyboard alone."""
    changing = {(route.method, route.path) for route in ROUTES if route.method != "GET"}
    assert not [path for _, path in changing if re.search("config|setting|provider|exec|command", path)]
    assert not [op for op in OPERATIONS if re.search("config|exec|apply", op)]
    async with gateway.client() as session:
        for method in ("POST", "PUT", "PATCH"):
            async with session.request(method, "/v1/settings", json={"cliPath": "/bin/sh"}) as answer:
                assert answer.status in (401, 405)


async def test_cve_2026_28472_every_kind_of_credential_is_checked_and_not_only_seen(gateway: RunningGateway) -> None:
    token, record = await gateway.bearer()
    ticket = await gateway.ticket()
    async with gateway.client() as session:
        answer = await login(session, gateway)
        cookie = answer.cookies[f"opencrust_session_{gateway.port}"].value
    await gateway.tokens.remove(record.id)
    shown = {"revoked": token, "ticket": ticket, "session": cookie, "wrong": WRONG, "cut": cookie[:-1], "none": ""}
    async with gateway.client() as session:
        for name, text in shown.items():
            async with session.get("/v1/models", headers={"Authorization": f"Bearer {text}"}) as bearer:
                assert bearer.status == 401, name
            if name != "session":
                own = {"Cookie": f"opencrust_session_{gateway.port}={text}"}
                async with session.get("/v1/session", headers=own) as by_cookie:
                    assert by_cookie.status == 401, name
            async with session.ws_connect("/v1/ws") as socket:
                await socket.receive_json()
                await socket.send_json({"type": "auth", "token": text})
                assert (await socket.receive_json())["ok"] is False, name


async def test_ghsa_m8wm_the_old_bearer_dies_with_its_rotation_everywhere(gateway: RunningGateway) -> None:
    """An old bearer stayed alive after rotation. Here its socket and its stream end within a second."""
    token, record = await gateway.bearer(Scope.READ, Scope.CHAT)
    admin, _ = await gateway.bearer()
    async with (
        gateway.client(token) as session,
        session.ws_connect("/v1/ws") as socket,
        session.get("/v1/conversations/main/events") as stream,
    ):
        await socket.receive_json()
        await stream.content.readline()
        async with gateway.client(admin) as other, other.post(f"/v1/tokens/{record.id}/rotate", json={}) as answer:
            assert answer.status in (200, 201), await answer.text()
        async with asyncio.timeout(1):
            message = await socket.receive()
            assert message.data == 4403
        async with asyncio.timeout(1):
            rest = await stream.content.read()
            assert b"unauthenticated" in rest
        async with session.get("/v1/models") as after:
            assert after.status == 401


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5"])
def test_exposed_gateways_a_wide_bind_without_tls_is_refused(host: str) -> None:
    """21,639 gateways were found open on the network."""
    with pytest.raises(SettingsError, match="refusing to listen"):
        from_environment({"OPENCRUST_GATEWAY_HOST": host})
    assert from_environment({}).host == "127.0.0.1"


def test_zeroclaw_nanobot_the_shipped_compose_file_publishes_on_loopback_alone() -> None:
    compose = safe_load((ROOT / "deploy/compose.yaml").read_text())
    published = [str(port) for service in compose["services"].values() for port in service.get("ports", [])]
    assert published
    assert all(port.startswith(("127.0.0.1:", "${OPENCRUST_BIND:-127.0.0.1}:")) for port in published), published


async def test_inbox_wipe_stop_is_not_queued_behind_the_run(gateway: RunningGateway) -> None:
    """22 February 2026: STOP waited behind what it was to stop."""
    gateway.agent.hold.clear()
    token, _ = await gateway.bearer()
    async with gateway.client(token) as session, session.ws_connect("/v1/ws") as socket:
        await socket.receive_json()
        for number, text in enumerate(["delete my mails", "and more", "/stop"]):
            params = {"conversation": "main", "text": text}
            await socket.send_json({"type": "req", "id": str(number), "op": "send", "params": params})
        async with asyncio.timeout(1):
            while not gateway.agent.stops:
                await asyncio.sleep(0.01)
    assert [message.text for message in gateway.agent.seen] == ["delete my mails"]


async def test_hermes_sizes_and_times_are_bounded_before_anything_is_parsed(bus_server: BusServer) -> None:
    """CVE-2026-10224, -14626: requests that were read without end."""
    async with running_gateway(bus_server, limits=Limits(body=1_000, body_time=0.3)) as gateway:
        token, _ = await gateway.bearer()
        async with gateway.client(token) as session:
            async with session.post("/v1/chat/completions", json={"x": "y" * 2_000}) as answer:
                assert answer.status == 413

            async def slow() -> AsyncIterator[bytes]:
                yield b"{"
                await asyncio.sleep(5)
                yield b"}"

            headers = {"Content-Type": "application/json"}
            async with asyncio.timeout(3):
                async with session.post("/v1/chat/completions", data=slow(), headers=headers) as answer:
                    assert answer.status == 408


def test_picoclaw_nothing_is_open_by_an_empty_list() -> None:
    """GHSA-pv8c: a launcher without authentication, and an empty list that meant everybody."""
    assert all(isinstance(need, Scope) or need is Need.TOKEN for need in OPERATIONS.values())
    assert not [r for r in ROUTES if r.need is Need.NOTHING and r.path.startswith("/v1")]


async def test_opencrust_15_2_the_page_holds_nothing_that_logs_in(gateway: RunningGateway) -> None:
    """The original's ``GET /`` gave everybody who could load it a token for the socket."""
    async with gateway.client() as session:
        async with session.get("/", allow_redirects=False) as answer:
            assert (answer.status, answer.headers["Location"]) == (303, "/login")
        async with session.get("/login") as answer:
            assert not re.search(r"oc_[a-z2-7]{16}|Set-Cookie", await answer.text() + str(answer.headers))


async def test_opencrust_15_4_nobody_resumes_another_owners_conversation(gateway: RunningGateway) -> None:
    """The original's ``resume`` took any session's id."""
    token, _ = await gateway.bearer()
    guest, _ = await gateway.bearer(owner="guest")
    async with (
        gateway.client(token) as session,
        session.post(
            "/v1/chat/completions", json={"user": "main", "messages": [{"role": "user", "content": "my secret"}]}
        ) as answer,
    ):
        assert answer.status == 200
    async with gateway.client(guest) as session, session.ws_connect("/v1/ws") as socket:
        await socket.receive_json()
        for op, more in (("open", {}), ("resume", {"after": 0})):
            await socket.send_json({"type": "req", "id": op, "op": op, "params": {"conversation": "main", **more}})
            frame = await socket.receive_json()
            assert (frame["result"]["history"], frame["result"]["running"]) == ([], [])
        async with session.get("/v1/conversations/main") as told:
            assert (await told.json())["history"] == []
        async with session.get("/v1/conversations") as told:
            assert (await told.json())["conversations"] == []


def test_ghsa_4hmj_no_answer_moves_the_cursor_of_a_terminal() -> None:
    """ANSI codes in a question hid what was asked."""
    assert printable("send\x1b[2K\x1b[1Ato: evil\x07\r\u202e") == "send[2K[1Ato: evil"
