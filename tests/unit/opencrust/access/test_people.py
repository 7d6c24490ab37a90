import itertools
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from opencrust.access.people import CLOSED, ChannelPolicy, DmPolicy, GroupPolicy, Person, PersonId, Role, Verdict, admit
from opencrust.contracts import Trust

NOW = datetime(2026, 1, 1, tzinfo=UTC)
ANNA = PersonId(channel="telegram", account="bot", user="123")
TRUST = {Role.OPERATOR: Trust.OWNER, Role.USER: Trust.USER, Role.GUEST: Trust.GUEST}
ids = st.text(min_size=1, max_size=20).filter(lambda text: text.isprintable())


def person(role: Role = Role.USER, *, blocked: bool = False, expires: datetime | None = None) -> Person:
    return Person(id=ANNA, role=role, blocked=blocked, since=NOW, expires=expires)


POLICIES = [ChannelPolicy(dm=dm, group=group) for dm, group in itertools.product(DmPolicy, GroupPolicy)]
GONE = [person(Role.OPERATOR, expires=NOW), person(Role.USER, expires=NOW - timedelta(days=1))]
SITUATIONS = [(False, False), (False, True), (True, False), (True, True)]  # (in a group, mentioned)


@pytest.mark.parametrize("policy", POLICIES, ids=lambda policy: f"{policy.dm}-{policy.group}")
@pytest.mark.parametrize(("is_group", "mentioned"), SITUATIONS)
def test_the_whole_table(policy: ChannelPolicy, is_group: bool, mentioned: bool) -> None:
    def decided(who: Person | None) -> tuple[Verdict, Trust]:
        found = admit(policy, who, is_group=is_group, mentioned=mentioned, now=NOW)
        assert found.reason
        return found.verdict, found.trust

    drop, guest = (Verdict.DROP, Trust.UNKNOWN), (Verdict.ADMIT, Trust.GUEST)
    for role in Role:
        assert decided(person(role, blocked=True)) == drop  # whatever the policy
        heard = not is_group or (policy.group is not GroupPolicy.DISABLED and mentioned)
        assert decided(person(role)) == ((Verdict.ADMIT, TRUST[role]) if heard else drop)
    if is_group:
        stranger = guest if policy.group is GroupPolicy.OPEN and mentioned else drop
    else:
        offered = (Verdict.OFFER_PAIRING, Trust.UNKNOWN)
        stranger = {DmPolicy.PAIRING: offered, DmPolicy.ALLOWLIST: drop, DmPolicy.OPEN: guest}[policy.dm]
    for nobody in (None, *GONE):
        assert decided(nobody) == stranger


def test_nobody_is_offered_a_code_in_a_group_and_nobody_is_let_in_where_it_is_closed() -> None:
    for policy, mentioned in itertools.product([*POLICIES, CLOSED], (False, True)):
        assert admit(policy, None, is_group=True, mentioned=mentioned, now=NOW).verdict is not Verdict.OFFER_PAIRING
    for is_group, mentioned in SITUATIONS:
        assert admit(CLOSED, None, is_group=is_group, mentioned=mentioned, now=NOW).verdict is Verdict.DROP


def test_somebody_expires_at_the_moment_that_was_said() -> None:
    until = person(expires=NOW)
    assert until.valid(NOW - timedelta(microseconds=1))
    assert not until.valid(NOW)


@given(account=ids, user=ids, other_account=ids, other_user=ids)
def test_keys_are_the_same_for_the_same_person_alone(
    account: str, user: str, other_account: str, other_user: str
) -> None:
    one = PersonId(channel="telegram", account=account, user=user)
    other = PersonId(channel="telegram", account=other_account, user=other_user)
    assert (one.key == other.key) == (one == other)
    assert one.key != PersonId(channel="discord", account=account, user=user).key
    assert one.key.startswith("telegram.person.")


def test_the_parts_of_an_identity_do_not_run_into_each_other() -> None:
    assert (
        PersonId(channel="telegram", account="a", user="bc").key
        != PersonId(channel="telegram", account="ab", user="c").key
    )


@pytest.mark.parametrize(
    "fields", [{"channel": "a.b"}, {"channel": "*"}, {"channel": ""}, {"user": ""}, {"account": ""}]
)
def test_what_is_no_identity_is_refused(fields: dict[str, str]) -> None:
    with pytest.raises(ValidationError):
        PersonId.model_validate({"channel": "telegram", "account": "bot", "user": "1", **fields})
