"""A folder for files, and no way out of it: for people's files that the agent keeps.

Every step of a path is opened from the folder before it, by handle, and never through a symbolic link (``O_NOFOLLOW``):
there is no moment in which a name could be swapped for another. Only plain files are touched: no devices, pipes,
sockets, and no file with a second name somewhere else. Blocking; call it in a thread.
"""

import errno
import os
import secrets
import stat
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from opencrust.config.workspace import WorkspaceSettings

MAX_DEPTH = 8
MAX_PATH = 500
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_TEMPORARY = ".opencrust-"
_CLEAN = "user.opencrust.clean"
"""An extended attribute of files that hold no strangers' text. What has none counts as theirs."""


class FilesError(Exception):
    """It was not done. The text says why, for the model and the person."""


@dataclass(frozen=True, slots=True)
class Item:
    """An entry of a folder. ``size`` in bytes, -1 for a folder."""

    path: str
    size: int


class Workspace:
    """One person's files.

    Args:
        root: made if it is missing.
        settings: quotas.
    """

    def __init__(self, root: Path, settings: WorkspaceSettings) -> None:
        self._root = root
        self._settings = settings

    def entries(self, path: str = "") -> list[Item]:
        """What is in a folder, sorted; folders first.

        Raises:
            FilesError: there is no such folder.
        """
        parts = _parts(path) if path.strip("/ .") else []
        with self._directory(parts) as handle:
            items = [*_items(handle, "/".join(parts))]
        return sorted(items, key=lambda item: (item.size >= 0, item.path))

    def read(self, path: str, limit: int) -> tuple[bytes, int, bool]:
        """At most ``limit`` bytes of a file, its whole size, and whether it is clean of strangers' text.

        Raises:
            FilesError: it is no plain file, or there is none.
        """
        *folders, name = _parts(path)
        with self._directory(folders) as directory, _file(directory, name) as handle:
            size = os.fstat(handle).st_size
            data = b""
            while len(data) < limit and (piece := os.read(handle, min(limit - len(data), 1 << 20))):
                data += piece
            return data, size, _is_clean(handle)

    def write(self, path: str, data: bytes, *, append: bool = False, replace: bool = True, clean: bool = False) -> int:
        """Write a file whole, or not at all; folders on the way are made. Returns its size.

        Raises:
            FilesError: over a quota, or a file is there that is neither to be added to nor to be replaced, or the path
                leads to something that is no plain file.
        """
        *folders, name = _parts(path)
        with self._directory(folders, make=True) as directory:
            before, was_clean = b"", True
            if (mode := _mode(directory, name)) is not None:
                if not stat.S_ISREG(mode):
                    raise FilesError("there is something else of that name, no plain file")
                if not append and not replace:
                    raise FilesError("a file of that name exists: add to it with append, or say replace to lose it")
                if append:
                    with _file(directory, name) as handle:
                        was_clean = _is_clean(handle)
                        while piece := os.read(handle, 1 << 20):
                            before += piece
            whole = before + data
            self._check(len(whole), new=mode is None)
            temporary = _TEMPORARY + secrets.token_hex(8)
            handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _FILE, 0o600, dir_fd=directory)
            try:
                with os.fdopen(handle, "wb") as file:
                    file.write(whole)
                    file.flush()
                    if clean and was_clean:
                        with suppress(OSError, AttributeError):
                            os.setxattr(file.fileno(), _CLEAN, b"1")
                    os.fsync(file.fileno())
                os.rename(temporary, name, src_dir_fd=directory, dst_dir_fd=directory)
            except OSError as error:
                with suppress(OSError):
                    os.unlink(temporary, dir_fd=directory)
                raise _told(error) from None
            return len(whole)

    def delete(self, path: str) -> None:
        """Delete a plain file, or an empty folder.

        Raises:
            FilesError: there is none, or the folder is not empty.
        """
        *folders, name = _parts(path)
        with self._directory(folders) as directory:
            mode = _mode(directory, name)
            if mode is None:
                raise FilesError("there is no such file")
            try:
                if stat.S_ISDIR(mode):
                    os.rmdir(name, dir_fd=directory)
                else:
                    os.unlink(name, dir_fd=directory)  # of a link, the link itself
            except OSError as error:
                raise _told(error) from None

    def walk(self) -> Iterator[Item]:
        """Every plain file and folder."""
        with self._directory([]) as handle:
            yield from self._below(handle, "", 0)

    def _below(self, handle: int, prefix: str, depth: int) -> Iterator[Item]:
        for item in _items(handle, prefix):
            yield item
            if item.size < 0 and depth < MAX_DEPTH:
                with suppress(OSError):
                    inner = os.open(item.path.rpartition("/")[2], _DIRECTORY, dir_fd=handle)
                    try:
                        yield from self._below(inner, item.path, depth + 1)
                    finally:
                        os.close(inner)

    def _check(self, size: int, *, new: bool) -> None:
        if size > self._settings.max_file_bytes:
            raise FilesError(f"a file may have {self._settings.max_file_bytes} bytes, and it would have {size}")
        items = list(self.walk())
        if new and len(items) >= self._settings.max_files:
            raise FilesError(f"there are {len(items)} files and folders already; delete some")
        used = sum(max(item.size, 0) for item in items)
        if used + size > self._settings.max_bytes:
            raise FilesError(f"all files together may have {self._settings.max_bytes} bytes; {used} are used")

    @contextmanager
    def _directory(self, parts: list[str], *, make: bool = False) -> Iterator[int]:
        """A handle of the folder that ``parts`` lead to."""
        self._root.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle = os.open(self._root, _DIRECTORY)
        try:
            for part in parts:
                if make:
                    with suppress(FileExistsError):
                        os.mkdir(part, 0o700, dir_fd=handle)
                inner = os.open(part, _DIRECTORY, dir_fd=handle)
                os.close(handle)
                handle = inner
            yield handle
        except OSError as error:
            raise _told(error) from None
        finally:
            os.close(handle)


def _parts(path: str) -> list[str]:
    """The names of a relative path.

    Raises:
        FilesError: it leads elsewhere, or has a name that could be misread.
    """
    if not path or len(path.encode(errors="replace")) > MAX_PATH:
        raise FilesError(f"a path has 1 to {MAX_PATH} bytes")
    if path.startswith(("/", "~")) or "\\" in path or ":" in path:
        raise FilesError("a path is relative to the workspace, with / between names")
    parts = unicodedata.normalize("NFC", path).removesuffix("/").split("/")
    for part in parts:
        if part in ("", ".", "..") or part.startswith(_TEMPORARY) or part != part.strip():
            raise FilesError("a path holds no empty names, no dots alone, and no spaces at a name's ends")
        if any(unicodedata.category(c) in ("Cc", "Cf", "Cs", "Zl", "Zp") for c in part) or len(part.encode()) > 255:
            raise FilesError("a name holds no invisible characters, and at most 255 bytes")
    if len(parts) > MAX_DEPTH:
        raise FilesError(f"at most {MAX_DEPTH} folders deep")
    return parts


@contextmanager
def _file(directory: int, name: str) -> Iterator[int]:
    handle = os.open(name, os.O_RDONLY | _FILE, dir_fd=directory)
    try:
        found = os.fstat(handle)
        if not stat.S_ISREG(found.st_mode) or found.st_nlink != 1:
            raise FilesError("that is no plain file")
        yield handle
    finally:
        os.close(handle)


def _items(handle: int, prefix: str) -> Iterator[Item]:
    with os.scandir(handle) as entries:
        for entry in entries:
            if entry.name.startswith(_TEMPORARY):
                continue
            path = f"{prefix}/{entry.name}" if prefix else entry.name
            with suppress(OSError):
                if entry.is_dir(follow_symlinks=False):
                    yield Item(path, -1)
                elif entry.is_file(follow_symlinks=False):
                    yield Item(path, entry.stat(follow_symlinks=False).st_size)


def _mode(directory: int, name: str) -> int | None:
    try:
        return os.stat(name, dir_fd=directory, follow_symlinks=False).st_mode
    except FileNotFoundError:
        return None


def _is_clean(handle: int) -> bool:
    try:
        return os.getxattr(handle, _CLEAN) == b"1"
    except (OSError, AttributeError):  # macOS has none here: all files count as strangers'
        return False


def _told(error: OSError) -> FilesError:
    match error.errno:
        case errno.ENOENT:
            return FilesError("there is no such file or folder")
        case errno.ELOOP | errno.ENOTDIR | errno.ENXIO | errno.EISDIR:
            return FilesError("the path leads over something that is no plain file or folder")
        case errno.ENOTEMPTY:
            return FilesError("the folder is not empty")
        case errno.ENOSPC | errno.EDQUOT:
            return FilesError("the disk is full")
    return FilesError(f"the system refused it ({errno.errorcode.get(error.errno or 0, 'unknown')})")
