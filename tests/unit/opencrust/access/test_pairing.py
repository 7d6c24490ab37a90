from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opencrust.access.pairing import (
    LOCK,
    Invite,
    Request,
    Stretched,
    Tries,
    blocked,
    joined,
    locator,
    matching,
    new_code,
    parse_code,
    shown,
)
from opencrust.access.people import Person, PersonId, Role

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
ANNA = PersonId(channel="telegram", account="bot", user="123")
SALT = bytes(16)
CODES = st.text("0123456789ABCDEFGHJKMNPQRSTVWXYZ", min_size=8, max_size=8)


def test_a_code_has_forty_random_bits_and_all_of_crockfords_symbols() -> None:
    codes = [new_code() for _ in range(2_000)]
    assert len(set(codes)) == len(codes)
    assert all(len(code) == 8 for code in codes)
    assert set("".join(codes)) == set("0123456789ABCDEFGHJKMNPQRSTVWXYZ")


@given(code=CODES)
def test_a_code_reads_back_as_people_type_it(code: str) -> None:
    typed = shown(code)
    assert len(typed) == 9
    for variant in (typed, typed.lower(), f" {typed}\n", typed.replace("-", " "), typed.replace("-", "–"), code):
        assert parse_code(variant) == code
    assert parse_code(typed.replace("1", "l").replace("0", "o")) == code
    assert parse_code(typed.replace("1", "I").replace("0", "O")) == code


@given(text=st.text(max_size=80))
def test_whatever_somebody_types_is_a_code_or_none(text: str) -> None:
    code = parse_code(text)
    assert code is None or parse_code(shown(code)) == code


@pytest.mark.parametrize("text", ["", "ABCD", "ABCD-EFGU", "ABCD-EFGH-J", "ABCD_EFGH", "АBCD-EFGH", "ABCD-EFG\u0661"])
def test_what_cannot_be_a_code_is_none(text: str) -> None:
    assert parse_code(text) is None


def test_a_digest_is_bound_to_purpose_channel_account_code_and_salt() -> None:
    stretched = Stretched.of("ABCDEFGH", SALT)
    digests = [
        stretched.bound("invite", "telegram", "bot"),
        stretched.bound("request", "telegram", "bot"),
        stretched.bound("invite", "discord", "bot"),
        stretched.bound("invite", "telegram", "bo"),
        stretched.bound("invite", "telegram", None),
        stretched.bound("invite", "telegram", ""),
        Stretched.of("ABCDEFGJ", SALT).bound("invite", "telegram", "bot"),
        Stretched.of("ABCDEFGH", b"x" * 16).bound("invite", "telegram", "bot"),
    ]
    assert len(set(digests)) == len(digests)
    assert len({locator(digest) for digest in digests}) == len(digests)
    assert digests[0] == Stretched.of("ABCDEFGH", SALT).bound("invite", "telegram", "bot")
    assert "ABCDEFGH" not in repr(stretched)


def test_no_repr_shows_a_digest() -> None:
    digest = "ab" * 32
    request = Request(person=ANNA, digest=digest, created=NOW, expires=NOW)
    invite = Invite(channel="telegram", digest=digest, created=NOW, expires=NOW)
    assert digest not in repr(request)
    assert digest not in repr(invite)


def test_a_request_is_found_by_its_code_on_its_own_account_alone() -> None:
    stretched = Stretched.of("ABCDEFGH", SALT)
    digest = stretched.bound("request", "telegram", "bot")
    request = Request(person=ANNA, digest=digest, created=NOW, expires=NOW)
    other = request.model_copy(update={"digest": "00" * 32})
    copied = request.model_copy(update={"person": PersonId(channel="telegram", account="other", user="123")})
    assert matching([other, request], stretched, "telegram", "bot") == request
    assert matching([other], stretched, "telegram", "bot") is None
    assert matching([request], stretched, "telegram", "other") is None
    assert matching([copied], stretched, "telegram", "bot") is None  # a digest copied to another account's record
    assert matching([request], stretched, "discord", "bot") is None


def test_tries_count_within_an_hour() -> None:
    tries = Tries(count=0, since=NOW)
    for expected in range(1, 6):
        tries = tries.one_more(NOW)
        assert tries.counted(NOW) == expected
    assert tries.counted(NOW + LOCK - timedelta(seconds=1)) == 5
    assert tries.counted(NOW + LOCK) == 0
    assert tries.one_more(NOW + LOCK).count == 1


def person(role: Role, **changes: object) -> Person:
    return Person(id=ANNA, role=role, name="Anna", since=NOW).model_copy(update=changes)


def join(existing: Person | None, role: Role = Role.USER) -> Person:
    return joined(existing, ANNA, role=role, name="hacker", by="somebody", until=None, now=NOW)


def test_who_joins_gets_the_role_and_keeps_the_more_that_he_has() -> None:
    assert (join(None).role, join(None).name, join(None).approved_by) == (Role.USER, "hacker", "somebody")
    assert join(person(Role.OPERATOR)) == person(Role.OPERATOR)
    assert join(person(Role.GUEST)).role is Role.USER
    assert join(person(Role.GUEST)).name == "Anna"


def test_an_expired_or_blocked_operator_who_joins_again_is_no_operator() -> None:
    gone = person(Role.OPERATOR, expires=NOW)
    assert join(gone).role is Role.USER
    assert join(person(Role.OPERATOR, blocked=True)).role is Role.USER


def test_who_is_blocked_is_not_valid_whatever_he_was() -> None:
    for existing in (None, person(Role.OPERATOR), person(Role.GUEST, expires=NOW)):
        assert not blocked(existing, ANNA, name="", by="somebody", now=NOW).valid(NOW)
