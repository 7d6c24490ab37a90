"""A plugin as a person has it: a folder, a .zip or a .tar with ``plugin.toml``, its component, and perhaps a signature.

Read without unpacking anything to the disk, so no name in an archive can lead anywhere.
"""

import io
import json
import tarfile
import tomllib
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from opencrust.contracts.base import explain
from opencrust.contracts.plugins import PluginSignature
from opencrust_cli.errors import CommandError

MANIFEST = "plugin.toml"
SIGNATURE = "plugin.toml.sig"
MAX_COMPONENT = 32 * 1024 * 1024
_MAX_TEXT = 32 * 1024
_MAX_ENTRIES = 1000

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
        CommandError: it is none, with what is missing or too large.
    """
    if path.is_dir():
        return _read(_folder(path), path)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise CommandError(f"{path} cannot be read: {error.strerror}") from None
    if zipfile.is_zipfile(io.BytesIO(data)):
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            return _read(_zip(archive, path), path)
    try:
        with tarfile.open(fileobj=io.BytesIO(data)) as archive:
            return _read(_tar(archive, path), path)
    except tarfile.TarError:
        raise CommandError(f"{path} is no folder, .zip or .tar with a {MANIFEST}") from None


def _read(reader: Reader, path: Path) -> Package:
    text = reader(MANIFEST, _MAX_TEXT)
    if text is None:
        raise CommandError(f"{path} has no {MANIFEST}: is it a plugin? `opencrust plugins new` makes one")
    try:
        manifest = text.decode()
        name = tomllib.loads(manifest).get("wasm", "plugin.wasm")
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise CommandError(f"{MANIFEST} in {path} is not TOML: {error}") from None
    if not isinstance(name, str) or "/" in name or "\\" in name:
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
    except ValueError:
        raise CommandError(f"{SIGNATURE} in {path} is no signature") from None


def _folder(path: Path) -> Reader:
    def read(name: str, most: int) -> bytes | None:
        file = path / name
        if not file.is_file():
            return None
        if file.stat().st_size > most:
            raise _too_large(name, most)
        return file.read_bytes()

    return read


def _zip(archive: zipfile.ZipFile, path: Path) -> Reader:
    names = archive.namelist()[:_MAX_ENTRIES]
    top = _top(names, path)

    def read(name: str, most: int) -> bytes | None:
        if top + name not in names:
            return None
        try:
            with archive.open(top + name) as file:
                data = file.read(most + 1)
        except (zipfile.BadZipFile, RuntimeError, NotImplementedError):
            raise CommandError(f"{path}: {name} in it is damaged, or has a password") from None
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
