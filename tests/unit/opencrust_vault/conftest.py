"""A vault directory with a key file and an open vault in it."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from opencrust_vault.slots import KeyFile
from opencrust_vault.store import FileStore


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    vault = tmp_path / "vault"
    vault.mkdir(mode=0o700)
    (tmp_path / "state").mkdir(mode=0o700)
    return vault


@pytest.fixture
def path(directory: Path) -> Path:
    return directory / "vault.db"


@pytest.fixture
def anchor_path(tmp_path: Path, directory: Path) -> Path:
    return tmp_path / "state" / "anchor"


@pytest.fixture
def key() -> KeyFile:
    return KeyFile(os.urandom(32))


@pytest.fixture
def store(path: Path, anchor_path: Path, key: KeyFile) -> Iterator[FileStore]:
    opened = FileStore.create(path, anchor_path, {"key-file": key})
    yield opened
    opened.close()
