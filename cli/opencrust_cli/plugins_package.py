"""A plugin as a person has it: a folder, a .zip or a .tar with ``plugin.toml``, its component, and perhaps a signature.

Read without unpacking anything to the disk, so no name in an archive can lead anywhere.
"""

import bz2
import errno
import gzip
import io
import json
import lzma
import os
import re
import stat
import struct
import tarfile
import tomllib
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, cast

from pydantic import ValidationError

from opencrust.contracts.base import explain
from opencrust.contracts.plugins import PluginSignature
from opencrust_cli.errors import CommandError
from opencrust_cli.printable import printable

MANIFEST = "plugin.toml"
SIGNATURE = "plugin.toml.sig"
MAX_COMPONENT = 32 * 1024 * 1024
MAX_PACKAGE = 64 * 1024 * 1024
"""Bytes of an archive, packed and unpacked."""
_MAX_TEXT = 32 * 1024
_MAX_ENTRIES = 1000
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")

_COMPRESSED: dict[bytes, Callable[[io.BytesIO], IO[bytes]]] = {
    b"\x1f\x8b": lambda file: cast("IO[bytes]", gzip.GzipFile(fileobj=file)),
    b"BZh": lambda file: cast("IO[bytes]", bz2.BZ2File(file)),
    b"\xfd7zXZ\0": lambda file: cast("IO[bytes]", lzma.LZMAFile(file)),  # noqa: SIM115
}
_DAMAGED = (
    tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, OSError, ValueError, RuntimeError,
    NotImplementedError, OverflowError, IndexError, KeyError, struct.error, MemoryError,
)  # fmt: skip
"""What the archive modules of Python raise over bytes that are none of theirs."""

Reader = Callable[[str, int], bytes | None]
"""Gives a file's bytes, at most so many; None where there is none."""


@dataclass(frozen=True, slots=True)
class Package:
    """What is sent to the agent."""

    manifest: str
    component: bytes
    signature: PluginSignature | None


def read(path: Path) -> Package:
    """Read a package.

    Raises:
        CommandError: it is none, with what is missing, damaged or too large.
    """
    if path.is_dir():
        return _read(_folder(path), path)
    data = _bytes(path.resolve(), path, MAX_PACKAGE)
    try:
        if zipfile.is_zipfile(io.BytesIO(data)):
            with zipfile.ZipFile(io.BytesIO(data)) as archive:
                return _read(_zip(archive, path), path)
        with tarfile.open(fileobj=io.BytesIO(_unpacked(data, path)), mode="r:") as archive:
            return _read(_tar(archive, path), path)
    except _DAMAGED:
        raise CommandError(
            f"{path} is no folder, .zip or .tar with a {MANIFEST}, or it is damaged, or has a password"
        ) from None


def _bytes(file: Path, shown: Path | str, most: int) -> bytes:
    """A file's bytes. A link is not followed: in what somebody else packed it may lead to any file of yours."""
    try:
        descriptor = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise CommandError(f"{shown} is a link: put the file itself there") from None
        raise CommandError(f"{shown} cannot be read: {error.strerror}") from None
    with os.fdopen(descriptor, "rb") as opened:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise CommandError(f"{shown} is no file")
        data = opened.read(most + 1)
    if len(data) > most:
        raise _too_large(str(shown), most)
    return data


def _unpacked(data: bytes, path: Path) -> bytes:
    """A .tar out of its compression; what unpacks to more than a package may have is a bomb."""
    opener = next((opener for magic, opener in _COMPRESSED.items() if data.startswith(magic)), None)
    if opener is None:
        return data
    with opener(io.BytesIO(data)) as stream:
        found = stream.read(MAX_PACKAGE + 1)
    if len(found) > MAX_PACKAGE:
        raise CommandError(f"{path} unpacks to more than {MAX_PACKAGE // 1024**2} MiB: no plugin is that large")
    return found


def _read(reader: Reader, path: Path) -> Package:
    text = reader(MANIFEST, _MAX_TEXT)
    if text is None:
        raise CommandError(f"{path} has no {MANIFEST}: is it a plugin? `opencrust plugins new` makes one")
    try:
        manifest = text.decode()
        name = tomllib.loads(manifest).get("wasm", "plugin.wasm")
    except RecursionError:
        raise CommandError(f"{MANIFEST} in {path} nests too deep") from None
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise CommandError(f"{MANIFEST} in {path} is not TOML: {printable(str(error)[:200])}") from None
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise CommandError(f"{MANIFEST}: wasm must be the name of a file beside it")
    component = reader(name, MAX_COMPONENT)
    if component is None:
        raise CommandError(f"{path} has no {name}, which {MANIFEST} names: build it first (see its README)")
    signature = reader(SIGNATURE, _MAX_TEXT)
    return Package(manifest, component, None if signature is None else _signature(signature, path))


def _signature(data: bytes, path: Path) -> PluginSignature:
    try:
        return PluginSignature.model_validate(json.loads(data))
    except ValidationError as error:
        raise CommandError(f"{SIGNATURE} in {path}: {explain(error)}") from None
    except (ValueError, RecursionError):
        raise CommandError(f"{SIGNATURE} in {path} is no signature") from None


def _folder(path: Path) -> Reader:
    def read(name: str, most: int) -> bytes | None:
        file = path / name
        if not file.is_symlink() and not file.exists():
            return None
        return _bytes(file, file, most)

    return read


def _zip(archive: zipfile.ZipFile, path: Path) -> Reader:
    names = archive.namelist()[:_MAX_ENTRIES]
    top = _top(names, path)

    def read(name: str, most: int) -> bytes | None:
        if top + name not in names:
            return None
        with archive.open(top + name) as file:
            data = file.read(most + 1)
        if len(data) > most:
            raise _too_large(name, most)
        return data

    return read


def _tar(archive: tarfile.TarFile, path: Path) -> Reader:
    members = {}
    for member in archive:
        members[member.name.removeprefix("./")] = member
        if len(members) > _MAX_ENTRIES:
            break
    top = _top(list(members), path)

    def read(name: str, most: int) -> bytes | None:
        member = members.get(top + name)
        file = archive.extractfile(member) if member is not None and member.isfile() else None
        if file is None or member is None:
            return None
        if member.size > most:
            raise _too_large(name, most)
        return file.read(most + 1)

    return read


def _top(names: list[str], path: Path) -> str:
    """The folder in the archive that holds the manifest: none, or one."""
    places = [name.removesuffix(MANIFEST) for name in names if name == MANIFEST or name.endswith("/" + MANIFEST)]
    places = [place for place in places if place.count("/") <= 1]
    if len(places) > 1:
        raise CommandError(f"{path} holds {len(places)} plugins: install them one by one")
    return places[0] if places else ""


def _too_large(name: str, most: int) -> CommandError:
    return CommandError(f"{name} has more than {most // 1024} KiB")
