"""The pairing desk on the real bus: both flows, races, replicas, and a desk that dies in between."""

import asyncio
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest

from harness import BusServer
from opencrust.access.desk import DeskReply, InviteWish, PersonChange
from opencrust.access.directory import FRESH_SECONDS, People
from opencrust.access.notices import Notices
from opencrust.access.people import (
    ChannelPolicy,
    DmPolicy,
    PairingOutcome,
    PairingReply,
    PersonId,
    Role,
    Verdict,
)
from opencrust.bus import Bus, BusError
from opencrust_gateway.pairing import Desk, Wire
from opencrust_gateway.pairing import desk as desk_module
from opencrust_gateway.pairing.people import PeopleStore
from opencrust_gateway.pairing.waiting import invite_name
from opencrust_gateway.record import Record
from strangers import ask, audit, operator

ANNA = PersonId(channel="telegram", account="bot", user="123")
BERT = PersonId(channel="telegram", account="bot", user="456")
BOSS = PersonId(channel="telegram", account="bot", user="1")


@dataclass
class House:
    """A desk, an adapter that asks it, and the command line."""

    server: BusServer
    gateway: Bus
    telegram: Bus
    cli: Bus
    desk: Desk

    async def ask(self, op: str, bus: Bus | None = None, **fields: object) -> PairingReply:
        return await ask(bus or self.telegram, op, **fields)

    async def operator(self, op: str, **fields: object) -> DeskReply:
        return await operator(self.cli, op, **fields)

    async def invite(self, **fields: object) -> str:
        reply = await self.operator("invite", invite=InviteWish.model_validate({"channel": "telegram", **fields}))
        assert reply.error == ""
        return reply.code

    async def put(self, who: PersonId, role: Role = Role.USER) -> None:
        reply = await self.operator("set", change=PersonChange(id=who, role=role))
        assert reply.error == ""

    async def verdict(self, who: PersonId) -> Verdict:
        people = People(self.gateway)
        return (await people.admission(who, is_group=False, mentioned=False)).verdict

    async def events(self) -> list[str]:
        return [record["event"] for record in await audit(self.gateway)]


@pytest.fixture
async def house(bus_server: BusServer) -> House:
    gateway = await bus_server.connect("gateway")
    desk = Desk(gateway)
    await Wire(gateway, desk).start()
    telegram, cli = await bus_server.connect("channel-telegram"), await bus_server.connect("cli")
    return House(bus_server, gateway, telegram, cli, desk)


async def test_request_and_approve_at_the_command_line(house: House) -> None:
    offered = await house.ask("request", person=ANNA, name="Anna")
    assert offered.outcome is PairingOutcome.OFFERED
    assert offered.code in offered.text
    again = await house.ask("request", person=ANNA, name="Anna")
    assert (again.outcome, again.text, again.code) == (PairingOutcome.OFFERED, "", "")
    waiting = await house.operator("list")
    assert [(r.id, r.name) for r in waiting.requests] == [(ANNA.key, "Anna")]
    done = await house.operator("decide", code=offered.code.lower().replace("-", " "))
    assert [(p.key, p.role, p.active) for p in done.people] == [(ANNA.key, Role.USER, True)]
    assert await house.verdict(ANNA) is Verdict.ADMIT
    assert (await house.operator("list")).requests == []
    assert "nobody waits" in (await house.operator("decide", code=offered.code)).error
    assert (await house.ask("request", person=ANNA)).outcome is PairingOutcome.PAIRED
    assert await house.events() == ["pairing.requested", "pairing.approved"]


async def test_request_and_block_by_its_id(house: House) -> None:
    await house.ask("request", person=ANNA)
    done = await house.operator("decide", key=ANNA.key, approve=False)
    assert [p.blocked for p in done.people] == [True]
    assert await house.verdict(ANNA) is Verdict.DROP
    refused = await house.ask("request", person=ANNA)
    assert (refused.outcome, refused.text) == (PairingOutcome.REFUSED, "")
    code = await house.invite()
    assert (await house.ask("redeem", person=ANNA, code=code)).outcome is PairingOutcome.REFUSED
    assert await house.verdict(ANNA) is Verdict.DROP


async def test_an_operator_decides_on_his_own_channel_and_is_told_there(house: House) -> None:
    told: list[tuple[PersonId, str]] = []

    async def tell(person: PersonId, text: str) -> None:
        told.append((person, text))

    for _ in range(2):  # two replicas of the adapter: one of them tells it, once
        await Notices(await house.server.connect("channel-telegram"), tell).start()
    await house.put(BOSS, Role.OPERATOR)
    await house.put(BERT)
    code = (await house.ask("request", person=ANNA, name="Anna\u202e\n*x*")).code
    async with asyncio.timeout(5):
        while not told:
            await asyncio.sleep(0.01)
    ((to, text),) = told
    assert to == BOSS
    assert "Anna*x* (123) on telegram" in text
    assert code not in text
    for not_operator in (BERT, ANNA, PersonId(channel="telegram", account="other", user="1")):
        refused = await house.ask("decide", by=not_operator, code=code)
        assert refused.outcome is PairingOutcome.REFUSED
    assert (await house.ask("decide", by=BOSS, code="0000-0000")).outcome is PairingOutcome.WRONG
    assert (await house.ask("decide", by=BOSS, code=code)).outcome is PairingOutcome.DONE
    assert await house.verdict(ANNA) is Verdict.ADMIT
    async with asyncio.timeout(5):
        while len(told) < 2:
            await asyncio.sleep(0.01)
    assert told[1][0] == ANNA  # and Anna is told that she may write
    late: list[str] = []

    async def tell_late(person: PersonId, text: str) -> None:
        late.append(text)

    await Notices(await house.server.connect("channel-telegram"), tell_late).start()
    assert late == []  # all were claimed


async def test_invite_and_redeem_works_once_and_gives_what_the_operator_said(house: House) -> None:
    until = datetime.now(UTC) + timedelta(days=7)
    code = await house.invite(role="guest", name="the plumber", until=until)
    assert [i.name for i in (await house.operator("list")).invites] == ["the plumber"]
    assert (await house.ask("redeem", person=ANNA, code=code)).outcome is PairingOutcome.PAIRED
    (entry,) = (await house.operator("people")).people
    assert (entry.role, entry.name, entry.expires, entry.active) == (Role.GUEST, "the plumber", until, True)
    assert (await house.ask("redeem", person=BERT, code=code)).outcome is PairingOutcome.WRONG
    assert (await house.operator("list")).invites == []
    assert await house.events() == ["pairing.invited", "pairing.redeemed"]


async def test_a_code_is_for_its_channel_and_account_alone_and_wrong_expired_and_foreign_look_the_same(
    house: House,
) -> None:
    discord = await house.server.connect("channel-discord")
    bound, free = await house.invite(account="bot"), await house.invite()
    elsewhere = PersonId(channel="telegram", account="another bot", user="9")
    on_discord = PersonId(channel="discord", account="bot", user="123")
    answers = [
        await house.ask("redeem", person=elsewhere, code=bound),
        await house.ask("redeem", discord, person=on_discord, code=bound),
        await house.ask("redeem", discord, person=on_discord, code=free),
        await house.ask("redeem", person=ANNA, code="ABCD-EFGH"),
        await house.ask("redeem", person=ANNA, code="no code at all"),
    ]
    before = await house.desk._invites.live("telegram", datetime.now(UTC))
    expired = await house.invite(account="bot")
    ((invite, revision),) = [
        x for x in await house.desk._invites.live("telegram", datetime.now(UTC)) if x not in before
    ]
    past = invite.model_copy(update={"expires": datetime.now(UTC) - timedelta(seconds=1)})
    name = invite_name("telegram", invite.digest)
    assert await house.desk._invites.put(name, past, revision=revision, now=past.expires - timedelta(hours=1))
    answers.append(await house.ask("redeem", person=BERT, code=expired))
    assert len({answer.model_dump_json() for answer in answers}) == 1
    assert answers[0].outcome is PairingOutcome.WRONG
    assert (await house.ask("redeem", person=ANNA, code=bound)).outcome is PairingOutcome.PAIRED
    assert (await house.ask("redeem", person=elsewhere, code=free)).outcome is PairingOutcome.PAIRED


async def test_of_many_who_redeem_one_code_on_two_replicas_one_gets_in(house: House) -> None:
    second = await house.server.connect("gateway")
    await Wire(second, Desk(second)).start()
    code = await house.invite()
    guests = [PersonId(channel="telegram", account="bot", user=str(n)) for n in range(12)]
    replies = await asyncio.gather(*(house.ask("redeem", person=guest, code=code) for guest in guests))
    won = [g for g, r in zip(guests, replies, strict=True) if r.outcome is PairingOutcome.PAIRED]
    assert len(won) == 1
    assert {r.outcome for r in replies} == {PairingOutcome.PAIRED, PairingOutcome.WRONG}
    assert [p.id for p in (await house.operator("people")).people] == won


async def test_of_two_desks_in_the_same_moment_one_decides(house: House) -> None:
    other = Desk(await house.server.connect("gateway"))
    await house.ask("request", person=ANNA)

    async def decide(desk: Desk, approve: bool) -> bool:
        try:
            return (await desk.decide(key=ANNA.key, approve=approve, by="x")).blocked
        except Exception:
            return not approve

    await asyncio.gather(decide(house.desk, True), decide(other, False))
    events = [event for event in await house.events() if event != "pairing.requested"]
    assert len(set(events)) == 1
    approved = events[0] == "pairing.approved"
    assert await house.verdict(ANNA) is (Verdict.ADMIT if approved else Verdict.DROP)


@pytest.mark.parametrize("flow", ["approve", "redeem"])
async def test_a_desk_that_dies_between_two_writes_is_finished_by_the_next(
    house: House, flow: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = await house.invite() if flow == "redeem" else (await house.ask("request", person=ANNA)).code

    async def die(*_: object) -> None:
        raise BusError("killed here")

    with monkeypatch.context() as patch:
        patch.setattr(PeopleStore, "change", die)
        if flow == "redeem":
            assert (await house.ask("redeem", person=ANNA, code=code)).outcome is PairingOutcome.UNAVAILABLE
        else:
            assert (await house.operator("decide", code=code)).error
    assert await house.verdict(ANNA) is Verdict.OFFER_PAIRING
    if flow == "redeem":  # it is Anna's now, and nobody else's
        assert (await house.ask("redeem", person=BERT, code=code)).outcome is PairingOutcome.WRONG
    await Desk(await house.server.connect("gateway")).resume()
    assert await house.verdict(ANNA) is Verdict.ADMIT
    waiting = await house.operator("list")
    assert (waiting.requests, waiting.invites) == ([], [])
    assert await house.verdict(BERT) is Verdict.OFFER_PAIRING


async def test_nothing_changes_that_cannot_be_recorded(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    async def full(*_: object, **__: object) -> None:
        raise BusError("the audit is full")

    code = await house.invite()
    monkeypatch.setattr(Record, "write", full)
    assert (await house.ask("redeem", person=ANNA, code=code)).outcome is PairingOutcome.UNAVAILABLE
    assert (await house.operator("set", change=PersonChange(id=BERT, role=Role.OPERATOR))).error
    assert (await house.operator("policy", channel="telegram", policy=ChannelPolicy(dm=DmPolicy.OPEN))).error
    assert (await house.operator("people")).people == []
    assert await house.verdict(BERT) is Verdict.OFFER_PAIRING


async def test_the_policy_decides_whether_a_stranger_is_offered_anything(house: House) -> None:
    for dm in (DmPolicy.ALLOWLIST, DmPolicy.OPEN):
        reply = await house.operator("policy", channel="telegram", policy=ChannelPolicy(dm=dm))
        assert reply.channels[0].policy.dm is dm
        refused = await house.ask("request", person=ANNA)
        assert (refused.outcome, refused.code) == (PairingOutcome.REFUSED, "")
    assert (await house.operator("list")).requests == []


async def test_where_strangers_are_dropped_in_silence_an_invitation_works_and_wrong_codes_hear_nothing(
    house: House,
) -> None:
    await house.operator("policy", channel="telegram", policy=ChannelPolicy(dm=DmPolicy.ALLOWLIST))
    code = await house.invite()
    for _ in range(7):  # wrong ones, then locked
        reply = await house.ask("redeem", person=BERT, code="0000-0000")
        assert reply.outcome in (PairingOutcome.WRONG, PairingOutcome.LOCKED)
        assert reply.text == ""
    assert (await house.ask("redeem", person=ANNA, code=code)).text
    assert await house.verdict(ANNA) is Verdict.ADMIT
    again = await house.ask("redeem", person=ANNA, code=code)  # who is in is told so, whatever he sends
    assert again.outcome is PairingOutcome.PAIRED
    assert again.text


async def test_a_person_is_changed_expires_and_is_removed_within_a_second(house: House) -> None:
    people = People(house.telegram)
    await people.start()

    async def becomes(verdict: Verdict) -> None:
        async with asyncio.timeout(FRESH_SECONDS):
            while (await people.admission(ANNA, is_group=False, mentioned=False)).verdict is not verdict:
                await asyncio.sleep(0.01)

    await house.put(ANNA)
    await becomes(Verdict.ADMIT)
    await house.operator("set", key=ANNA.key, change=PersonChange(blocked=True))
    await becomes(Verdict.DROP)
    await house.operator("set", key=ANNA.key, change=PersonChange(blocked=False, role=Role.OPERATOR))
    await becomes(Verdict.ADMIT)
    soon = datetime.now(UTC) + timedelta(seconds=0.4)
    await house.operator("set", key=ANNA.key, change=PersonChange(expires=soon))
    await asyncio.sleep(0.4)
    await becomes(Verdict.OFFER_PAIRING)
    await house.operator("set", key=ANNA.key, change=PersonChange(forever=True))
    await becomes(Verdict.ADMIT)
    await house.operator("remove", key=ANNA.key)
    await becomes(Verdict.OFFER_PAIRING)
    assert "no such person" in (await house.operator("remove", key=ANNA.key)).error
    assert "no such person" in (await house.operator("set", key=ANNA.key, change=PersonChange(name="x"))).error


async def test_a_fresh_code_replaces_the_old_one_after_a_minute(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    old = (await house.ask("request", person=ANNA)).code
    monkeypatch.setattr(desk_module, "REISSUE_AFTER", timedelta(0))
    fresh = (await house.ask("request", person=ANNA)).code
    assert fresh
    assert fresh != old
    assert "nobody waits" in (await house.operator("decide", code=old)).error
    assert (await house.operator("decide", code=fresh)).error == ""
    assert (await house.events()).count("pairing.requested") == 1


async def test_a_flood_of_strangers_fills_neither_list_nor_audit(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(desk_module, "MAX_PENDING", 3)
    crowd = [PersonId(channel="telegram", account="bot", user=str(n)) for n in range(8)]
    outcomes = [(await house.ask("request", person=who)).outcome for who in crowd]
    assert outcomes == [PairingOutcome.OFFERED] * 3 + [PairingOutcome.REFUSED] * 5
    assert len(await house.events()) == 3


async def test_no_code_is_at_rest_nor_in_the_audit(house: House) -> None:
    codes = [(await house.ask("request", person=ANNA)).code, await house.invite(), await house.invite(account="bot")]
    await house.ask("redeem", person=BERT, code=codes[1])
    await house.server.close()
    house.server.stop()
    at_rest = b"".join(file.read_bytes() for file in house.server.home.rglob("*") if file.is_file())
    assert b"pairing.requested" in at_rest
    for code in codes:
        for form in (code, code.replace("-", "")):
            assert form.encode() not in at_rest
