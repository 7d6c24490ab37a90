import io
import json
from collections.abc import Callable
from typing import Any

import pytest

from opencrust.config import Configuration
from opencrust_cli import vault
from opencrust_cli.home import Home

KEY = "sk-of-the-person-123"


@pytest.fixture
def stored(monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    """What went to the vault instead of into it: the vault has its own tests."""
    found: dict[str, bytes] = {}
    monkeypatch.setattr(vault, "store", lambda home, name, value: found.update({name: value}))
    return found


def test_a_key_goes_to_the_vault_and_only_its_name_into_the_file(
    home: Home, opencrust: Callable[..., Any], stored: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(f"{KEY}\n"))
    outcome = opencrust("providers", "add", "claude", "--kind", "anthropic", "--model", "m", "--key-stdin")
    assert outcome.code == 0, outcome.err
    assert stored == {"provider.claude.api_key": KEY.encode()}
    text = Configuration.path(home.path).read_text()
    assert '"vault:provider.claude.api_key"' in text
    assert KEY not in text + outcome.out + outcome.err


@pytest.mark.parametrize("text", ["", "\n", "two\x07bells\n", "ключ\n"])
def test_no_key_or_an_unlikely_one_changes_nothing(
    home: Home,
    opencrust: Callable[..., Any],
    stored: dict[str, bytes],
    monkeypatch: pytest.MonkeyPatch,
    text: str,
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(text))
    outcome = opencrust("providers", "add", "claude", "--kind", "anthropic", "--model", "m", "--key-stdin")
    assert outcome.code == 2
    assert stored == {}
    assert not Configuration.path(home.path).exists()


def test_the_newest_is_asked_first_unless_told_otherwise(home: Home, opencrust: Callable[..., Any]) -> None:
    for name, last in (("a", ()), ("b", ()), ("c", ("--last",))):
        assert opencrust("providers", "add", name, "--kind", "ollama", "--model", "m", *last).code == 0
    listed = json.loads(opencrust("providers", "list", "--json").out)["providers"]
    assert [provider["name"] for provider in listed] == ["b", "a", "c"]


def test_the_same_name_replaces(home: Home, opencrust: Callable[..., Any]) -> None:
    for model in ("old", "new"):
        opencrust("providers", "add", "a", "--kind", "ollama", "--model", model)
    assert [provider.model for provider in Configuration.load(home.path).providers] == ["new"]


def test_removing_one_and_one_that_is_not_there(home: Home, opencrust: Callable[..., Any]) -> None:
    opencrust("providers", "add", "a", "--kind", "demo")
    assert opencrust("providers", "remove", "b").code == 1
    assert opencrust("providers", "remove", "a").code == 0
    assert "demo model" in opencrust("providers", "list").out


def test_a_broken_file_is_told_and_not_overwritten(home: Home, opencrust: Callable[..., Any]) -> None:
    path = Configuration.path(home.path)
    path.parent.mkdir(parents=True)
    path.write_text("{ not json")
    outcome = opencrust("providers", "add", "a", "--kind", "demo")
    assert outcome.code == 1
    assert "config.json, line 1" in outcome.err
    assert path.read_text() == "{ not json"
