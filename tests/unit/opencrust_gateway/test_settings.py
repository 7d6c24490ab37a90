from pathlib import Path

import pytest

from opencrust.service import SettingsError
from opencrust_gateway.settings import GatewaySettings, from_environment


def read(**variables: str) -> GatewaySettings:
    return from_environment({f"OPENCRUST_GATEWAY_{name}": value for name, value in variables.items()})


def test_loopback_is_the_default_and_answers_to_loopback_names_alone() -> None:
    settings = read()
    assert (settings.host, settings.port, settings.scheme) == ("127.0.0.1", 3888, "http")
    assert settings.hosts == {"127.0.0.1:3888", "localhost:3888", "[::1]:3888"}
    assert settings.origins == {f"http://{host}" for host in settings.hosts}


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "2001:db8::1", "home.example", "::ffff:192.0.2.1"])
def test_a_wide_bind_is_refused(host: str) -> None:
    with pytest.raises(SettingsError, match=r"refusing to listen.*TLS_CERTIFICATE"):
        read(HOST=host)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.9.1", "::1", "localhost"])
def test_loopback_may_be_written_in_many_ways(host: str) -> None:
    assert read(HOST=host).loopback


def test_tls_a_named_proxy_or_a_published_port_make_it_safe() -> None:
    tls = read(HOST="192.0.2.1", TLS_CERTIFICATE="/c.pem", TLS_KEY="/k.pem")
    assert tls.certificate == Path("/c.pem")
    assert "https://192.0.2.1:3888" in tls.origins
    proxied = read(HOST="0.0.0.0", TRUSTED_PROXY="192.0.2.9", PUBLIC_URLS="https://crust.example")
    assert "crust.example" in proxied.hosts
    published = read(HOST="0.0.0.0", BEHIND_PUBLISHED_PORT="1", PUBLIC_URLS="http://127.0.0.1:9000")
    assert "127.0.0.1:9000" in published.hosts
    assert not any("0.0.0.0" in host for host in proxied.hosts | published.hosts)


@pytest.mark.parametrize(
    ("variables", "told"),
    [
        ({"TLS_CERTIFICATE": "/c.pem"}, "belong together"),
        ({"TRUSTED_PROXY": "proxy.example"}, "one IP address"),
        ({"TRUSTED_PROXY": "192.0.2.9"}, "https://"),
        ({"TRUSTED_PROXY": "192.0.2.9", "PUBLIC_URLS": "http://crust.example"}, "https://"),
        ({"PORT": "0"}, "1 to 65535"),
        ({"PORT": "65536"}, "1 to 65535"),
        ({"PORT": "３"}, "1 to 65535"),
        ({"BEHIND_PUBLISHED_PORT": "yes"}, "0 or 1"),
        ({"PUBLIC_URLS": "crust.example"}, "http"),
        ({"PUBLIC_URLS": "https://crust.example/path"}, "no path"),
        ({"PUBLIC_URLS": "https://crust.example:99999"}, "not a URL"),
        ({"PUBLIC_URLS": "javascript:alert(1)"}, "http"),
    ],
)
def test_a_wrong_setting_is_named(variables: dict[str, str], told: str) -> None:
    with pytest.raises(SettingsError, match=told):
        read(**variables)


def test_default_ports_are_left_out_as_browsers_do() -> None:
    assert {"https://a.example", "http://b.example"} <= read(
        PUBLIC_URLS="https://a.example:443/, http://b.example:80"
    ).origins
