import os
from pathlib import Path

import pytest

from opencrust_vault import files
from opencrust_vault.errors import Corrupt, Locked, NotFound, Unsafe


def test_a_written_file_is_private_and_complete(directory: Path) -> None:
    steps: list[str] = []
    files.write_private(directory / "f", b"one", on_step=steps.append, backup=True)
    files.write_private(directory / "f", b"two", on_step=steps.append, backup=True)
    assert files.read_private(directory / "f", limit=10) == b"two"
    assert (directory / "f.bak").read_bytes() == b"one"
    assert (directory / "f").stat().st_mode & 0o777 == 0o600
    assert steps[-8:] == [
        "created",
        "half-written",
        "written",
        "synced",
        "backup-linked",
        "backup-kept",
        "renamed",
        "directory-synced",
    ]
    assert sorted(path.name for path in directory.iterdir()) == ["f", "f.bak"]


def test_leftovers_of_a_crash_do_not_stay(directory: Path) -> None:
    files.write_private(directory / "f", b"one")
    (directory / "f.tmp").write_bytes(b"torn")
    # A crash between keeping the backup and the rename leaves two names for one inode.
    os.link(directory / "f", directory / "f.bak")
    files.write_private(directory / "f", b"two", backup=True)
    assert sorted(path.name for path in directory.iterdir()) == ["f", "f.bak"]
    assert (directory / "f.bak").read_bytes() == b"one"


def test_a_failed_write_leaves_the_old_content_and_no_temporary_file(directory: Path) -> None:
    files.write_private(directory / "f", b"one")

    def fail(step: str) -> None:
        if step == "written":
            raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        files.write_private(directory / "f", b"two", on_step=fail)
    assert [path.name for path in directory.iterdir()] == ["f"]
    assert (directory / "f").read_bytes() == b"one"


def test_a_symlink_as_temporary_file_is_replaced_not_followed(directory: Path, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_bytes(b"precious")
    (directory / "f.tmp").symlink_to(victim)
    files.write_private(directory / "f", b"one")
    assert victim.read_bytes() == b"precious"


def test_reading_refuses_what_is_not_private(directory: Path) -> None:
    path = directory / "f"
    with pytest.raises(NotFound):
        files.read_private(path, limit=10)
    files.write_private(path, b"one")
    with pytest.raises(Corrupt):
        files.read_private(path, limit=2)
    for mode in (0o640, 0o604, 0o620, 0o602):
        path.chmod(mode)
        with pytest.raises(Unsafe, match="chmod 600"):
            files.read_private(path, limit=10)
    path.chmod(0o600)
    (directory / "link").symlink_to(path)
    with pytest.raises(Unsafe, match="symbolic link"):
        files.read_private(directory / "link", limit=10)
    os.mkfifo(directory / "pipe", 0o600)
    with pytest.raises(Unsafe, match="regular"):
        files.read_private(directory / "pipe", limit=10)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_reading_refuses_another_users_file(directory: Path) -> None:
    path = directory / "f"
    files.write_private(path, b"one")
    os.chown(path, 12345, 12345)
    with pytest.raises(Unsafe, match="another user"):
        files.read_private(path, limit=10)


def test_a_directory_that_others_may_write_is_refused(directory: Path) -> None:
    files.check_directory(directory)
    directory.chmod(0o770)
    with pytest.raises(Unsafe, match="chmod 700"):
        files.check_directory(directory)
    with pytest.raises(NotFound):
        files.check_directory(directory / "absent")


def test_one_lock_one_owner(directory: Path) -> None:
    lock = files.FileLock(directory / "lock")
    with pytest.raises(Locked):
        files.FileLock(directory / "lock")
    lock.release()
    lock.release()
    assert not lock.held
    files.FileLock(directory / "lock").release()
