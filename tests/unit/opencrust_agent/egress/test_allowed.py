"""What an operator allows, and what even he does not allow by accident."""

import ipaddress

import pytest

from opencrust_agent.egress import Allowed, Refused, parse_url


def check(allowed: Allowed, url: str, address: str = "") -> None:
    target = parse_url(url)
    allowed.check_target(target)
    if address:
        allowed.check_address(target, ipaddress.ip_address(address))


@pytest.mark.parametrize(
    ("entry", "url", "address"),
    [
        ("nas.lan", "http://nas.lan/", "192.168.1.10"),
        ("nas.lan:5000", "http://nas.lan:5000/", "192.168.1.10"),
        ("nas", "http://nas/", "10.0.0.2"),
        ("192.168.1.10", "http://192.168.1.10:8080/", "192.168.1.10"),
        ("192.168.1.0/24", "http://192.168.1.77/", "192.168.1.77"),
        ("192.168.1.0/24:8123", "http://ha.example.org:8123/", "192.168.1.77"),
        ("127.0.0.1:8123", "http://127.0.0.1:8123/", "127.0.0.1"),
        ("[fd00::1]:8080", "http://[fd00::1]:8080/", "fd00::1"),
        ("64:ff9b::/96", "https://example.org/", "64:ff9b::808:808"),
        ("localhost:8123", "http://localhost:8123/", "127.0.0.1"),
    ],
)
def test_what_the_operator_allows_passes_and_is_refused_without_him(entry: str, url: str, address: str) -> None:
    check(Allowed([entry]), url, address)
    with pytest.raises(Refused):
        check(Allowed(), url, address)


@pytest.mark.parametrize(
    ("entry", "url", "address"),
    [
        ("nas.lan", "http://nas.lan/", "127.0.0.1"),  # whoever answers for the name chose that
        ("nas.lan", "http://nas.lan/", "169.254.169.254"),
        ("nas.lan:5000", "http://nas.lan/", "192.168.1.10"),
        ("nas.lan", "http://x.nas.lan/", "192.168.1.10"),
        ("127.0.0.1:8123", "http://127.0.0.1:4222/", "127.0.0.1"),
        ("192.168.1.0/24", "http://192.168.2.1/", "192.168.2.1"),
        ("192.168.1.0/24:8123", "http://ha.example.org:8123/", "127.0.0.1"),
        ("localhost:8123", "http://localhost:8124/", "127.0.0.1"),
    ],
)
def test_one_permission_is_no_other(entry: str, url: str, address: str) -> None:
    with pytest.raises(Refused):
        check(Allowed([entry]), url, address)


@pytest.mark.parametrize(
    "entry", ["", "127.0.0.1", "http://nas.lan/", "user@nas", "10.0.0.0/33", "*.lan", "a b", "1.2.3"]
)
def test_an_entry_that_means_nothing_is_named(entry: str) -> None:
    with pytest.raises(ValueError, match=r"no host name|name the port"):
        Allowed([entry])
