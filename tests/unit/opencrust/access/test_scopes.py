import pytest
from hypothesis import given
from hypothesis import strategies as st

from opencrust.access.scopes import ALL_SCOPES, Scope, ScopeError, grant, parse_scopes

scope_sets = st.frozensets(st.sampled_from(list(Scope)))


def test_names_may_come_as_lists() -> None:
    assert parse_scopes(["chat,read", "admin"]) == {Scope.CHAT, Scope.READ, Scope.ADMIN}


def test_an_unknown_name_is_refused_and_named() -> None:
    with pytest.raises(ScopeError, match=r"'root'.*choose from chat, read"):
        parse_scopes(["chat", "root"])


@pytest.mark.parametrize("names", [[], [""], [" , "]])
def test_an_empty_list_never_means_all(names: list[str]) -> None:
    with pytest.raises(ScopeError, match="no scope given"):
        parse_scopes(names)


@given(wanted=scope_sets, held=scope_sets)
def test_what_is_granted_is_what_was_asked_and_never_more_than_is_held(
    wanted: frozenset[Scope], held: frozenset[Scope]
) -> None:
    """GHSA-4jpw-hj22-2xmc and its kin: a token that mints more than its holder has."""
    if wanted and wanted <= held:
        assert grant(wanted, held) == wanted
    else:
        with pytest.raises(ScopeError):
            grant(wanted, held)


def test_the_operator_may_grant_everything() -> None:
    assert grant(Scope, ALL_SCOPES) == ALL_SCOPES
