import pytest

from opencrust.access.directory import followed, read_person, read_policy
from opencrust.access.people import CLOSED, ChannelPolicy, DmPolicy, Person, PersonId, Role
from opencrust.contracts import encode
from opencrust.contracts.messages import now

ANNA = PersonId(channel="telegram", account="bot", user="123")
BERT = PersonId(channel="telegram", account="bot", user="456")


def test_an_adapter_follows_its_own_channel_and_the_others_all() -> None:
    assert followed("channel-telegram") == "evt.access.telegram.>"
    assert followed("agent") == followed("gateway") == "evt.access.*.>"


def test_a_record_is_read_as_it_was_written() -> None:
    record = Person(id=ANNA, role=Role.OPERATOR, since=now())
    assert read_person(encode(record), ANNA) == record
    policy = ChannelPolicy(dm=DmPolicy.OPEN)
    assert read_policy(encode(policy), "telegram.policy").dm is DmPolicy.OPEN


@pytest.mark.parametrize("data", [b"", b"{}", b"null", b"\xff", b'{"v":1}', b'{"v":9}', b'{"v":1,"role":"operator"}'])
def test_what_is_damaged_is_blocked_and_closed(data: bytes) -> None:
    found = read_person(data, ANNA)
    assert (found.id, found.blocked, found.role) == (ANNA, True, Role.GUEST)
    assert read_policy(data, "telegram.policy") == CLOSED


def test_a_record_of_somebody_else_is_blocked() -> None:
    found = read_person(encode(Person(id=BERT, role=Role.OPERATOR, since=now())), ANNA)
    assert (found.id, found.blocked) == (ANNA, True)
