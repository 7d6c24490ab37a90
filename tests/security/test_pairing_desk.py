"""The pairing desk under hostile bytes, and what the time of an answer may tell."""

import random
from datetime import UTC, datetime, timedelta

import pytest

from harness import BusServer
from opencrust.access.desk import DeskReply, DeskRequest, InviteWish, PersonChange
from opencrust.access.pairing import Stretched
from opencrust.access.people import PairingOutcome, PairingReply, PairingRequest, PersonId, Role
from opencrust.bus import Bus, subjects
from opencrust.contracts import decode, encode
from opencrust_gateway.limits import Rate
from opencrust_gateway.pairing import Desk, Wire
from opencrust_gateway.pairing.waiting import invite_name

ANNA = PersonId(channel="telegram", account="bot", user="123")
PIECES = [
    b"\x00",
    b"\xff",
    b"{",
    b"}",
    b'"',
    b"null",
    b"1e999",
    b"\\ud800",
    b"[" * 600,
    b"A" * 70_000,
    b"telegram.person.",
]
PIECES += [b"\xe2\x80\xae", b"true", b"-0", b'"v":2', b">", b"*", b".."]
OPS = ["request", "redeem", "decide", "list", "people", "invite", "set", "remove", "policy", "nothing"]


@pytest.fixture
async def desk(bus_server: BusServer) -> Desk:
    gateway = await bus_server.connect("gateway")
    desk = Desk(gateway, rate=Rate(burst=10_000, per_second=10_000))
    await Wire(gateway, desk).start()
    return desk


def mutated(chance: random.Random, data: bytes) -> bytes:
    for _ in range(chance.randint(1, 6)):
        at = chance.randrange(len(data) + 1)
        cut = data[:at] + chance.choice(PIECES) + data[at + chance.randint(0, 8) :]
        data = chance.choice((cut, data[:at], data[at:], cut))
    return data[:400_000]


async def test_every_request_however_broken_is_answered_and_changes_nothing_it_should_not(
    bus_server: BusServer, desk: Desk
) -> None:
    telegram, cli = await bus_server.connect("channel-telegram"), await bus_server.connect("cli")
    chance = random.Random(7)
    asked = encode(PairingRequest(person=ANNA, by=ANNA, name="Anna", code="ABCD-EFGH"))
    order = DeskRequest(
        channel="telegram",
        key=ANNA.key,
        code="ABCD-EFGH",
        change=PersonChange(id=ANNA, role=Role.OPERATOR),
        invite=InviteWish(channel="telegram"),
    )
    for number in range(300):
        bus: Bus = chance.choice((telegram, cli))
        data = mutated(chance, asked if bus is telegram else encode(order))
        reply = await bus.request(subjects.pair_req(bus.service, chance.choice(OPS)), data, timeout=10)
        answer = decode(PairingReply if bus is telegram else DeskReply, reply.data)  # type: ignore[type-var]
        assert len(reply.data) < 100_000, number
        if isinstance(answer, PairingReply):
            assert answer.outcome is not PairingOutcome.PAIRED, number
    people = decode(DeskReply, (await cli.request(subjects.pair_req("cli", "people"), b'{"v":1}', timeout=10)).data)
    assert all(entry.approved_by == "the command line" for entry in people.people)  # by nobody on the channel


async def test_every_code_that_is_looked_at_costs_the_same_work(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wrong, malformed, foreign, expired, used and right: each is stretched once, and nothing else takes long."""
    work: list[str] = []
    stretch = Stretched.of.__func__  # type: ignore[attr-defined]

    def counted(cls: type[Stretched], code: str, salt: bytes) -> Stretched:
        work.append(code)
        found: Stretched = stretch(cls, code, salt)
        return found

    wish = InviteWish(channel="telegram", account="bot")
    right, used, expired = [(await desk.invite(wish, by="x"))[0] for _ in range(3)]
    foreign = (await desk.invite(InviteWish(channel="telegram", account="other"), by="x"))[0]
    await desk.redeem(PersonId(channel="telegram", account="bot", user="9"), "", used)
    now = datetime.now(UTC)
    (old, revision), *_ = [pair for pair in await desk._invites.live("telegram", now) if pair[0].account == "bot"][
        -1:
    ]  # the newest: `expired`
    past = old.model_copy(update={"expires": now - timedelta(seconds=1)})
    assert await desk._invites.put(invite_name("telegram", old.digest), past, revision=revision, now=past.created)
    monkeypatch.setattr(Stretched, "of", classmethod(counted))
    for number, code in enumerate(("0000-0000", "no code", "", foreign, expired, used, right)):
        work.clear()
        person = PersonId(channel="telegram", account="bot", user=f"u{number}")
        reply = await desk.redeem(person, "", code)
        assert len(work) == 1, code
        assert (reply.outcome is PairingOutcome.PAIRED) is (code == right)
