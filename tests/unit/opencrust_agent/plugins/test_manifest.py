"""plugin.toml: what is read, and what is refused with the field that is wrong."""

import pytest

from guests import manifest
from opencrust_agent.plugins.errors import PluginRefused
from opencrust_agent.plugins.manifest import read

HTTP = '[[http]]\nhost = "api.example.com"\nmethods = ["GET", "POST"]\npath_prefix = "/v1/"\n'


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (manifest(name="No Good"), "name"),
        (manifest(version="1.2"), "version"),
        (manifest(timeout_ms=100_000), "limits.timeout_ms"),
        (manifest(memory_mib=65), "limits.memory_mib"),
        (manifest(more="files = true\n"), "files"),
        (manifest().replace("0.1.0", "0.2.0"), "world"),
        (manifest(more='[[http]]\nhost = "*.com"\n'), "of two parts"),
        (manifest(more='[[http]]\nhost = "10.0.0.1"\n'), "http.0"),
        (manifest(more='[[http]]\nhost = "localhost"\n'), "http.0"),
        (manifest(more='[[http]]\nhost = "nas.local"\n'), "inside network"),
        (manifest(more='[[http]]\nhost = "Api.example.com"\n'), "http.0"),
        (
            manifest(more=HTTP + '[[credentials]]\nhandle = "x"\nkind = "bearer"\nhost = "evil.com"\n'),
            "no [[http]] rule",
        ),
        (
            manifest(more=HTTP + '[[credentials]]\nhandle = "x"\nkind = "bearer"\nhost = "api.example.com"\n'),
            "no [[http]] rule has its host, port and path",
        ),
        ("x = [", "not TOML"),
        ("a" * 40_000, "more than 32 KiB"),
    ],
)
def test_what_is_wrong_is_named(text: str, said: str) -> None:
    with pytest.raises(PluginRefused) as caught:
        read(text)
    assert said in str(caught.value)


def test_effects_follow_from_the_permissions_and_can_only_be_narrowed_by_name() -> None:
    assert read(manifest()).effects("any") == ("read",)
    assert read(manifest(more='[[http]]\nhost = "api.example.com"\n')).effects("any") == ("read",)
    writing = read(manifest(more=HTTP + '[tools.look]\neffects = ["read"]\n'))
    assert writing.effects("any") == ("read", "send")
    assert writing.effects("look") == ("read",)
    assert read(manifest(more="[kv]\nmax_kib = 4\n")).effects("any") == ("read", "write")


@pytest.mark.parametrize(("more", "fits"), [("", False), ("port = 8443\n", True)])
def test_a_credential_belongs_to_a_port(more: str, fits: bool) -> None:
    http = '[[http]]\nhost = "api.example.com"\nport = 8443\n'
    text = manifest(more=f'{http}[[credentials]]\nhandle = "x"\nkind = "bearer"\nhost = "api.example.com"\n{more}')
    if fits:
        assert read(text).credentials[0].port == 8443
    else:
        with pytest.raises(PluginRefused, match="port"):
            read(text)


def test_a_credential_of_v1_is_not_for_a_host_of_v10() -> None:
    text = '[[http]]\nhost = "a.example.com"\npath_prefix = "/v1"\n[[credentials]]\nhandle = "x"\nkind = "bearer"\n'
    with pytest.raises(PluginRefused, match="path"):
        read(manifest(more=text + 'host = "a.example.com"\npath_prefix = "/v10"\n'))
