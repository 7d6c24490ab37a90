import os
import stat
from pathlib import Path

import pytest

from opencrust.identity.files import make_private_directory, remove_private, write_private


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.parametrize("umask", [0o000, 0o022])
def test_a_written_file_is_its_owners_alone_whatever_the_umask(tmp_path: Path, umask: int) -> None:
    previous = os.umask(umask)
    try:
        write_private(tmp_path / "key", b"secret")
    finally:
        os.umask(previous)
    assert mode(tmp_path / "key") == 0o600


def test_replacing_tightens_a_file_that_was_open_to_others(tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_bytes(b"old")
    path.chmod(0o644)
    write_private(path, b"new")
    assert (path.read_bytes(), mode(path)) == (b"new", 0o600)


def test_a_failed_write_leaves_the_old_content_and_no_remains(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "key"
    path.write_bytes(b"old")

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_private(path, b"new")
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["key"]


def test_replacing_does_not_write_through_a_symlink(tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.write_bytes(b"mine")
    (tmp_path / "key").symlink_to(target)
    write_private(tmp_path / "key", b"new")
    assert target.read_bytes() == b"mine"
    assert (tmp_path / "key").read_bytes() == b"new"


def test_a_directory_is_made_private_or_tightened(tmp_path: Path) -> None:
    made = make_private_directory(tmp_path / "a" / "b")
    open_one = tmp_path / "open"
    open_one.mkdir(mode=0o755)
    assert mode(made) == mode(make_private_directory(open_one)) == 0o700


def test_removing_what_is_not_there_is_fine(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    remove_private(tmp_path / "file")
    remove_private(tmp_path / "file")
    assert os.listdir(tmp_path) == []
