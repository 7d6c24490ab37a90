import pytest

from opencrust.access import ALL_SCOPES, Scope
from opencrust_gateway.errors import ApiError
from opencrust_gateway.permissions import OPERATIONS, ROUTES, Need, demand


def test_what_is_open_is_exactly_this() -> None:
    """Nothing may be added to this list without somebody reading this line."""
    assert {f"{route.method} {route.path}" for route in ROUTES if route.need is Need.NOTHING} == {
        "GET /healthz",
        "GET /login",
        "POST /login",
        "GET /login/{asset}",
        "GET /favicon.ico",
    }
    assert not any(need is Need.NOTHING for need in OPERATIONS.values())


def test_no_route_stands_twice() -> None:
    assert len({(route.method, route.path) for route in ROUTES}) == len(ROUTES)


@pytest.mark.parametrize("scope", Scope)
def test_a_scope_is_needed_as_such(scope: Scope) -> None:
    demand(scope, frozenset({scope}))
    with pytest.raises(ApiError) as refused:
        demand(scope, ALL_SCOPES - {scope})
    assert refused.value.status == 403
    assert scope.value in refused.value.message
