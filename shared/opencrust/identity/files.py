"""Private files and directories: written whole or not at all, readable by their owner alone."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

PRIVATE_FILE = 0o600
PRIVATE_DIRECTORY = 0o700


def make_private_directory(directory: Path) -> Path:
    """Create `directory` (and what is missing above it), or tighten it, to mode 0700. Returns it."""
    # mkdir(parents=True) would make the parents with the umask's mode.
    for missing in reversed([path for path in directory.parents if not path.exists()]):
        missing.mkdir(mode=PRIVATE_DIRECTORY, exist_ok=True)
    directory.mkdir(mode=PRIVATE_DIRECTORY, exist_ok=True)
    if directory.stat().st_mode & 0o777 != PRIVATE_DIRECTORY:
        directory.chmod(PRIVATE_DIRECTORY)
    return directory


def write_private(path: Path, data: bytes) -> None:
    """Replace `path` by `data` atomically and durably, with mode 0600 from the first byte on.

    A reader sees the old content or the new, and after a power cut one of the two is there.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(6)}.tmp")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, PRIVATE_FILE)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    _sync_directory(path.parent)


def remove_private(path: Path) -> None:
    """Remove `path`, durably; a path that is not there is fine."""
    path.unlink(missing_ok=True)
    _sync_directory(path.parent)


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
