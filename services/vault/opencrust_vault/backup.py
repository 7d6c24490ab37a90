"""Backups: one tar file with the vault file and its audit log, as encrypted and as authenticated as they are at home.

The key file is not in it. Restoring needs the passphrase, the recovery key, or that key file.
"""

import io
import os
import tarfile
import time
from dataclasses import dataclass
from pathlib import Path

from opencrust_vault import document, files, opening
from opencrust_vault.errors import BadValue, Corrupt, VaultError
from opencrust_vault.opening import KEY_SLOT, OpenVault
from opencrust_vault.paths import Paths
from opencrust_vault.slots import UnlockKey
from opencrust_vault.store import FileStore
from opencrust_vault.unlock import write_new_key_file

_VAULT = "vault.db"
_AUDIT = "audit.log"
_MAX_AUDIT = 1024 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Contents:
    """What a backup holds."""

    vault: bytes
    audit: bytes


def write(paths: Paths, target: Path) -> int:
    """Write a backup; also while the vault runs, since a rename always leaves a whole file. Returns its generation.

    Raises:
        VaultError: `target` exists, or there is no vault to save.
    """
    if target.exists() or target.is_symlink():
        raise BadValue(f"{target} exists already; nothing was written")
    vault = files.read_private(paths.file, limit=document.MAX_FILE)
    generation = document.parse(vault).header.generation
    audit = files.read_private(paths.audit, limit=_MAX_AUDIT) if paths.audit.exists() else b""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        for name, content in ((_VAULT, vault), (_AUDIT, audit[: audit.rfind(b"\n") + 1])):
            member = tarfile.TarInfo(name)
            member.size, member.mode, member.mtime = len(content), 0o600, int(time.time())
            archive.addfile(member, io.BytesIO(content))
    files.write_private(target, packed.getvalue())
    return generation


def read(source: Path) -> Contents:
    """Read a backup. Nothing in it is believed before the vault file was unlocked.

    Raises:
        Corrupt: not a backup.
    """
    found: dict[str, bytes] = {}
    try:
        with tarfile.open(source, mode="r:") as archive:
            for member in archive:
                if member.name in (_VAULT, _AUDIT) and member.isfile() and member.size <= _MAX_AUDIT:
                    extracted = archive.extractfile(member)
                    found[member.name] = extracted.read() if extracted else b""
    except (tarfile.TarError, OSError, EOFError):
        raise Corrupt(f"{source} is not a vault's backup") from None
    if set(found) != {_VAULT, _AUDIT}:
        raise Corrupt(f"{source} is not a vault's backup")
    document.parse(found[_VAULT])
    return Contents(found[_VAULT], found[_AUDIT])


def restore(paths: Paths, source: Path, unlock: UnlockKey, *, replace: bool) -> OpenVault:
    """Put a backup in place and open it. No vault may be running.

    The backup is opened in a directory of its own first: a wrong key or a damaged backup changes nothing. The restored
    vault gets a key file of this machine and a generation far above anything that was written since the backup, so
    that the witness on the bus accepts it and refuses the older file from now on.

    Args:
        replace: there may be a vault already; it is kept beside as `vault.db.replaced-<time>`.

    Raises:
        VaultError: refused, naming why; nothing was changed.
    """
    contents = read(source)
    paths.make_directories()
    if paths.file.exists() and not replace:
        raise BadValue(f"there is a vault at {paths.file}; to replace it by the backup, add --accept-rollback")
    lock = files.FileLock(paths.file.with_name(paths.file.name + ".lock"))
    try:
        _try_to_open(paths.directory, contents.vault, unlock)
        stamp = int(time.time())
        if paths.file.exists():
            os.replace(paths.file, paths.file.with_name(f"{paths.file.name}.replaced-{stamp}"))
        if not paths.audit.exists() or paths.audit.stat().st_size < len(contents.audit):
            if paths.audit.exists():
                os.replace(paths.audit, paths.audit.with_name(f"{paths.audit.name}.replaced-{stamp}"))
            files.write_private(paths.audit, contents.audit)
        files.write_private(paths.file, contents.vault)
    finally:
        lock.release()
    vault = opening.open_vault(paths, unlock, accept_rollback=True)
    try:
        vault.store.raise_generation(vault.store.generation + RESTORE_STEP)
        if not paths.key_file.exists():
            vault.store.add_slot(KEY_SLOT, write_new_key_file(paths.key_file))
        vault.audit.append("restored", sync=True, generation=vault.store.generation, note=f"from {source.name[:80]}")
    except BaseException:
        vault.close()
        raise
    return vault


RESTORE_STEP = 2**20
"""How far a restore raises the generation: above any number of writes that the backup can have missed."""


def _try_to_open(directory: Path, content: bytes, unlock: UnlockKey) -> None:
    trial = directory / "restore.trial"
    trial_anchor = directory / "restore.trial.anchor"
    try:
        files.write_private(trial, content)
        store = FileStore.open(trial, trial_anchor, unlock, accept_rollback=True)
        try:
            for name in store.names():
                for version in store.info(name).versions:
                    try:
                        value = store.get(name, version)[1]
                    except VaultError as error:
                        if isinstance(error, Corrupt):
                            raise
                        continue  # expired
                    value[:] = bytes(len(value))
        finally:
            store.close()
    finally:
        for leftover in directory.glob("restore.trial*"):
            leftover.unlink(missing_ok=True)
