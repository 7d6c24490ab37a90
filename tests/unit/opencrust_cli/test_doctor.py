import json
from collections.abc import Callable
from typing import Any

import pytest

from opencrust.identity.issuance import Issuer
from opencrust_cli.home import Home
from opencrust_vault import opening
from opencrust_vault.paths import Paths


def findings(opencrust: Callable[..., Any]) -> tuple[int, dict[str, dict[str, Any]]]:
    outcome = opencrust("doctor", "--json")
    return outcome.code, {finding["name"]: finding for finding in json.loads(outcome.out)["findings"]}


def test_an_empty_home_is_nothing_bad(opencrust: Callable[..., Any]) -> None:
    code, found = findings(opencrust)
    assert code == 0
    assert found["home"]["ok"] is None


def test_what_others_may_read_is_bad_and_named(home: Home, opencrust: Callable[..., Any]) -> None:
    Issuer(home.path).ensure(["agent"])
    assert findings(opencrust)[0] == 0
    (home.identity("agent") / "key.pem").chmod(0o644)
    code, found = findings(opencrust)
    assert code == 1
    assert "identity/agent/key.pem" in found["modes"]["detail"]


def test_a_broken_configuration_is_bad(home: Home, opencrust: Callable[..., Any]) -> None:
    home.require_own()
    (home.path / "config").mkdir(mode=0o700)
    (home.path / "config" / "config.json").write_text("{}")
    (home.path / "config" / "config.json").chmod(0o600)
    assert findings(opencrust)[0] == 0
    (home.path / "config" / "config.json").write_text('{"colour": 1}')
    code, found = findings(opencrust)
    assert code == 1
    assert "colour" in found["configuration"]["detail"]


def test_a_broken_certificate_is_bad(home: Home, opencrust: Callable[..., Any]) -> None:
    Issuer(home.path).ensure(["agent"])
    (home.identity("agent") / "cert.pem").write_bytes(b"")
    code, found = findings(opencrust)
    assert code == 1
    assert found["certificates"]["ok"] is False
    assert "agent" in found["certificates"]["detail"]


def test_the_vault_is_looked_at_too(home: Home, opencrust: Callable[..., Any]) -> None:
    home.require_own()
    assert findings(opencrust)[1]["vault"]["ok"] is None, "there is none yet"
    paths = Paths.of_home(home.path, {})
    opening.open_unattended(paths, {}).close()
    code, found = findings(opencrust)
    assert code == 0
    assert found["vault"]["ok"] is True
    assert "beside the vault" in found["vault, key file"]["detail"]
    raw = bytearray(paths.file.read_bytes())
    raw[3] ^= 1
    paths.file.write_bytes(raw)
    code, found = findings(opencrust)
    assert code == 1
    assert found["vault"]["ok"] is False


def test_the_vaults_record_is_verified_by_a_short_command(
    home: Home, opencrust: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("opencrust_vault.hygiene.harden_process", lambda: None)  # it would last, for the test process
    paths = Paths.of_home(home.path, {})
    opening.open_unattended(paths, {}).close()
    outcome = opencrust("audit", "verify")
    assert (outcome.code, "whole" in outcome.out) == (0, True)
    lines = paths.audit.read_bytes().splitlines(keepends=True)
    paths.audit.write_bytes(b"".join(lines[1:]))
    outcome = opencrust("audit", "verify", "--json")
    assert outcome.code == 1
    assert json.loads(outcome.out)["findings"]
