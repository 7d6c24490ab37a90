import base64
import os
from pathlib import Path

import pytest

from opencrust_vault import unlock
from opencrust_vault.errors import NotFound, Unsafe, VaultError, WrongKey


def test_a_new_key_file_is_private_and_reads_back(directory: Path) -> None:
    path = directory / "unlock.key"
    key = unlock.write_new_key_file(path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert unlock.read_key_file(path) == key
    with pytest.raises(VaultError, match="exists already"):
        unlock.write_new_key_file(path)


def test_raw_and_base64_are_read(directory: Path) -> None:
    path, secret = directory / "k", os.urandom(32)
    for content in (secret, base64.b64encode(secret), base64.b64encode(secret) + b"\n"):
        path.write_bytes(content)
        path.chmod(0o600)
        assert unlock.read_key_file(path).secret == secret


@pytest.mark.parametrize("content", [b"", b"hello", base64.b64encode(b"x" * 31), b"\xff" * 33])
def test_anything_else_is_no_key(directory: Path, content: bytes) -> None:
    path = directory / "k"
    path.write_bytes(content)
    path.chmod(0o600)
    with pytest.raises(WrongKey):
        unlock.read_key_file(path)


def test_a_key_that_others_can_read_is_refused(directory: Path) -> None:
    path = directory / "k"
    with pytest.raises(NotFound):
        unlock.read_key_file(path)
    path.write_bytes(os.urandom(32))
    path.chmod(0o644)
    with pytest.raises(Unsafe):
        unlock.read_key_file(path)


def test_where_the_key_is_looked_for(directory: Path, tmp_path: Path) -> None:
    assert unlock.key_file_path(directory, {}) == directory / "unlock.key"
    credentials = tmp_path / "credentials"
    credentials.mkdir()
    environment = {"CREDENTIALS_DIRECTORY": str(credentials)}
    assert unlock.key_file_path(directory, environment) == directory / "unlock.key"
    (credentials / unlock.CREDENTIAL).write_bytes(os.urandom(32))
    assert unlock.key_file_path(directory, environment) == credentials / unlock.CREDENTIAL
    environment[unlock.KEY_FILE_SETTING] = "/run/secrets/vault"
    assert unlock.key_file_path(directory, environment) == Path("/run/secrets/vault")
