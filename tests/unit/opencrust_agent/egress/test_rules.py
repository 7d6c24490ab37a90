"""The URL table of the plugin research (38 cases), for a grant of two hosts; and headers."""

import pytest

from opencrust_agent.egress import HostRule, Refused, check_headers, matching, parse_url

GRANT = (
    HostRule("api.github.com", methods=frozenset({"GET", "POST"}), path="/repos/"),
    HostRule("*.example.com"),
)
ALLOWED = ["https://api.github.com/repos/a/b", "https://API.GitHub.com/repos/a", "https://a.example.com/"]
DENIED = [
    "http://api.github.com/repos/a",
    "https://api.github.com:8443/repos/a",
    "https://api.github.com/user",
    "https://api.github.com/repos/../user",
    "https://api.github.com/repos/%2e%2e/user",
    "https://api.github.com/repos/..%2fuser",
    "https://api.github.com/repos/%252e%252e/user",
    "https://api.github.com//repos/a",
    "https://api.github.com@evil.com/repos/",
    "https://evil.com#@api.github.com/repos/",
    "https://evil.com\\@api.github.com/repos/",
    "https://api.github.com.evil.com/repos/",
    "https://api.github.com./repos/a",
    "https://xapi.github.com/repos/a",
    "https://127.0.0.1/repos/",
    "https://2130706433/",
    "https://0x7f.1/",
    "https://[::1]/",
    "https://localhost/",
    "https://a.b.example.com/",
    "https://example.com/",
    "https://api.github.com/repos/a\r\nX: y",
    "https://аpi.github.com/repos/a",
    "file:///etc/passwd",
    "https://a.example.com/?x=" + "A" * 5000,
]
HEADERS = [
    {"Authorization": "Bearer x"},
    {"Host": "evil.com"},
    {"X-A": "b\r\nHost: evil"},
    {"Cookie": "a=b"},
    {"Transfer-Encoding": "chunked"},
    {"Content-Length": "5"},
    {"X-Forwarded-For": "127.0.0.1"},
    {"Proxy-Connection": "close"},
    {"Metadata-Flavor": "Google"},
    {"bad name": "x"},
    {"X-A": "ü"},
]


@pytest.mark.parametrize("url", ALLOWED)
def test_the_grant(url: str) -> None:
    assert matching(GRANT, "GET", parse_url(url)) in GRANT


@pytest.mark.parametrize("url", DENIED)
def test_everything_else_is_denied(url: str) -> None:
    with pytest.raises(Refused):
        matching(GRANT, "GET", parse_url(url))


@pytest.mark.parametrize("method", ["DELETE", "GET ", "get", "PUT"])
def test_methods_are_named(method: str) -> None:
    with pytest.raises(Refused, match="method"):
        matching(GRANT, method, parse_url(ALLOWED[0]))


@pytest.mark.parametrize("headers", HEADERS)
def test_headers_that_carry_authority_or_break_the_request(headers: dict[str, str]) -> None:
    with pytest.raises(Refused):
        check_headers(headers)


def test_other_headers_pass() -> None:
    check_headers({"Accept": "application/json", "X-Api-Version": "2022-11-28", "Content-Type": "application/json"})
