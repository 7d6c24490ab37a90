"""`opencrust plugins` without a bus: packages, scaffolds, signatures, what is shown."""

import argparse
import re
import tarfile
import zipfile
from pathlib import Path

import pytest

from guests import binary, guest, manifest
from opencrust.contracts.plugins import PluginInspection
from opencrust_agent.plugins import signature
from opencrust_agent.plugins.errors import PluginRefused
from opencrust_agent.plugins.manifest import read
from opencrust_cli import plugins, plugins_new, plugins_package, plugins_sign
from opencrust_cli.errors import CommandError

ROOT = Path(__file__).parents[3]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "plugin.toml").write_text(manifest())
    (folder / "plugin.wasm").write_bytes(binary(guest()))
    return folder


def packed(folder: Path, kind: str, top: str) -> Path:
    file = folder.parent / f"p.{kind}"
    if kind == "zip":
        with zipfile.ZipFile(file, "w") as archive:
            for path in folder.iterdir():
                archive.write(path, top + path.name)
    else:
        with tarfile.open(file, "w:gz") as archive:
            for path in folder.iterdir():
                archive.add(path, top + path.name)
    return file


@pytest.mark.parametrize("kind", ["zip", "tar"])
@pytest.mark.parametrize("top", ["", "mine/"])
def test_a_package_is_read_as_a_folder_is(folder: Path, kind: str, top: str) -> None:
    assert plugins_package.read(packed(folder, kind, top)) == plugins_package.read(folder)


def test_what_is_missing_is_named(folder: Path, tmp_path: Path) -> None:
    (folder / "plugin.wasm").unlink()
    with pytest.raises(CommandError, match="build it first"):
        plugins_package.read(folder)
    with pytest.raises(CommandError, match=r"has no plugin\.toml"):
        plugins_package.read(tmp_path)
    with pytest.raises(CommandError, match="cannot be read"):
        plugins_package.read(tmp_path / "nothing.zip")
    (folder / "plugin.toml").write_text('wasm = "../../etc/passwd"\n')
    with pytest.raises(CommandError, match="a file beside it"):
        plugins_package.read(folder)


def test_what_is_signed_here_is_accepted_there_and_nothing_else_is(folder: Path, tmp_path: Path) -> None:
    fingerprint = plugins_sign.sign(folder, tmp_path / "author.pem")
    package = plugins_package.read(folder)
    assert signature.signer(package.manifest, package.signature) == fingerprint
    assert read(package.manifest).size == len(package.component)
    assert (tmp_path / "author.pem").stat().st_mode & 0o777 == 0o600
    assert plugins_sign.sign(folder, tmp_path / "author.pem") == fingerprint, "signing again changes no key"
    with pytest.raises(PluginRefused, match="signature does not fit"):
        signature.signer(package.manifest + " ", package.signature)


@pytest.mark.parametrize("language", plugins_new.LANGUAGES)
def test_a_new_plugin_has_a_manifest_that_is_accepted(tmp_path: Path, language: str) -> None:
    made = tmp_path / plugins_new.create(tmp_path, "my-first", language)
    assert read((made / "plugin.toml").read_text()).name == "my-first"
    with pytest.raises(CommandError, match="cannot be made"):
        plugins_new.create(tmp_path, "my-first", language)
    with pytest.raises(CommandError, match="single dashes"):
        plugins_new.create(tmp_path, "My First", language)
    with pytest.raises(CommandError, match="kept for OpenCrust's own"):
        plugins_new.create(tmp_path, "web-search", language)


def test_the_scaffold_has_the_interface_that_the_agent_has() -> None:
    wit = (ROOT / "services/agent/opencrust_agent/plugins/tool.wit").read_text()
    assert re.sub(r"//.*|\s+", " ", wit).split() == plugins_new.WIT.split()


def test_the_question_escapes_what_a_plugin_says() -> None:
    evil = "Tool x: \x1b[2Jreads\u202e"
    asked = PluginInspection(name="x", version="1.0.0", installed="0.9.0", sentences=[evil], changes=["New: y"], consent="0" * 64)  # fmt: skip  # noqa: E501
    shown = plugins.question(asked)
    assert "\x1b" not in shown
    assert "\u202e" not in shown
    assert shown.startswith("x 1.0.0 (installed: 0.9.0)")


@pytest.mark.parametrize("text", ["x", "[]", "5", "[" * 100_000, '{"a": ' * 100_000])
def test_arguments_that_are_no_json_object_are_a_sentence(text: str) -> None:
    with pytest.raises(CommandError, match="must be a JSON object"):
        plugins._call(argparse.Namespace(name="units", arguments=text))
