"""Writing and reading private files so that a crash leaves the old content or the new, never a mixture.

The order of a write: temporary file (0600, O_EXCL, O_NOFOLLOW) → content → fsync → backup link → rename →
fsync of the directory. `on_step` is called after each of these with its name; the tests end the process there.
"""

import contextlib
import errno
import fcntl
import os
import stat
from collections.abc import Callable
from pathlib import Path

from opencrust_vault.errors import Corrupt, Locked, NotFound, Unsafe

Step = Callable[[str], None]


def no_step(name: str) -> None:
    """The default for `on_step`: nothing is watching."""


class FileLock:
    """Exclusive ownership of a vault, on a file beside it.

    It is never the vault file itself: a rename replaces that inode, and the lock with it. The kernel releases
    the lock when the process ends, however it ends.
    """

    def __init__(self, path: Path) -> None:
        """Take the lock.

        Raises:
            Locked: another process holds it.
        """
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._descriptor)
            raise Locked("the vault is open in another process") from None

    def release(self) -> None:
        """Give the lock back. Safe to call twice."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    @property
    def held(self) -> bool:
        """Whether this object still owns the lock."""
        return self._descriptor >= 0


def read_private(path: Path, *, limit: int) -> bytes:
    """Read a file that only its owner may read.

    Args:
        limit: the largest size in bytes that is read.

    Raises:
        NotFound: no such file.
        Unsafe: a symlink, not a regular file, not ours, or readable or writable by others.
        Corrupt: larger than `limit`.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError:
        raise NotFound(f"{path} does not exist") from None
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise Unsafe(f"{path} is a symbolic link; the vault only opens regular files") from None
        raise Unsafe(f"{path} cannot be opened: {error.strerror}") from None
    with os.fdopen(descriptor, "rb") as file:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise Unsafe(f"{path} is not a regular file")
        if status.st_uid != os.geteuid():
            raise Unsafe(f"{path} belongs to another user; run this as the user who owns it")
        if status.st_mode & 0o077:
            raise Unsafe(f"{path} has mode {status.st_mode & 0o777:04o}; others may read it. Run: chmod 600 {path}")
        if status.st_size > limit:
            raise Corrupt(f"{path} is larger than it may be")
        return file.read(limit + 1)


def write_private(path: Path, data: bytes, *, on_step: Step = no_step, backup: bool = False) -> None:
    """Replace `path` by `data`, atomically and durably, with mode 0600.

    The caller holds the lock that covers `path`. With `backup`, the previous content stays as `<path>.bak`.

    Raises:
        OSError: the disk is full or failing. Before the rename the old file stays as it was; the temporary
            file is removed.
    """
    temporary = path.with_name(path.name + ".tmp")
    _discard(temporary)
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        try:
            on_step("created")
            content = memoryview(data)
            _write_all(descriptor, content[: len(data) // 2])
            on_step("half-written")
            _write_all(descriptor, content[len(data) // 2 :])
            on_step("written")
            os.fsync(descriptor)
            on_step("synced")
        finally:
            os.close(descriptor)
        if backup and path.exists():
            _keep_backup(path, on_step)
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            _discard(temporary)
        raise
    on_step("renamed")
    sync_directory(path.parent)
    on_step("directory-synced")


def sync_directory(directory: Path) -> None:
    """Make a rename in `directory` survive a power cut."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def check_directory(directory: Path) -> None:
    """Refuse a directory in which others could replace our files.

    Raises:
        NotFound: it does not exist.
        Unsafe: group or others may write to it.
    """
    try:
        status = directory.stat()
    except FileNotFoundError:
        raise NotFound(f"{directory} does not exist") from None
    if status.st_mode & 0o022:
        raise Unsafe(f"{directory} is writable by others. Run: chmod 700 {directory}")


def _keep_backup(path: Path, on_step: Step) -> None:
    backup, link = path.with_name(path.name + ".bak"), path.with_name(path.name + ".bak.tmp")
    # Renaming one hard link over another of the same inode does nothing and leaves both, so a
    # leftover of an earlier crash has to go first.
    _discard(link)
    os.link(path, link)
    on_step("backup-linked")
    os.replace(link, backup)
    _discard(link)
    on_step("backup-kept")


def _write_all(descriptor: int, data: memoryview) -> None:
    while data:
        data = data[os.write(descriptor, data) :]


def _discard(path: Path) -> None:
    with contextlib.suppress(FileNotFoundError):
        path.unlink()
