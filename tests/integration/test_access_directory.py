"""Who may speak, as adapters and the agent look it up: on the real bus, fresh within a second, closed when in doubt."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from harness import BusServer
from opencrust.access.directory import FRESH_SECONDS, People
from opencrust.access.people import (
    CLOSED,
    Admission,
    ChannelPolicy,
    DmPolicy,
    GroupPolicy,
    Person,
    PersonId,
    Role,
    Verdict,
    policy_key,
)
from opencrust.bus import Bus, BusError, Denied
from opencrust.contracts import Trust, encode

ANNA = PersonId(channel="telegram", account="bot", user="123")


def person(who: PersonId = ANNA, **changes: object) -> Person:
    return Person(id=who, role=Role.USER, since=datetime.now(UTC)).model_copy(update=changes)


async def put(desk: Bus, record: Person) -> None:
    await desk.kv("access").put(record.id.key, encode(record))


async def reader(server: BusServer, service: str = "channel-telegram") -> People:
    people = People(await server.connect(service))
    await people.start()
    return people


async def within_a_second(people: People, verdict: Verdict, who: PersonId = ANNA) -> Admission:
    """The admission of a private message, once it is `verdict`."""
    async with asyncio.timeout(FRESH_SECONDS):
        while True:
            found = await people.admission(who, is_group=False, mentioned=False)
            if found.verdict is verdict:
                return found
            await asyncio.sleep(0.01)


async def test_a_person_is_known_until_he_is_blocked_removed_or_expired(bus_server: BusServer) -> None:
    desk = await bus_server.connect("gateway")
    for service in ("channel-telegram", "agent"):
        people = await reader(bus_server, service)
        assert (await people.admission(ANNA, is_group=False, mentioned=False)).verdict is Verdict.OFFER_PAIRING
        await put(desk, person())
        assert (await within_a_second(people, Verdict.ADMIT)).trust is Trust.USER
        await put(desk, person(blocked=True))
        await within_a_second(people, Verdict.DROP)
        await put(desk, person())
        await within_a_second(people, Verdict.ADMIT)
        await desk.kv("access").delete(ANNA.key)
        await within_a_second(people, Verdict.OFFER_PAIRING)
        await put(desk, person(expires=datetime.now(UTC) + timedelta(seconds=0.3)))
        await within_a_second(people, Verdict.ADMIT)
        await within_a_second(people, Verdict.OFFER_PAIRING)
        await desk.kv("access").delete(ANNA.key)
        await within_a_second(people, Verdict.OFFER_PAIRING)


async def test_a_change_of_which_no_news_came_is_seen_within_a_second(bus_server: BusServer) -> None:
    desk = await bus_server.connect("gateway")
    people = People(await bus_server.connect("agent"))  # not started: it follows nothing
    await put(desk, person())
    await within_a_second(people, Verdict.ADMIT)
    await put(desk, person(blocked=True))
    await asyncio.sleep(FRESH_SECONDS)
    assert (await people.admission(ANNA, is_group=False, mentioned=False)).verdict is Verdict.DROP


async def test_policies_are_followed(bus_server: BusServer) -> None:
    desk, people = await bus_server.connect("gateway"), await reader(bus_server)
    assert await people.policy("telegram") == ChannelPolicy()
    opened = ChannelPolicy(dm=DmPolicy.OPEN, group=GroupPolicy.MENTION)
    await desk.kv("access").put(policy_key("telegram"), encode(opened))
    assert (await within_a_second(people, Verdict.ADMIT)).trust is Trust.GUEST
    assert await people.policy("telegram") == opened


async def test_a_damaged_store_makes_nobody_an_owner_and_closes_the_channel(bus_server: BusServer) -> None:
    """opencrust.md §15.7: the Rust original made the next sender the owner when its allowlist was unreadable."""
    desk = await bus_server.connect("gateway")
    bucket = desk.kv("access")
    strangers = (ANNA, PersonId(channel="telegram", account="bot", user="the next one"))
    for damage in (b"", b"{", b"null", b"\xff\xfe", b'{"v":2}', b'{"v":1,"role":"owner"}', b"[]" * 300):
        people = await reader(bus_server)
        await bucket.put(ANNA.key, damage)
        await bucket.put(policy_key("telegram"), damage)
        assert await people.policy("telegram") == CLOSED, damage
        for who in strangers:
            for is_group in (False, True):
                found = await people.admission(who, is_group=is_group, mentioned=True)
                assert (found.verdict, found.trust) == (Verdict.DROP, Trust.UNKNOWN), damage
        # a damaged record may have been a block: it is one, whatever the policy says
        await bucket.put(policy_key("telegram"), encode(ChannelPolicy(dm=DmPolicy.OPEN)))
        people = await reader(bus_server)
        assert (await people.admission(ANNA, is_group=False, mentioned=False)).verdict is Verdict.DROP, damage


async def test_an_owners_record_under_another_key_makes_nobody_an_owner(bus_server: BusServer) -> None:
    desk, people = await bus_server.connect("gateway"), await reader(bus_server)
    owner = PersonId(channel="telegram", account="bot", user="1")
    await desk.kv("access").put(ANNA.key, encode(person(owner, role=Role.OPERATOR)))
    found = await people.admission(ANNA, is_group=False, mentioned=False)
    assert (found.verdict, found.trust) == (Verdict.DROP, Trust.UNKNOWN)


async def test_while_the_store_is_missing_or_away_there_is_no_answer_rather_than_a_wrong_one(
    bus_server: BusServer,
) -> None:
    desk, provisioner = await bus_server.connect("gateway"), await bus_server.connect("provisioner")
    people = await reader(bus_server)
    await put(desk, person(role=Role.OPERATOR))
    assert (await within_a_second(people, Verdict.ADMIT)).trust is Trust.OWNER
    await provisioner.jetstream_manager().delete_stream("KV_access")
    await asyncio.sleep(FRESH_SECONDS)
    with pytest.raises(BusError):
        await people.admission(ANNA, is_group=False, mentioned=False)
    bus_server.stop()
    with pytest.raises(BusError):
        await people.look(ANNA)


async def test_the_same_user_id_on_two_channels_or_accounts_is_two_people(bus_server: BusServer) -> None:
    """opencrust.md §15.9."""
    desk = await bus_server.connect("gateway")
    others = (
        PersonId(channel="discord", account="bot", user="123"),
        PersonId(channel="telegram", account="another bot", user="123"),
    )
    await put(desk, person(role=Role.OPERATOR))
    people = await reader(bus_server, "agent")
    assert (await people.admission(ANNA, is_group=False, mentioned=False)).trust is Trust.OWNER
    for other in others:
        assert await people.look(other) is None
        assert (await people.admission(other, is_group=False, mentioned=False)).verdict is Verdict.OFFER_PAIRING


async def test_an_adapter_reads_the_people_of_its_own_channel_alone(bus_server: BusServer) -> None:
    people = await reader(bus_server)
    with pytest.raises(Denied):
        await people.look(PersonId(channel="discord", account="bot", user="123"))


async def test_a_reconnect_forgets_what_may_have_changed_meanwhile(bus_server: BusServer) -> None:
    desk, people = await bus_server.connect("gateway"), await reader(bus_server)
    await put(desk, person())
    await within_a_second(people, Verdict.ADMIT)
    bus_server.restart()
    await desk.wait_connected()
    async with asyncio.timeout(10):
        while True:
            try:
                await desk.kv("access").delete(ANNA.key)
                break
            except BusError:
                await asyncio.sleep(0.1)
        while True:
            try:
                await within_a_second(people, Verdict.OFFER_PAIRING)
                break
            except BusError:
                await asyncio.sleep(0.1)
