"""Incidents of our peers that concern scopes, pairing and allowlists, each as a test that it cannot happen here.

The names are those of research: CVE and GHSA numbers of OpenClaw and its kin, and what the Rust OpenCrust did.
Incidents of the gateway's transport (Origin, Host, limits, frames) are in test_gateway.
"""

import asyncio
import itertools
import json
import random
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import aiohttp
import pytest

from harness import BusServer
from opencrust.access import ALL_SCOPES, Scope
from opencrust.access.desk import InviteWish, PersonChange
from opencrust.access.directory import People
from opencrust.access.pairing import ALARM_AT, MAX_TRIES
from opencrust.access.people import (
    ChannelPolicy,
    DmPolicy,
    GroupPolicy,
    PairingOutcome,
    PairingRequest,
    PersonId,
    Role,
    Verdict,
)
from opencrust.bus import Bus, Denied, subjects
from opencrust.contracts import Trust, encode
from opencrust_gateway.limits import Rate
from opencrust_gateway.pairing import Desk, Wire
from opencrust_gateway.permissions import ROUTES, Need
from simulators.web import RunningGateway, running_gateway
from strangers import ask, audit, call, operator

ANNA = PersonId(channel="telegram", account="bot", user="123")
BOSS = PersonId(channel="telegram", account="bot", user="1")


@pytest.fixture
async def gateway(bus_server: BusServer) -> AsyncIterator[RunningGateway]:
    async with running_gateway(bus_server) as running:
        yield running


@pytest.fixture
async def desks(bus_server: BusServer) -> tuple[Bus, Bus, Bus]:
    """Two replicas of the desk; (a gateway's connection, an adapter's, the command line's)."""
    unlimited = Rate(burst=10_000, per_second=10_000)
    for _ in range(2):
        gateway = await bus_server.connect("gateway")
        await Wire(gateway, Desk(gateway, rate=unlimited)).start()
    return gateway, await bus_server.connect("channel-telegram"), await bus_server.connect("cli")


async def events(gateway: Bus) -> list[str]:
    """Names of the gateway's audit records."""
    return [record["event"] for record in await audit(gateway)]


# -- scopes


async def test_cve_2026_32922_no_token_mints_more_than_it_holds(gateway: RunningGateway) -> None:
    """Also GHSA-4jpw-hj22-2xmc, CVE-2026-33579: every set of scopes that may mint at all × random wishes."""
    chance = random.Random(1)
    others = sorted(ALL_SCOPES - {Scope.ADMIN})
    for size in range(len(others) + 1):
        for held in itertools.combinations(others, size):
            holds = {Scope.ADMIN, *held}
            token, _ = await gateway.bearer(*holds)
            async with gateway.client(token) as session:
                for _ in range(4):
                    wish = chance.sample(sorted(ALL_SCOPES), chance.randint(1, 5))
                    body = {"name": "x", "scopes": wish}
                    status, made = await call(session, "POST", "/v1/tokens", body)
                    assert status == (201 if set(wish) <= holds else 403), (holds, wish)
                    if status == 201:
                        assert set(made["scopes"]) == set(wish)
                        async with gateway.client(made["token"]) as fresh:
                            assert set((await call(fresh, "GET", "/v1/session"))[1]["scopes"]) == set(wish)


async def test_cve_2026_33577_rotation_gives_no_more_than_who_asks_holds(gateway: RunningGateway) -> None:
    admin, _ = await gateway.bearer(Scope.ADMIN)
    rich, record = await gateway.bearer(Scope.CHAT, Scope.ADMIN, Scope.APPROVE)
    async with gateway.client(admin) as session:
        status, answer = await call(session, "POST", f"/v1/tokens/{record.id}/rotate")
        assert (status, answer["error"]["code"]) == (403, "scope_missing")
    async with gateway.client(rich) as session:  # and the old one is untouched by the refusal
        assert (await call(session, "GET", "/v1/session"))[0] == 200


async def test_ghsa_rqpp_scopes_that_a_client_declares_count_for_nothing(gateway: RunningGateway) -> None:
    token, _ = await gateway.bearer(Scope.CHAT)
    headers = {"X-Scopes": "admin", "X-OpenCrust-Scopes": "admin pairing", "X-Forwarded-For": "127.0.0.1"}
    async with gateway.client(token) as session:
        for path in ("/v1/tokens?scopes=admin", "/v1/people?scope=pairing"):
            async with session.get(path, headers=headers) as answer:
                assert answer.status == 403
        async with session.ws_connect("/v1/ws", headers=headers) as socket:
            hello = await socket.receive_json()
            assert "admin" not in json.dumps(hello.get("scopes", []))
    admin, _ = await gateway.bearer()
    async with gateway.client(admin) as session:
        for more in ({"owner": "somebody"}, {"kind": "ticket"}, {"parent": None}, {"digest": "00" * 32}):
            status, _ = await call(session, "POST", "/v1/tokens", {"name": "x", "scopes": ["chat"], **more})
            assert status == 400


async def test_cve_2026_32051_a_token_that_may_pair_makes_no_operator_on_any_way(gateway: RunningGateway) -> None:
    adapter = gateway.agent  # a running gateway comes with one; the desk is the gateway's own
    assert adapter is not None
    pairing, _ = await gateway.bearer(Scope.PAIRING)
    admin, _ = await gateway.bearer(Scope.PAIRING, Scope.ADMIN)
    person = {"channel": "telegram", "account": "bot", "user": "1"}
    async with gateway.client(admin) as session:
        assert (await call(session, "POST", "/v1/people", {**person, "role": "operator"}))[0] == 201
        assert (await call(session, "POST", "/v1/people", {**person, "user": "2"}))[0] == 201
    user = PersonId(channel="telegram", account="bot", user="2").key
    async with gateway.client(pairing) as session:
        for method, path, body in (
            ("POST", "/v1/people", {**person, "user": "3", "role": "operator"}),
            ("PUT", f"/v1/people/{user}", {"role": "operator"}),
            ("PUT", f"/v1/people/{BOSS.key}", {"role": "guest"}),
            ("PUT", f"/v1/people/{BOSS.key}", {"blocked": True}),
            ("DELETE", f"/v1/people/{BOSS.key}", None),
            ("POST", "/v1/people", {**person, "name": "me"}),
            ("POST", "/v1/pairing/invites", {"channel": "telegram", "role": "operator"}),
            ("POST", f"/v1/pairing/{user}/approve", {"role": "operator"}),
        ):
            status, answer = await call(session, method, path, body)
            assert status == 403, (method, path)
            assert "admin" in answer["error"]["message"]
        _, listed = await call(session, "GET", "/v1/people")
        roles = {entry["user"]: (entry["role"], entry["active"]) for entry in listed["people"]}
        assert roles == {"1": ("operator", True), "2": ("user", True)}


async def test_ghsa_m8wm_what_was_rotated_or_revoked_elsewhere_drops_here_within_a_second(
    gateway: RunningGateway,
) -> None:
    """Also GHSA-xmxx: the record goes through another connection to the bus, as the command line does it."""
    token, record = await gateway.bearer(Scope.CHAT)
    async with gateway.client(token) as session, session.ws_connect("/v1/ws") as socket:
        await socket.receive_json()
        await gateway.tokens.revoke(record.id)
        async with asyncio.timeout(1):
            while (await socket.receive()).type is not aiohttp.WSMsgType.CLOSE:
                pass


# -- no trust by address, no open door


def test_cve_2026_35623_ghsa_xh72_there_is_no_webhook_and_no_other_open_route() -> None:
    """A route without a credential has to be added to this list by a person who knows why."""
    assert {(route.method, route.path) for route in ROUTES if route.need is Need.NOTHING} == {
        ("GET", "/healthz"),
        ("GET", "/login"),
        ("POST", "/login"),
        ("GET", "/login/{asset}"),
        ("GET", "/favicon.ico"),
    }


async def test_cve_2026_26316_cve_2026_32896_who_comes_from_loopback_is_nobody_special(
    gateway: RunningGateway,
) -> None:
    async with gateway.client() as session:
        for forwarded in ({}, {"X-Forwarded-For": "127.0.0.1"}, {"X-Real-IP": "::1"}, {"Forwarded": "for=localhost"}):
            for path in ("/v1/people", "/v1/pairing", "/v1/tokens"):
                async with session.get(path, headers=forwarded) as answer:
                    assert answer.status == 401


async def test_a_compromised_adapter_speaks_for_its_own_channel_alone(
    bus_server: BusServer, desks: tuple[Bus, Bus, Bus]
) -> None:
    _, telegram, cli = desks
    boss = PersonId(channel="discord", account="bot", user="1")
    await operator(cli, "set", change=PersonChange(id=boss, role=Role.OPERATOR))
    discord = await bus_server.connect("channel-discord")
    code = (await ask(discord, "request", person=PersonId(channel="discord", account="bot", user="2"))).code
    for op, fields in (
        ("request", {"person": boss}),
        ("redeem", {"person": boss, "code": code}),
        ("decide", {"by": boss, "code": code}),
        ("decide", {"by": ANNA, "person": boss, "code": code}),
    ):
        reply = await ask(telegram, op, **fields)
        assert reply.outcome is PairingOutcome.REFUSED, op
    for service, op in (("channel-discord", "redeem"), ("cli", "set"), ("cli", "list")):
        with pytest.raises(Denied):
            await telegram.request(subjects.pair_req(service, op), encode(PairingRequest(by=boss)), timeout=2)
    for op in ("list", "people", "invite", "set", "remove", "policy", "x"):  # what only the keyboard may ask
        reply = await ask(telegram, op, person=ANNA, by=ANNA)
        assert reply.outcome is PairingOutcome.REFUSED
        assert reply.error
    with pytest.raises(Denied):
        await telegram.kv("access").put(ANNA.key, b"{}")
    with pytest.raises(Denied):
        await telegram.kv("pairing").get(f"request.{ANNA.key}")
    assert [entry.id for entry in (await operator(cli, "people")).people] == [boss]


async def test_cve_2026_28472_that_an_operator_is_named_is_not_that_he_is_one(desks: tuple[Bus, Bus, Bus]) -> None:
    """The presence of a credential counted, not its validity: here an operator's id in a request is looked up."""
    _, telegram, cli = desks
    code = (await ask(telegram, "request", person=ANNA)).code
    assert (await ask(telegram, "decide", by=BOSS, code=code)).outcome is PairingOutcome.REFUSED
    for change in (
        PersonChange(id=BOSS, role=Role.USER),
        PersonChange(id=BOSS, role=Role.OPERATOR, blocked=True),
        PersonChange(id=BOSS, role=Role.OPERATOR, blocked=False, expires=datetime.now(UTC) + timedelta(seconds=0.2)),
    ):
        await operator(cli, "set", change=change)
        await asyncio.sleep(0.25)
        assert (await ask(telegram, "decide", by=BOSS, code=code)).outcome is PairingOutcome.REFUSED
    assert [entry.id for entry in (await operator(cli, "people")).people] == [BOSS]


# -- pairing codes


async def test_opencrust_15_8_a_thousand_wrong_codes_lock_the_sender_and_the_valid_one_is_not_guessed(
    desks: tuple[Bus, Bus, Bus],
) -> None:
    gateway, telegram, cli = desks
    code = (await operator(cli, "invite", invite=InviteWish(channel="telegram"))).code
    chance = random.Random(1)
    guesses = ["".join(chance.choices("0123456789ABCDEFGHJKMNPQRSTVWXYZ", k=8)) for _ in range(999)]
    outcomes: list[PairingOutcome] = []
    for start in range(0, len(guesses), 111):  # many at the same time, over both replicas
        batch = (ask(telegram, "redeem", person=ANNA, code=guess) for guess in guesses[start : start + 111])
        outcomes += [reply.outcome for reply in await asyncio.gather(*batch)]
    outcomes.append((await ask(telegram, "redeem", person=ANNA, code=code)).outcome)  # the right one, too late
    assert outcomes.count(PairingOutcome.WRONG) <= MAX_TRIES
    assert set(outcomes) == {PairingOutcome.WRONG, PairingOutcome.LOCKED}
    assert outcomes[-1] is PairingOutcome.LOCKED
    assert (await operator(cli, "people")).people == []
    assert (await events(gateway)).count("pairing.locked") == 1
    other = PersonId(channel="telegram", account="bot", user="456")  # whom it was meant for
    assert (await ask(telegram, "redeem", person=other, code=code)).outcome is PairingOutcome.PAIRED


async def test_fifty_wrong_codes_of_many_senders_alarm_the_channel_once(desks: tuple[Bus, Bus, Bus]) -> None:
    gateway, telegram, cli = desks
    crowd = [PersonId(channel="telegram", account="bot", user=str(n)) for n in range(12)]
    for who in crowd:
        await asyncio.gather(*(ask(telegram, "redeem", person=who, code="AAAA-AAA" + str(n)) for n in range(5)))
    channels = {entry.channel: entry for entry in (await operator(cli, "list")).channels}
    assert channels["telegram"].alarm
    assert channels["telegram"].wrong_codes >= ALARM_AT
    assert not channels["discord"].alarm
    found = await events(gateway)
    assert found.count("pairing.alarm") == 1
    assert found.count("pairing.locked") <= ALARM_AT // MAX_TRIES


async def test_a_lock_is_not_shaken_off(bus_server: BusServer, desks: tuple[Bus, Bus, Bus]) -> None:
    """PR #57647's kin: neither another spelling, another name, another replica nor damage resets the count."""
    gateway, telegram, cli = desks
    code = (await operator(cli, "invite", invite=InviteWish(channel="telegram"))).code
    for n in range(MAX_TRIES):
        await ask(telegram, "redeem", person=ANNA, code=f"0000-000{n}", name=f"name {n}")
    fresh = await bus_server.connect("gateway")
    await Wire(fresh, Desk(fresh)).start()
    for typed in (code, code.lower(), code.replace("-", " "), f" {code} "):
        assert (await ask(telegram, "redeem", person=ANNA, code=typed, name="x")).outcome is PairingOutcome.LOCKED
    await gateway.kv("pairing").put(f"tries.{ANNA.key}", b"{damaged")
    assert (await ask(telegram, "redeem", person=ANNA, code=code)).outcome is PairingOutcome.LOCKED


# -- allowlists


async def test_picoclaw_an_empty_allowlist_is_nobody(desks: tuple[Bus, Bus, Bus]) -> None:
    """PicoClaw #1360 and others: an empty list meant everybody."""
    _, telegram, cli = desks
    await operator(cli, "policy", channel="telegram", policy=ChannelPolicy(dm=DmPolicy.ALLOWLIST))
    people = People(telegram)
    for is_group, mentioned in itertools.product((False, True), repeat=2):
        found = await people.admission(ANNA, is_group=is_group, mentioned=mentioned)
        assert (found.verdict, found.trust) == (Verdict.DROP, Trust.UNKNOWN)


async def test_rust_opencrust_nobody_becomes_owner_by_being_first_nor_by_an_open_policy(
    desks: tuple[Bus, Bus, Bus],
) -> None:
    """The first to write owned the bot, and with an open policy everybody could mint codes."""
    _, telegram, cli = desks
    people = People(telegram)
    assert (await people.admission(ANNA, is_group=False, mentioned=False)).verdict is Verdict.OFFER_PAIRING
    await ask(telegram, "request", person=ANNA)
    opened = ChannelPolicy(dm=DmPolicy.OPEN, group=GroupPolicy.OPEN)
    await operator(cli, "policy", channel="telegram", policy=opened)
    people = People(telegram)
    for is_group in (False, True):
        assert (await people.admission(ANNA, is_group=is_group, mentioned=True)).trust is Trust.GUEST
    assert (await ask(telegram, "decide", by=ANNA, code="0000-0000")).outcome is PairingOutcome.REFUSED
    assert (await operator(cli, "people")).people == []


async def test_rust_opencrust_a_group_is_no_way_around_the_list(desks: tuple[Bus, Bus, Bus]) -> None:
    """Any member of any group drove the full agent. Here strangers in groups are dropped, and offered no code."""
    _, telegram, cli = desks
    for policy in (ChannelPolicy(), ChannelPolicy(group=GroupPolicy.MENTION)):
        await operator(cli, "policy", channel="telegram", policy=policy)
        people = People(telegram)
        for mentioned in (False, True):
            found = await people.admission(ANNA, is_group=True, mentioned=mentioned)
            assert found.verdict is Verdict.DROP
