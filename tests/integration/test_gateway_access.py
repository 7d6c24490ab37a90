"""People, pairing, policies and tokens over HTTP, on a real bus."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import aiohttp
import pytest

from harness import BusServer
from opencrust.access import Scope
from opencrust.access.people import PairingOutcome, PersonId
from opencrust.bus import Bus
from simulators.web import RunningGateway, running_gateway
from strangers import ask, call

ANNA = PersonId(channel="telegram", account="bot", user="123")


@pytest.fixture
async def gateway(bus_server: BusServer) -> AsyncIterator[RunningGateway]:
    async with running_gateway(bus_server) as running:
        yield running


@pytest.fixture
async def telegram(bus_server: BusServer) -> Bus:
    return await bus_server.connect("channel-telegram")


async def test_a_stranger_waits_is_approved_changed_and_removed(gateway: RunningGateway, telegram: Bus) -> None:
    token, record = await gateway.bearer(Scope.PAIRING)
    assert (await ask(telegram, "request", person=ANNA, name="Anna")).outcome is PairingOutcome.OFFERED
    async with gateway.client(token) as session:
        _, waiting = await call(session, "GET", "/v1/pairing")
        (one,) = waiting["requests"]
        assert (one["id"], one["channel"], one["user"], one["name"]) == (ANNA.key, "telegram", "123", "Anna")
        assert waiting["alarms"] == []
        status, person = await call(session, "POST", f"/v1/pairing/{one['id']}/approve")
        assert (status, person["role"], person["active"]) == (200, "user", True)
        assert person["approved_by"] == f"operator (bearer {record.id})"
        status, answer = await call(session, "POST", f"/v1/pairing/{one['id']}/approve")
        assert (status, answer["error"]["code"]) == (404, "not_found")
        until = (datetime.now(UTC) + timedelta(days=1)).isoformat()
        status, person = await call(session, "PUT", f"/v1/people/{ANNA.key}", {"role": "guest", "expires": until})
        assert (status, person["role"], person["expires"] is None) == (200, "guest", False)
        _, person = await call(session, "PUT", f"/v1/people/{ANNA.key}", {"blocked": True, "expires": None})
        assert (person["role"], person["blocked"], person["expires"]) == ("guest", True, None)
        _, listed = await call(session, "GET", "/v1/people")
        assert listed["people"] == [person]
        assert (await call(session, "DELETE", f"/v1/people/{ANNA.key}"))[0] == 204
        assert (await call(session, "GET", "/v1/people"))[1] == {"people": []}


async def test_a_stranger_is_blocked(gateway: RunningGateway, telegram: Bus) -> None:
    token, _ = await gateway.bearer(Scope.PAIRING)
    await ask(telegram, "request", person=ANNA, name="Anna")
    async with gateway.client(token) as session:
        status, person = await call(session, "POST", f"/v1/pairing/{ANNA.key}/block")
    assert (status, person["blocked"]) == (200, True)
    assert (await ask(telegram, "request", person=ANNA)).outcome is PairingOutcome.REFUSED


async def test_an_invitation_and_a_person_put_on_the_list_by_id(gateway: RunningGateway, telegram: Bus) -> None:
    token, _ = await gateway.bearer(Scope.PAIRING)
    async with gateway.client(token) as session:
        wish = {"channel": "telegram", "role": "guest", "name": "the plumber"}
        status, made = await call(session, "POST", "/v1/pairing/invites", wish)
        assert status == 201
        assert (await ask(telegram, "redeem", person=ANNA, code=made["code"])).outcome is PairingOutcome.PAIRED
        status, added = await call(
            session, "POST", "/v1/people", {"channel": "discord", "account": "bot", "user": "9", "name": "Bert"}
        )
        assert (status, added["role"], added["active"]) == (201, "user", True)
        _, listed = await call(session, "GET", "/v1/people")
    assert [(p["channel"], p["name"], p["role"]) for p in listed["people"]] == [
        ("discord", "Bert", "user"),
        ("telegram", "the plumber", "guest"),
    ]


async def test_policies_are_read_and_set(gateway: RunningGateway) -> None:
    token, _ = await gateway.bearer(Scope.PAIRING)
    async with gateway.client(token) as session:
        _, policy = await call(session, "GET", "/v1/channels/slack/policy")
        assert (policy["dm"], policy["group"], policy["alarm"]) == ("pairing", "disabled", False)
        _, policy = await call(session, "PUT", "/v1/channels/slack/policy", {"group": "mention"})
        assert (policy["dm"], policy["group"]) == ("pairing", "mention")
        for name in ("web", "irc", "x"):
            assert (await call(session, "PUT", f"/v1/channels/{name}/policy", {"dm": "open"}))[0] == 404


WRONG: list[tuple[str, str, dict[str, Any] | None]] = [
    ("POST", "/v1/people", {"channel": "telegram", "account": "bot"}),
    ("POST", "/v1/people", {"channel": "irc", "account": "bot", "user": "1"}),
    ("POST", "/v1/people", {"channel": "telegram", "account": "bot", "user": "1", "admin": True}),
    ("POST", "/v1/people", {"channel": "telegram", "account": "b", "user": "1", "expires": "2001-01-01T00:00:00Z"}),
    ("PUT", "/v1/people/telegram.person.x", {"role": "user"}),
    ("PUT", "/v1/people/telegram.policy", {"role": "user"}),
    ("PUT", f"/v1/people/{ANNA.key}", {"role": "user"}),
    ("PUT", f"/v1/people/{ANNA.key}", {"role": "owner"}),
    ("DELETE", "/v1/people/telegram.policy", None),
    ("DELETE", "/v1/people/*.person.*", None),
    ("DELETE", "/v1/people/%3E", None),
    ("POST", "/v1/pairing/*/approve", None),
    ("POST", f"/v1/pairing/{ANNA.key}/approve", {"role": "root"}),
    ("POST", "/v1/pairing/invites", {}),
    ("POST", "/v1/pairing/invites", {"channel": "web"}),
    ("PUT", "/v1/channels/telegram/policy", {"dm": "everybody"}),
    ("POST", "/v1/tokens", {"name": "x", "scopes": []}),
    ("POST", "/v1/tokens", {"name": "", "scopes": ["chat"]}),
    ("POST", "/v1/tokens", {"name": "x", "scopes": ["root"]}),
    ("POST", "/v1/tokens", {"name": "x", "scopes": ["chat"], "expires": "2001-01-01T00:00:00Z"}),
    ("DELETE", "/v1/tokens/nothing", None),
    ("DELETE", "/v1/tokens/aaaaaaaaaaaaaaaa", None),
    ("POST", "/v1/tokens/aaaaaaaaaaaaaaaa/rotate", None),
]


async def test_what_is_wrong_is_refused_by_name_and_changes_nothing(gateway: RunningGateway) -> None:
    token, _ = await gateway.bearer()
    async with gateway.client(token) as session:
        for method, path, body in WRONG:
            status, answer = await call(session, method, path, body)
            assert status in (400, 404), path
            assert answer["error"]["message"]
        assert (await call(session, "GET", "/v1/people"))[1] == {"people": []}
        assert len((await call(session, "GET", "/v1/tokens"))[1]["tokens"]) == 1


async def test_a_token_is_made_used_and_revoked_and_its_socket_drops_within_a_second(gateway: RunningGateway) -> None:
    admin, record = await gateway.bearer()
    async with gateway.client(admin) as session:
        until = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
        wish = {"name": "laptop", "scopes": ["chat", "read"], "expires": until}
        status, made = await call(session, "POST", "/v1/tokens", wish)
        assert (status, made["scopes"], made["parent"]) == (201, ["chat", "read"], record.id)
        _, listed = await call(session, "GET", "/v1/tokens")
        assert [(t["name"], t["current"]) for t in listed["tokens"]] == [("test", True), ("laptop", False)]
        assert "digest" not in str(listed)
        assert made["token"] not in str(listed)
        async with gateway.client(made["token"]) as laptop, laptop.ws_connect("/v1/ws") as socket:
            await socket.receive_json()
            assert (await call(session, "DELETE", f"/v1/tokens/{made['id']}"))[0] == 204
            async with asyncio.timeout(1):
                while (await socket.receive()).type is not aiohttp.WSMsgType.CLOSE:
                    pass
            assert (await call(laptop, "GET", "/v1/session"))[0] == 401


async def test_a_rotated_token_drops_at_once_and_the_fresh_one_works(gateway: RunningGateway) -> None:
    """GHSA-m8wm, GHSA-xmxx: the old bearer was alive after rotation."""
    admin, _ = await gateway.bearer()
    old, record = await gateway.bearer(Scope.CHAT, expires=timedelta(hours=1))
    async with gateway.client(admin) as session, gateway.client(old) as holder, holder.ws_connect("/v1/ws") as socket:
        await socket.receive_json()
        status, made = await call(session, "POST", f"/v1/tokens/{record.id}/rotate")
        assert (status, made["name"], made["scopes"]) == (201, "test", ["chat"])
        assert made["expires"] is not None
        async with asyncio.timeout(1):
            while (await socket.receive()).type is not aiohttp.WSMsgType.CLOSE:
                pass
        assert (await call(holder, "GET", "/v1/session"))[0] == 401
        async with gateway.client(made["token"]) as fresh:
            assert (await call(fresh, "GET", "/v1/session"))[0] == 200
        status, itself = await call(session, "POST", f"/v1/tokens/{(await tokens(session))['test']}/rotate")
        assert status == 201
        async with gateway.client(itself["token"]) as again:
            assert (await call(again, "GET", "/v1/session"))[0] == 200


async def tokens(session: aiohttp.ClientSession) -> dict[str, str]:
    _, listed = await call(session, "GET", "/v1/tokens")
    return {t["name"]: t["id"] for t in listed["tokens"] if t["current"]}


async def test_what_a_token_minted_goes_with_it_and_what_a_session_minted_stays(gateway: RunningGateway) -> None:
    stolen, record = await gateway.bearer(expires=timedelta(hours=1))
    admin, _ = await gateway.bearer()
    async with gateway.client(stolen) as thief:
        _, child = await call(thief, "POST", "/v1/tokens", {"name": "child", "scopes": ["admin", "chat"]})
        assert datetime.fromisoformat(child["expires"]) <= record.expires  # type: ignore[operator]
    async with gateway.client(child["token"]) as thief:
        _, grandchild = await call(thief, "POST", "/v1/tokens", {"name": "grandchild", "scopes": ["admin"]})
        status, answer = await call(thief, "POST", f"/v1/tokens/{record.id}/rotate")
        assert (status, answer["error"]["code"]) == (403, "not_yours")
    async with gateway.client(admin) as session:
        assert (await call(session, "DELETE", f"/v1/tokens/{record.id}"))[0] == 204
    for text in (stolen, child["token"], grandchild["token"]):
        async with gateway.client(text) as thief:
            assert (await call(thief, "GET", "/v1/session"))[0] == 401
    async with gateway.client() as browser:
        headers = {"Origin": gateway.url}
        async with browser.post("/login", json={"ticket": await gateway.ticket()}, headers=headers) as answered:
            assert answered.status == 204
        body = {"name": "mine", "scopes": ["chat"]}
        async with browser.post("/v1/tokens", json=body, headers=headers) as answered:
            mine = await answered.json()
        async with browser.post("/logout", headers=headers) as answered:
            assert answered.status == 204
    async with gateway.client(mine["token"]) as program:
        assert (await call(program, "GET", "/v1/session"))[0] == 200
