import os
from pathlib import Path

import pytest

from opencrust_vault import files, opening
from opencrust_vault.errors import Unsafe, VaultError, WrongKey
from opencrust_vault.opening import KEY_SLOT
from opencrust_vault.paths import Paths
from opencrust_vault.slots import KeyFile
from opencrust_vault.unlock import write_new_key_file


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    return Paths.of_home(tmp_path / "home", {})


def test_the_first_start_makes_everything_and_the_next_one_finds_it(paths: Paths) -> None:
    first = opening.open_unattended(paths, {})
    first.store.put("a", b"value")
    first.close()
    again = opening.open_unattended(paths, {})
    assert again.store.get("a") == (1, b"value")
    again.close()
    for directory in (paths.directory, paths.state):
        assert directory.stat().st_mode & 0o777 == 0o700


def test_a_crash_between_key_and_vault_uses_the_key_that_is_there(paths: Paths) -> None:
    paths.make_directories()
    key = write_new_key_file(paths.key_file)
    opening.open_unattended(paths, {}).close()
    opening.open_vault(paths, key).close()


def test_a_crash_between_a_new_root_key_and_its_key_file_heals(paths: Paths) -> None:
    vault = opening.open_unattended(paths, {})
    vault.store.put("a", b"value")
    fresh = write_new_key_file(opening.new_key_file(paths.key_file))
    vault.store.rekey_root({KEY_SLOT: fresh})
    vault.close()
    again = opening.open_unattended(paths, {})
    assert again.store.get("a") == (1, b"value")
    again.close()
    assert not opening.new_key_file(paths.key_file).exists()
    opening.open_unattended(paths, {}).close()


def test_a_wrong_key_file_does_not_make_a_new_vault(paths: Paths) -> None:
    opening.open_unattended(paths, {}).close()
    paths.key_file.unlink()
    write_new_key_file(paths.key_file)
    before = paths.file.read_bytes()
    with pytest.raises(WrongKey):
        opening.open_unattended(paths, {})
    assert paths.file.read_bytes() == before


def test_a_vanished_vault_is_reported(paths: Paths) -> None:
    opening.open_unattended(paths, {}).close()
    paths.file.unlink()
    with pytest.raises(VaultError, match="is missing, but there was a vault"):
        opening.open_unattended(paths, {})


def test_an_environment_key_is_refused_before_anything_is_made(paths: Paths) -> None:
    with pytest.raises(Unsafe):
        opening.open_unattended(paths, {"OPENCRUST_VAULT_KEY": "x"})
    assert not paths.directory.exists()


def test_the_admin_key_is_private_and_stays(paths: Paths) -> None:
    paths.make_directories()
    key = opening.admin_key(paths.admin_key)
    assert len(key) == 32
    assert opening.admin_key(paths.admin_key) == key
    paths.admin_key.chmod(0o644)
    with pytest.raises(Unsafe):
        opening.admin_key(paths.admin_key)


def test_a_head_that_is_broken_counts_as_none(paths: Paths) -> None:
    paths.make_directories()
    assert opening.read_head(paths.audit_head) is None
    vault = opening.create_vault(paths, {"k": KeyFile(os.urandom(32))})
    head = vault.audit.head
    vault.close()
    assert opening.read_head(paths.audit_head) == head
    files.write_private(paths.audit_head, b"garbage")
    assert opening.read_head(paths.audit_head) is None
