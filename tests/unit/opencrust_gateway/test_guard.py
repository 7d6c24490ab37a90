import pytest

from opencrust_gateway import guard
from opencrust_gateway.errors import ApiError

OURS = frozenset({"127.0.0.1:3888", "localhost:3888"})
ORIGINS = frozenset({f"http://{host}" for host in OURS})


@pytest.mark.parametrize("shown", [["127.0.0.1:3888"], ["LocalHost:3888"]])
def test_our_own_names(shown: list[str]) -> None:
    guard.check_host(shown, OURS)


@pytest.mark.parametrize(
    "shown", [[], [""], ["127.0.0.1"], ["127.0.0.1:3888."], ["evil:3888"], ["127.0.0.1:3888", "127.0.0.1:3888"]]
)
def test_any_other_name_is_refused(shown: list[str]) -> None:
    with pytest.raises(ApiError) as refused:
        guard.check_host(shown, OURS)
    assert refused.value.status == 403


@pytest.mark.parametrize(
    ("shown", "site", "navigation", "allowed"),
    [
        ([], "", False, True),
        (["http://127.0.0.1:3888"], "same-origin", False, True),
        ([], "none", False, True),
        ([], "cross-site", True, True),
        ([], "same-site", True, True),
        ([], "cross-site", False, False),
        ([], "same-site", False, False),
        (["http://127.0.0.1:3888"], "same-site", False, False),
        (["http://127.0.0.1:3889"], "", False, False),
        (["https://127.0.0.1:3888"], "", False, False),
        (["null"], "", False, False),
        ([""], "", False, False),
        (["http://127.0.0.1:3888", "http://127.0.0.1:3888"], "", False, False),
        (["https://evil.example"], "cross-site", True, False),
    ],
)
def test_where_a_request_may_come_from(shown: list[str], site: str, navigation: bool, allowed: bool) -> None:
    def check() -> None:
        guard.check_origin(shown, site, allowed=ORIGINS, navigation=navigation)

    if allowed:
        check()
    else:
        with pytest.raises(ApiError):
            check()


def test_a_cookie_needs_an_origin_to_change_anything() -> None:
    guard.check_cookie_use(["http://127.0.0.1:3888"], changes=True)
    guard.check_cookie_use([], changes=False)
    with pytest.raises(ApiError):
        guard.check_cookie_use([], changes=True)


def test_the_policy_has_no_inline_code_and_no_foreign_source() -> None:
    assert "unsafe" not in guard.CONTENT_POLICY
    assert "http" not in guard.CONTENT_POLICY
    assert "*" not in guard.CONTENT_POLICY
