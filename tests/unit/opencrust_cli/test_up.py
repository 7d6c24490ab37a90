from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from opencrust_cli import up
from opencrust_cli.home import Home


@pytest.mark.parametrize("name", ["OPENCRUST_VAULT_KEY", "OPENCRUST_VAULT_PASSPHRASE", "OPENCRUST_UNLOCK_SECRET"])
def test_an_unlock_key_in_the_environment_is_refused_before_anything_starts(
    home: Home, opencrust: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv(name, "swordfish")
    outcome = opencrust("up", "--detach")
    assert outcome.code == 1
    assert name in outcome.err
    assert "swordfish" not in outcome.err + outcome.out
    assert not home.path.exists()


def test_a_key_file_that_is_not_there_is_named(
    home: Home, opencrust: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("OPENCRUST_VAULT_KEY_FILE", str(tmp_path / "usb" / "vault.key"))
    outcome = opencrust("up", "--detach")
    assert outcome.code == 1
    assert "usb/vault.key" in outcome.err
    assert not home.path.exists()


def test_where_the_key_lies_reaches_the_supervisor_as_an_absolute_path(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OPENCRUST_VAULT_KEY_FILE", "vault.key")
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    environment = up._environment()
    assert environment["OPENCRUST_VAULT_KEY_FILE"] == str(tmp_path / "vault.key")
    assert "CREDENTIALS_DIRECTORY" not in environment
