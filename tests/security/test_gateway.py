"""What strangers, pages from elsewhere and broken clients get from the gateway. Each incident has its name
here.
"""

import asyncio
import io
import json
import re
from collections.abc import AsyncIterator

import aiohttp
import pytest

from harness import BusServer
from opencrust.access import Scope
from opencrust_gateway.limits import Rate
from opencrust_gateway.permissions import OPERATIONS, ROUTES, Need, Route
from opencrust_gateway.settings import Limits
from simulators.web import RunningGateway, running_gateway

CHAT = "/v1/chat/completions"
QUESTION = {"model": "opencrust", "messages": [{"role": "user", "content": "x"}]}
WRONG = "oc_" + "a" * 16 + "_" + "b" * 32
CLOSED = [route for route in ROUTES if route.need is not Need.NOTHING]


@pytest.fixture
async def gateway(bus_server: BusServer) -> AsyncIterator[RunningGateway]:
    async with running_gateway(bus_server) as running:
        yield running


def path_of(route: Route) -> str:
    return re.sub(r"\{\w+\}", "x", route.path)


async def status(session: aiohttp.ClientSession, route: Route, **headers: str) -> int:
    upgrade = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13"}
    sent = (upgrade | {"Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ=="} if route.path == "/v1/ws" else {}) | headers
    body = QUESTION if route.method == "POST" else None
    async with session.request(route.method, path_of(route), headers=sent, json=body, allow_redirects=False) as answer:
        return answer.status


# -- every route, from the table


@pytest.mark.parametrize("route", CLOSED, ids=lambda route: f"{route.method} {route.path}")
async def test_every_route_refuses_no_token_wrong_tokens_and_the_presence_of_one(
    gateway: RunningGateway, route: Route
) -> None:
    """CVE-2026-28472: that a token was there counted, not whether it was valid."""
    ticket = await gateway.ticket()
    revoked, record = await gateway.bearer()
    await gateway.tokens.remove(record.id)
    refused = {303} if route.page else {401}
    async with gateway.client() as session:
        bare = await status(session, route)
        assert bare in ({101} if route.need is Need.TOKEN_OR_FIRST_FRAME else refused)
        for credential in (WRONG, ticket, revoked, revoked.upper(), "", "oc_", "null", "undefined", "x" * 3000):
            assert await status(session, route, Authorization=f"Bearer {credential}") in refused, credential
        assert await status(session, route, Authorization="Basic b3A6b3A=") in refused
        assert await status(session, route, Cookie=f"opencrust_session_{gateway.port}={WRONG}") in refused | {403}
        assert await status(session, route, Authorization=f"Bearer {WRONG}", Cookie="x=y") in refused


@pytest.mark.parametrize(
    "route", [r for r in CLOSED if isinstance(r.need, Scope)], ids=lambda route: f"{route.method} {route.path}"
)
async def test_every_route_refuses_a_token_without_its_scope(gateway: RunningGateway, route: Route) -> None:
    token, _ = await gateway.bearer(*(set(Scope) - {route.need}))
    async with gateway.client(token) as session:
        assert await status(session, route) == 403


@pytest.mark.parametrize("op", [op for op, need in OPERATIONS.items() if isinstance(need, Scope)])
async def test_every_operation_refuses_a_token_without_its_scope(gateway: RunningGateway, op: str) -> None:
    token, _ = await gateway.bearer(*(set(Scope) - {OPERATIONS[op]}))  # type: ignore[arg-type]
    async with gateway.client(token) as session, session.ws_connect("/v1/ws") as socket:
        await socket.receive_json()
        await socket.send_json({"type": "req", "id": "1", "op": op, "params": {"conversation": "x", "text": "x"}})
        answer = await socket.receive_json()
    assert (answer["ok"], answer["error"]["code"]) == (False, "scope_missing")


async def test_before_login_there_is_the_probe_the_login_page_and_its_assets_alone(gateway: RunningGateway) -> None:
    async with gateway.client() as session:
        async with session.get("/healthz") as answer:
            assert await answer.text() == "ok\n"
        for name in ("login.js", "style.css", "icon.svg"):
            async with session.get(f"/login/{name}") as answer:
                assert answer.status == 200
        for name in ("app.js", "index.html", "..%2findex.html", "..%2f..%2fmain.py", "%2e%2e/app.js"):
            async with session.get(f"/login/{name}") as answer:
                assert answer.status in (401, 404)
        for path in ("/docs", "/metrics", "/v1", "/api/status", "/.well-known/agent.json", "/app/"):
            async with session.get(path) as answer:
                assert answer.status in (401, 404)


# -- pages from elsewhere


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1", "127.0.0.1:1", "localhost.evil.example:{port}", ""])
@pytest.mark.parametrize("path", ["/healthz", "/login", "/v1/models"])
async def test_dns_rebinding_finds_no_host(gateway: RunningGateway, host: str, path: str) -> None:
    async with (
        gateway.client() as session,
        session.get(path, headers={"Host": host.format(port=gateway.port)}) as answer,
    ):
        assert answer.status == 403
        assert (await answer.json())["error"]["code"] == "host_not_allowed"


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://127.0.0.1:1", "https://127.0.0.1:{port}"])
async def test_clawjacked_a_page_from_elsewhere_gets_no_socket(gateway: RunningGateway, origin: str) -> None:
    """GHSA-5wcw-8jjv-m286: WebSockets from any site; here not even with a valid token, and on loopback too."""
    token, _ = await gateway.bearer()
    async with gateway.client(token) as session:
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await session.ws_connect("/v1/ws", origin=origin.format(port=gateway.port))
    assert refused.value.status == 403


async def login(session: aiohttp.ClientSession, gateway: RunningGateway, ticket: str) -> int:
    async with session.post("/login", json={"ticket": ticket}, headers={"Origin": gateway.url}) as answer:
        return answer.status


async def test_a_cookie_alone_changes_nothing_without_our_origin(gateway: RunningGateway) -> None:
    async with gateway.client() as session:
        assert await login(session, gateway, await gateway.ticket()) == 204
        async with session.get("/v1/session") as answer:
            assert answer.status == 200
        for headers in ({}, {"Origin": "http://127.0.0.1:1"}, {"Origin": gateway.url, "Sec-Fetch-Site": "same-site"}):
            async with session.post(CHAT, json=QUESTION, headers=headers) as answer:
                assert answer.status == 403
        with pytest.raises(aiohttp.WSServerHandshakeError):
            await session.ws_connect("/v1/ws")
        async with session.get("/v1/session", headers={"Sec-Fetch-Site": "same-site"}) as answer:
            assert answer.status == 403
        async with session.post("/logout", headers={"Origin": gateway.url}) as answer:
            assert answer.status == 204
        async with session.get("/v1/session") as answer:
            assert answer.status == 401
    assert not gateway.agent.seen


async def test_a_link_from_elsewhere_may_open_the_page_and_nothing_else(gateway: RunningGateway) -> None:
    headers = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}
    async with gateway.client() as session:
        async with session.get("/login", headers=headers) as answer:
            assert answer.status == 200
        async with session.get("/login", headers=headers | {"Sec-Fetch-Mode": "no-cors"}) as answer:
            assert answer.status == 403
        async with session.get("/login/login.js", headers=headers) as answer:
            assert answer.status == 403


async def test_answers_carry_the_headers_that_keep_browsers_safe(gateway: RunningGateway) -> None:
    async with gateway.client() as session:
        for path in ("/login", "/healthz", "/nothing", "/login/login.js"):
            async with session.get(path) as answer:
                policy = answer.headers["Content-Security-Policy"]
                assert "default-src 'none'" in policy
                assert "unsafe" not in policy
                assert "frame-ancestors 'none'" in policy
                assert answer.headers["X-Content-Type-Options"] == "nosniff"
                assert answer.headers["Cross-Origin-Resource-Policy"] == "same-origin"
                assert answer.headers["Server"] == "opencrust"
                assert "Access-Control-Allow-Origin" not in answer.headers


# -- login


async def test_of_many_who_show_one_ticket_one_gets_in(gateway: RunningGateway) -> None:
    ticket = await gateway.ticket()
    async with gateway.client() as session:
        answers = await asyncio.gather(*(login(session, gateway, ticket) for _ in range(8)))
    assert sorted(answers) == [204] + [401] * 7


async def test_a_link_preview_does_not_burn_the_ticket(gateway: RunningGateway) -> None:
    ticket = await gateway.ticket()
    async with gateway.client() as session:
        for method in ("GET", "HEAD", "OPTIONS"):
            async with session.request(method, f"/login#ticket={ticket}"):
                pass
        async with session.get(f"/login?ticket={ticket}"):
            pass
        assert await login(session, gateway, ticket) == 204


async def test_a_page_from_elsewhere_cannot_log_the_browser_in(gateway: RunningGateway) -> None:
    ticket = await gateway.ticket()
    async with gateway.client() as session:
        for headers in ({}, {"Origin": "https://evil.example"}):
            async with session.post("/login", json={"ticket": ticket}, headers=headers) as answer:
                assert answer.status == 403
        form = aiohttp.FormData({"ticket": ticket})
        async with session.post("/login", data=form, headers={"Origin": gateway.url}) as answer:
            assert answer.status == 415
        assert await login(session, gateway, ticket) == 204


async def test_a_session_gets_the_scopes_of_its_ticket_and_no_more(gateway: RunningGateway) -> None:
    async with gateway.client() as session:
        await login(session, gateway, await gateway.ticket(Scope.READ))
        async with session.get("/v1/session") as answer:
            assert (await answer.json())["scopes"] == ["read"]
        async with session.post(CHAT, json=QUESTION, headers={"Origin": gateway.url}) as answer:
            assert answer.status == 403


async def test_a_damaged_record_lets_nobody_in(gateway: RunningGateway) -> None:
    token, record = await gateway.bearer()
    await gateway.bus.kv("token").put(record.id, b'{"v":1,"scopes":["admin"]}')
    async with gateway.client(token) as session, session.get("/v1/models") as answer:
        assert answer.status == 401


async def test_without_the_bus_nobody_gets_in_and_the_answer_says_when_to_come_back(
    gateway: RunningGateway, bus_server: BusServer
) -> None:
    token, _ = await gateway.bearer()
    bus_server.stop()
    try:
        async with gateway.client(token) as session, session.post(CHAT, json=QUESTION) as answer:
            assert answer.status == 503
            assert int(answer.headers["Retry-After"]) > 0
            assert (await answer.json())["error"]["code"] == "bus_unavailable"
    finally:
        bus_server.start()
    async with asyncio.timeout(20):
        while not gateway.bus.connected:
            await asyncio.sleep(0.05)


# -- limits


async def test_limits_count_before_any_credential_and_without_exemption(bus_server: BusServer) -> None:
    """PR #57647 there: a dummy token skipped the limiter. Here a valid one does not either, nor does
    loopback.
    """
    async with running_gateway(bus_server, limits=Limits(requests=Rate(burst=5, per_second=0.1))) as gateway:
        token, _ = await gateway.bearer()
        async with gateway.client(token) as session:
            statuses = []
            for _ in range(8):
                async with session.get("/v1/models") as answer:
                    statuses.append(answer.status)
            assert answer.headers["Retry-After"]
    assert statuses == [200] * 5 + [429] * 3


async def test_login_tries_are_few(bus_server: BusServer) -> None:
    async with running_gateway(bus_server) as gateway, gateway.client() as session:
        answers = [await login(session, gateway, WRONG) for _ in range(12)]
        good = await gateway.ticket()
        assert await login(session, gateway, good) == 429
    assert answers == [401] * 10 + [429] * 2


async def test_upgrades_are_limited(bus_server: BusServer) -> None:
    limits = Limits(upgrades=Rate(burst=3, per_second=0.1))
    async with running_gateway(bus_server, limits=limits) as gateway, gateway.client() as session:
        for _ in range(3):
            await (await session.ws_connect("/v1/ws")).close()
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await session.ws_connect("/v1/ws")
    assert refused.value.status == 429


async def test_a_socket_without_a_credential_is_closed_in_time(bus_server: BusServer) -> None:
    async with (
        running_gateway(bus_server, limits=Limits(auth_time=0.3)) as gateway,
        gateway.client() as session,
        session.ws_connect("/v1/ws") as socket,
    ):
        await socket.receive_json()
        async with asyncio.timeout(2):
            assert (await socket.receive()).type is aiohttp.WSMsgType.CLOSE
        assert socket.close_code == 4401


@pytest.mark.parametrize(
    "frame",
    [
        json.dumps({"type": "auth", "token": WRONG}),
        json.dumps({"type": "auth", "token": "x" * 70_000}),
        json.dumps({"type": "auth", "v": 2, "token": WRONG}),
        json.dumps({"type": "req", "id": "1", "op": "send", "params": {"conversation": "x", "text": "x"}}),
        "{",
        "[" * 60_000,
        "",
    ],
    ids=["wrong", "too-large", "version", "request", "no-json", "deep", "empty"],
)
async def test_a_bad_first_frame_is_the_last(gateway: RunningGateway, frame: str) -> None:
    async with gateway.client() as session, session.ws_connect("/v1/ws") as socket:
        await socket.receive_json()
        await socket.send_str(frame)
        assert (await socket.receive_json())["ok"] is False
        await socket.receive()
        assert socket.close_code == 4401
    assert not gateway.agent.seen


async def test_sockets_without_a_credential_are_few(bus_server: BusServer) -> None:
    limits = Limits(unauthenticated_sockets=3)
    async with running_gateway(bus_server, limits=limits) as gateway, gateway.client() as session:
        waiting = [await session.ws_connect("/v1/ws") for _ in range(3)]
        for socket in waiting:
            assert (await socket.receive_json())["type"] == "hello"
        late = await session.ws_connect("/v1/ws")
        await late.receive()
        assert late.close_code == 4029
        token, _ = await gateway.bearer()
        async with session.ws_connect("/v1/ws", headers={"Authorization": f"Bearer {token}"}) as known:
            assert (await known.receive_json())["authenticated"] is True
        for socket in waiting:
            await socket.close()


# -- bad input: a clear error to its sender, and nothing stops

BAD_BODIES: dict[str, tuple[bytes, int, str]] = {
    "2 MB": (json.dumps(QUESTION | {"pad": "x" * 2_000_000}).encode(), 413, "too_large"),
    "wrong UTF-8": (b'{"model":"opencrust","messages":[{"role":"user","content":"\xff"}]}', 400, "invalid_encoding"),
    "lone surrogate": (
        b'{"model":"opencrust","messages":[{"role":"user","content":"\\ud800"}]}',
        400,
        "invalid_message",
    ),
    "no JSON": (b"{", 400, "invalid_json"),
    "deep": (b"[" * 200_000, 400, "invalid_json"),
    "not an object": (b"[]", 400, "invalid_request"),
    "no messages": (b'{"model":"opencrust","messages":[]}', 400, "invalid_request"),
    "empty text": (
        json.dumps(QUESTION | {"messages": [{"role": "user", "content": ""}]}).encode(),
        400,
        "invalid_message",
    ),
    "long text": (
        json.dumps(QUESTION | {"messages": [{"role": "user", "content": "x" * 65_537}]}).encode(),
        400,
        "invalid_message",
    ),
    "10,000 parts": (
        json.dumps(
            QUESTION | {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": "x"}] * 10_000}]}
        ).encode(),
        400,
        "invalid_request",
    ),
    "bad user": (json.dumps(QUESTION | {"user": "a\nb"}).encode(), 400, "invalid_request"),
}


@pytest.mark.parametrize("name", BAD_BODIES)
async def test_a_bad_body_gets_a_clear_error(gateway: RunningGateway, name: str) -> None:
    body, expected, code = BAD_BODIES[name]
    token, _ = await gateway.bearer()
    headers = {"Content-Type": "application/json"}
    async with gateway.client(token) as session:
        async with session.post(CHAT, data=io.BytesIO(body), headers=headers) as answer:
            told = await answer.json()
            assert (answer.status, told["error"]["code"]) == (expected, code)
            assert len(told["error"]["message"]) < 600
        async with session.post(CHAT, json=QUESTION) as answer:
            assert answer.status == 200
    assert len(gateway.agent.seen) == 1


BAD_FRAMES: dict[str, tuple[str, str]] = {
    "no JSON": ("{", "invalid_json"),
    "deep": ("[" * 100_000, "invalid_json"),
    "no type": ('{"id":"1"}', "invalid_frame"),
    "unknown type": ('{"type":"dance"}', "invalid_frame"),
    "unknown op": ('{"type":"req","id":"1","op":"config.apply"}', "unknown_op"),
    "unknown version": ('{"type":"req","v":99,"id":"1","op":"ping"}', "unsupported_version"),
    "unknown field": ('{"type":"req","id":"1","op":"ping","scopes":["admin"]}', "invalid_frame"),
    "empty text": ('{"type":"req","id":"1","op":"send","params":{"conversation":"x","text":""}}', "invalid_params"),
    "blank text": ('{"type":"req","id":"1","op":"send","params":{"conversation":"x","text":" "}}', "invalid_message"),
    "lone surrogate": (
        '{"type":"req","id":"1","op":"send","params":{"conversation":"x","text":"\\ud800"}}',
        "invalid_params",
    ),
    "surrogate name": ('{"type":"req","id":"1","op":"open","params":{"conversation":"\\udfff"}}', "invalid_params"),
    "10,000 attachments": (
        json.dumps(
            {
                "type": "req",
                "id": "1",
                "op": "send",
                "params": {"conversation": "x", "text": "x", "attachments": [{"name": "x"}] * 10_000},
            }
        ),
        "invalid_params",
    ),
    "reply address": (
        json.dumps(
            {
                "type": "req",
                "id": "1",
                "op": "send",
                "params": {"conversation": "x", "text": "x", "reply_to": {"channel": "telegram"}},
            }
        ),
        "invalid_params",
    ),
}


@pytest.mark.parametrize("name", BAD_FRAMES)
async def test_a_bad_frame_gets_a_clear_error(gateway: RunningGateway, name: str) -> None:
    frame, code = BAD_FRAMES[name]
    token, _ = await gateway.bearer()
    async with gateway.client(token) as session, session.ws_connect("/v1/ws") as socket:
        await socket.receive_json()
        await socket.send_str(frame)
        answer = await socket.receive_json()
        assert (answer["type"], answer["ok"], answer["error"]["code"]) == ("res", False, code)
        assert answer["id"] == ("1" if '"id":' in frame.replace(" ", "") and frame != "{" else None)
        await socket.send_json({"type": "req", "id": "2", "op": "ping"})
        assert await socket.receive_json() == {"type": "res", "id": "2", "ok": True, "result": {}}
    assert not gateway.agent.seen


@pytest.mark.parametrize(
    ("message", "code"),
    [("x" * 2_000_000, 1009), (b"binary", 1003)],
    ids=["2 MB", "binary"],
)
async def test_what_is_no_frame_closes_its_own_socket_only(
    gateway: RunningGateway, message: str | bytes, code: int
) -> None:
    token, _ = await gateway.bearer()
    async with gateway.client(token) as session, session.ws_connect("/v1/ws") as kept:
        await kept.receive_json()
        async with session.ws_connect("/v1/ws") as socket:
            await socket.receive_json()
            await (socket.send_bytes(message) if isinstance(message, bytes) else socket.send_str(message))
            while not socket.closed:
                await socket.receive()
            assert socket.close_code == code
        await kept.send_json({"type": "req", "id": "1", "op": "ping"})
        assert (await kept.receive_json())["ok"] is True


@pytest.mark.parametrize(
    "line", ["Authorization: Bearer \x07{token}", "Authorizati\xb6n: Bearer {token}", "X: y\r{token}", "X:{token}\x00"]
)
async def test_a_malformed_request_leaves_no_credential_in_the_log(
    gateway: RunningGateway, caplog: pytest.LogCaptureFixture, line: str
) -> None:
    """Found by the fuzzer: the server beneath us logs the line that it cannot read."""
    token, _ = await gateway.bearer()
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
    head = f"GET /v1/models HTTP/1.1\r\nHost: 127.0.0.1:{gateway.port}\r\n{line.format(token=token)}\r\n\r\n"
    writer.write(head.encode("latin-1"))
    answer = await asyncio.wait_for(reader.read(4096), 10)
    writer.close()
    assert answer[9:12] == b"400"
    assert token[20:] not in caplog.text
    assert "Traceback" not in caplog.text
