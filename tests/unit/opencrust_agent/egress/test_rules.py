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


@pytest.mark.parametrize(
    "path",
    [
        "/v1evil", "/v1.evil/x", "/v1%2fx", "/v1/..;/admin", "/v1/..;x=1/admin", "/v1/.;/x", "/v1/..%3b/admin",
        "/v1/%2e%2e/admin", "/v1/%2E./admin", "/v1/%252e%252e/admin", "/v1/%c0%ae%c0%ae/admin", "/v1/%5c..%5cadmin",
        "/v1/%u002e%u002e/x", "/v1/%2", "/v1/%zz", "/v1/.%09./x", "/v1/%ef%bc%8e%ef%bc%8e/x", "/v1/x%00.png",
        "/v1/a%ef%bc%8f..%ef%bc%8fb", "/v1//x", "/v1/.", "/v1/%0d%0aX: y",
    ],
)  # fmt: skip
@pytest.mark.parametrize("prefix", ["/v1", "/v1/"])
def test_a_path_that_some_server_reads_otherwise_is_refused(path: str, prefix: str) -> None:
    rule = HostRule("api.example.com", path=prefix)
    with pytest.raises(Refused):
        matching([rule], "GET", parse_url(f"https://api.example.com{path}"))


@pytest.mark.parametrize(
    ("prefix", "path"),
    [("/v1", "/v1"), ("/v1", "/v1/x"), ("/v1/", "/v1/x;y=1"), ("/", "/x"), ("/v1", "/v1/%C3%A4%20b"), ("/v1/", "/v1/")],
)
def test_a_path_below_the_prefix_passes(prefix: str, path: str) -> None:
    rule = HostRule("api.example.com", path=prefix)
    assert matching([rule], "GET", parse_url(f"https://api.example.com{path}")) == rule


@pytest.mark.parametrize("name", ["X-HTTP-Method-Override", "x-http-method", "X-Method-Override"])
def test_no_header_makes_another_method_of_it(name: str) -> None:
    with pytest.raises(Refused, match="cannot be set"):
        check_headers({name: "DELETE"})
