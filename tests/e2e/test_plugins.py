"""A plugin's life as a person has it: `opencrust plugins …` against a house that runs."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from guests import binary, guest, manifest
from house import House


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    with House(tmp_path / "home") as house:
        yield house


def refused(house: House, *arguments: str) -> str:
    """A command that must fail; what it says."""
    with pytest.raises(RuntimeError) as caught:
        house.run(*arguments)
    assert "Traceback" not in str(caught.value)
    return str(caught.value)


def test_signed_installed_upgraded_gone_back_disabled_removed(house: House, tmp_path: Path) -> None:
    folder = tmp_path / "echo"
    folder.mkdir()
    (folder / "plugin.wasm").write_bytes(binary(guest()))
    (folder / "plugin.toml").write_text(manifest(name="echo"))
    ours, theirs = str(tmp_path / "ours.pem"), str(tmp_path / "theirs.pem")
    house.run("plugins", "sign", str(folder), "--key", ours)
    assert "there is nobody to ask: add --yes" in refused(house, "plugins", "install", str(folder))
    said = house.run("plugins", "install", str(folder), "--yes")
    assert "Nobody vouches for this key" in said
    assert said.endswith("echo 1.0.0 is installed.\n")
    assert json.loads(house.run("plugins", "call", "echo", '{"text": "hi"}')) == {
        "tool": "echo",
        "arguments": {"text": "hi"},
    }
    (folder / "plugin.toml").write_text(manifest(name="echo", version="1.1.0"))
    house.run("plugins", "sign", str(folder), "--key", theirs)
    assert "add --accept-new-signer" in refused(house, "plugins", "install", str(folder), "--yes")
    house.run("plugins", "sign", str(folder), "--key", ours)
    assert "signed the installed version too" in house.run("plugins", "install", str(folder), "--yes")
    assert house.run("plugins", "rollback", "echo") == "echo is back at version 1.0.0.\n"
    house.run("plugins", "disable", "echo")
    assert "plugins enable echo" in refused(house, "plugins", "call", "echo", "{}")
    assert "echo 1.0.0  disabled" in house.run("plugins", "list")
    house.run("plugins", "remove", "echo")
    assert house.run("plugins", "list") == "No plugin is installed.\n"
