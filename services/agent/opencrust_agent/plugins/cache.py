"""Compiled plugins on disk. What is loaded from here runs as native code, so it is taken only with our own seal.

Wasmtime checks the version and the settings of a ``.cwasm`` and nothing else: with one byte of it changed, other code
runs. Each file therefore has an HMAC-SHA256 beside it, over its name (component, runtime, settings, machine) and its
bytes. A file that fails is compiled anew from the component, which is itself known by its hash.

The key lies in the agent's state directory, which Landlock and the container keep from every other service, and is
kept over restarts: a key for each start would compile every plugin at every start (11 s of processor time for one in
Python) and protect from nobody else, as whoever writes into this directory from within the agent needs no seal. What it
does protect from is everything that is not this agent on this machine: a restored backup, a copied home, a bad disk.
"""

import contextlib
import hashlib
import hmac
import os
import platform
import secrets
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import BinaryIO

SETTINGS = "1"
"""Raise it whenever :func:`opencrust_agent.plugins.engine.engine` changes."""
_KEY_BYTES = 32


class Cache:
    """One directory. Calls block on the disk: 35 MB take 30 ms."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def open(self, wasm: str, *, fuel: bool) -> BinaryIO | None:
        """The machine code of a component, open for reading, if it is there and sealed by us."""
        path = self._path(wasm, fuel)
        try:
            file = path.open("rb")
        except OSError:
            return None
        try:
            if hmac.compare_digest(path.with_suffix(".mac").read_bytes(), self._seal(path, file)):
                file.seek(0)
                return file
        except OSError:
            pass
        file.close()
        self._remove(path)
        return None

    def create(self) -> "Draft":
        """A file to compile into."""
        self._prepare()
        return Draft(self)

    def forget(self, wasm: str) -> None:
        """Remove a component's machine code, if there is any."""
        for fuel in (False, True):
            self._remove(self._path(wasm, fuel))

    def has(self, wasm: str, *, fuel: bool) -> bool:
        """Whether there is machine code of a component; its seal is looked at when it is opened."""
        return self._path(wasm, fuel).with_suffix(".mac").exists()

    def keep_only(self, components: set[str], *, drafts: bool = False) -> None:
        """Remove the machine code of all others, and the drafts that a crash left behind.

        Args:
            drafts: keep them: something is being compiled.
        """
        with contextlib.suppress(OSError):
            for path in self.directory.iterdir():
                first = path.name.partition("-")[0]
                if path.suffix != ".key" and first not in components and not (drafts and first == "draft"):
                    path.unlink(missing_ok=True)

    def store(self, draft: Path, wasm: str, *, fuel: bool) -> None:
        """Seal a finished draft under its name."""
        path = self._path(wasm, fuel)
        with draft.open("rb") as file:
            seal = self._seal(path, file)
        os.chmod(draft, 0o400)
        path.with_suffix(".mac").unlink(missing_ok=True)
        os.replace(draft, path)
        descriptor = os.open(path.with_suffix(".mac"), os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(seal)

    def draft(self) -> tuple[int, str]:
        return tempfile.mkstemp(prefix="draft-", dir=self.directory)

    def _path(self, wasm: str, fuel: bool) -> Path:
        made_by = f"{version('wasmtime')}.{SETTINGS}.{platform.machine()}{'.fuel' if fuel else ''}"
        return self.directory / f"{wasm}-{made_by.replace('.', '_')}.cwasm"

    def _prepare(self) -> None:
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)

    def _seal(self, path: Path, file: BinaryIO) -> bytes:
        seal = hmac.new(self._key(), path.name.encode() + b"\0", "sha256")
        while piece := file.read(1024 * 1024):
            seal.update(piece)
        return seal.digest()

    def _key(self) -> bytes:
        self._prepare()
        path = self.directory / "seal.key"
        with contextlib.suppress(FileExistsError):
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                file.write(secrets.token_bytes(_KEY_BYTES))
        key = path.read_bytes()
        if len(key) != _KEY_BYTES:  # a full disk cut it: everything sealed with it is compiled anew
            path.unlink()
            raise OSError("the cache's key was damaged; it is made anew")
        return key

    @staticmethod
    def _remove(path: Path) -> None:
        with contextlib.suppress(OSError):
            path.with_suffix(".mac").unlink(missing_ok=True)
            path.unlink(missing_ok=True)


class Draft:
    """A file that is compiled into: :meth:`keep` it, or it is gone at the end of the ``with``."""

    def __init__(self, cache: Cache) -> None:
        self._cache = cache
        descriptor, path = cache.draft()
        self._path = Path(path)
        self.file: BinaryIO = os.fdopen(descriptor, "wb", buffering=0)

    def __enter__(self) -> "Draft":
        return self

    def __exit__(self, *_: object) -> None:
        self.file.close()
        self._path.unlink(missing_ok=True)

    def keep(self, wasm: str, *, fuel: bool) -> None:
        """Seal it and file it under the component's hash."""
        self._cache.store(self._path, wasm, fuel=fuel)


def sha256(data: bytes) -> str:
    """Hex."""
    return hashlib.sha256(data).hexdigest()
