from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from opencrust.access import (
    ALL_SCOPES,
    MalformedToken,
    Scope,
    ScopeError,
    TokenKind,
    TokenRecord,
    is_token_id,
    lifetime,
    mint_bearer,
    mint_session,
    mint_ticket,
    parse_id,
    revoke,
    verify,
)
from opencrust.access.tokens import minted_by

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
SECOND = timedelta(seconds=1)


def bearer(expires: datetime | None = None) -> tuple[str, TokenRecord]:
    return mint_bearer("laptop", {Scope.CHAT}, expires, held=ALL_SCOPES, now=NOW)


def test_the_minted_text_verifies_against_its_stored_record() -> None:
    text, record = bearer()
    stored = TokenRecord.model_validate_json(record.model_dump_json())
    assert stored == record
    assert parse_id(text) == record.id
    assert verify(text, stored, kind=TokenKind.BEARER, now=NOW)


def test_the_record_does_not_contain_the_secret() -> None:
    text, record = bearer()
    secret = text.rsplit("_", 1)[1]
    assert secret not in record.model_dump_json()
    assert secret not in repr(record)
    assert record.digest not in repr(record)


def test_ids_and_secrets_are_long_and_all_different() -> None:
    texts = {bearer()[0] for _ in range(500)}
    assert len(texts) == len({parse_id(text) for text in texts}) == 500
    assert all(len(text) == 3 + 16 + 1 + 32 for text in texts)


@given(position=st.integers(0, 51), replacement=st.sampled_from("abcdefghijklmnopqrstuvwxyz234567"))
def test_a_token_with_one_wrong_character_is_refused(position: int, replacement: str) -> None:
    text, record = bearer()
    wrong = text[:position] + replacement + text[position + 1 :]
    assert verify(wrong, record, kind=TokenKind.BEARER, now=NOW) is (wrong == text)


def test_the_right_secret_under_another_id_is_refused() -> None:
    text, record = bearer()
    _, other = bearer()
    moved = other.model_copy(update={"digest": record.digest})
    secret = text.rsplit("_", 1)[1]
    assert not verify(f"oc_{other.id}_{secret}", moved, kind=TokenKind.BEARER, now=NOW)


def test_no_record_no_entry() -> None:
    assert not verify(bearer()[0], None, kind=TokenKind.BEARER, now=NOW)


@pytest.mark.parametrize("text", ["", "oc_", "\ud800", "é" * 10_000])
def test_any_text_may_be_shown_without_harm(text: str) -> None:
    assert not verify(text, bearer()[1], kind=TokenKind.BEARER, now=NOW)


def test_no_kind_is_accepted_in_the_place_of_another() -> None:
    ticket = mint_ticket({Scope.CHAT}, held=ALL_SCOPES, now=NOW)
    minted = {
        TokenKind.BEARER: bearer(),
        TokenKind.TICKET: ticket,
        TokenKind.SESSION: mint_session(ticket[1], now=NOW),
    }
    for wanted in TokenKind:
        for kind, (text, record) in minted.items():
            assert verify(text, record, kind=wanted, now=NOW) is (wanted is kind)


def test_a_token_ends_at_its_expiry() -> None:
    text, record = bearer(NOW + 5 * SECOND)
    assert verify(text, record, kind=TokenKind.BEARER, now=NOW + 4 * SECOND)
    assert not verify(text, record, kind=TokenKind.BEARER, now=NOW + 5 * SECOND)


def test_a_revoked_token_is_refused_and_keeps_its_first_time() -> None:
    text, record = bearer()
    revoked = revoke(record, now=NOW + SECOND)
    assert not verify(text, revoked, kind=TokenKind.BEARER, now=NOW + SECOND)
    assert revoke(revoked, now=NOW + 9 * SECOND).revoked == NOW + SECOND


def test_a_ticket_lives_ten_minutes() -> None:
    text, record = mint_ticket(ALL_SCOPES, held=ALL_SCOPES, now=NOW)
    assert verify(text, record, kind=TokenKind.TICKET, now=NOW + 599 * SECOND)
    assert not verify(text, record, kind=TokenKind.TICKET, now=NOW + 600 * SECOND)


def test_a_session_inherits_exactly_its_ticket() -> None:
    _, ticket = mint_ticket({Scope.READ}, held=ALL_SCOPES, owner="anna", now=NOW)
    _, session = mint_session(ticket, now=NOW)
    assert (session.scopes, session.owner, session.parent) == ({Scope.READ}, "anna", ticket.id)
    with pytest.raises(ValueError, match="not from a session"):
        mint_session(session, now=NOW)


def test_more_than_the_minter_holds_is_refused() -> None:
    with pytest.raises(ScopeError, match="admin"):
        mint_bearer("x", {Scope.CHAT, Scope.ADMIN}, None, held={Scope.CHAT})
    with pytest.raises(ScopeError, match="admin"):
        mint_ticket({Scope.ADMIN}, held={Scope.CHAT})


def test_a_token_cannot_be_born_dead_or_nameless() -> None:
    with pytest.raises(ValueError, match="already passed"):
        bearer(NOW)
    with pytest.raises(ValidationError):
        mint_bearer("", {Scope.CHAT}, None, held=ALL_SCOPES)


@pytest.mark.parametrize(
    "text",
    ["", "oc", "Bearer x", "oc_aaaaaaaaaaaaaaaa_", "oc_AAAAAAAAAAAAAAAA_" + "a" * 32, " " + "oc_" + "a" * 16],
)
def test_what_cannot_be_a_token_is_refused_without_being_repeated(text: str) -> None:
    with pytest.raises(MalformedToken) as caught:
        parse_id(text)
    assert len(text) < 10 or text not in str(caught.value)


def test_a_newline_at_the_end_is_not_overlooked() -> None:
    with pytest.raises(MalformedToken):
        parse_id(bearer()[0] + "\n")


@pytest.mark.parametrize(
    "change", [{"scopes": []}, {"scopes": ["root"]}, {"owner": "../x"}, {"v": 2}, {"digest": "00"}]
)
def test_a_damaged_record_is_refused_as_a_whole(change: dict[str, object]) -> None:
    damaged = {**bearer()[1].model_dump(mode="json"), **change}
    with pytest.raises(ValidationError):
        TokenRecord.model_validate(damaged)


def test_a_programs_token_makes_nothing_that_outlives_it_and_a_session_does() -> None:
    soon, late = NOW + timedelta(hours=1), NOW + timedelta(days=1)
    for wanted in (None, late):
        assert lifetime(wanted, kind=TokenKind.BEARER, ends=soon) == soon
        assert lifetime(wanted, kind=TokenKind.SESSION, ends=soon) == wanted
        assert lifetime(wanted, kind=TokenKind.BEARER, ends=None) == wanted
    assert lifetime(soon, kind=TokenKind.BEARER, ends=late) == soon


def test_what_programs_minted_is_found_and_what_sessions_minted_is_not() -> None:
    _, program = mint_bearer("program", ALL_SCOPES, None, held=ALL_SCOPES, now=NOW)
    _, session = mint_session(mint_ticket(ALL_SCOPES, held=ALL_SCOPES, now=NOW)[1], now=NOW)
    _, child = mint_bearer("child", ALL_SCOPES, None, held=ALL_SCOPES, parent=program.id, now=NOW)
    _, grandchild = mint_bearer("grandchild", ALL_SCOPES, None, held=ALL_SCOPES, parent=child.id, now=NOW)
    _, kept = mint_bearer("kept", ALL_SCOPES, None, held=ALL_SCOPES, parent=session.id, now=NOW)
    records = [program, session, child, grandchild, kept]
    assert minted_by([program, session], records) == [child]
    assert minted_by([child], records) == [grandchild]
    assert minted_by([], records) == []


@pytest.mark.parametrize(
    "text", ["", "a" * 15, "a" * 17, "A" * 16, "a" * 15 + "1", "a" * 15 + ".", "*" * 16, "aaaaaaaaaaaaaaa\n"]
)
def test_what_is_no_id_of_a_token_is_told(text: str) -> None:
    assert not is_token_id(text)
    assert is_token_id("abcdefgh234567ab")
