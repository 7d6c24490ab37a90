"""From files on a disk to an open vault: unlock it, or make it when this is the first start."""

import contextlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from opencrust_vault import backends, files, policy
from opencrust_vault.audit import AuditLog, Head
from opencrust_vault.backend import Backend
from opencrust_vault.document import canonical, parse_canonical
from opencrust_vault.errors import NotFound, VaultError, WrongKey
from opencrust_vault.hygiene import refuse_keys_in_environment
from opencrust_vault.paths import Paths
from opencrust_vault.slots import UnlockKey
from opencrust_vault.store import FileBackend, FileStore, inspect
from opencrust_vault.unlock import read_key_file, write_new_key_file

KEY_SLOT = "key-file"
TRANSIT_SLOT = "transit"


@dataclass(slots=True)
class OpenVault:
    """An open vault: where values are, and the record of what happens to them.

    Attributes:
        store: the vault file: policy, audit key, slots, and (by default) the values.
        backend: where the values are; the same file unless OpenBao is configured.
    """

    paths: Paths
    store: FileStore
    backend: Backend
    audit: AuditLog

    def close(self) -> None:
        """Close everything; the head of the audit chain is kept outside of the vault's directory."""
        with contextlib.suppress(OSError):
            write_head(self.paths.audit_head, self.audit.head, self.store.generation)
        self.audit.close()
        self.store.close()


def open_vault(paths: Paths, unlock: UnlockKey, *, accept_rollback: bool = False) -> OpenVault:
    """Open an existing vault.

    Raises:
        NotFound, Locked, WrongKey, Corrupt, Unsafe, Rollback: see `FileStore.open`.
    """
    store = FileStore.open(paths.file, paths.anchor, unlock, accept_rollback=accept_rollback)
    return _with_audit(paths, store, "opened", slot=unlock.kind, generation=store.generation)


def create_vault(paths: Paths, unlock: Mapping[str, UnlockKey]) -> OpenVault:
    """Make a new vault with the default policy.

    Raises:
        VaultError: there is one, or there was one and its file is missing.
    """
    paths.make_directories()
    if paths.anchor.exists() and not paths.file.exists():
        raise VaultError(
            f"{paths.file} is missing, but there was a vault: {paths.anchor} remembers it. Restore a backup with "
            "`opencrust vault restore FILE`, or remove that file to begin with an empty vault"
        )
    store = FileStore.create(paths.file, paths.anchor, unlock, policy=policy.DEFAULT.dump())
    return _with_audit(paths, store, "created", slots=" ".join(sorted(unlock)))


def open_unattended(paths: Paths, environment: Mapping[str, str]) -> OpenVault:
    """Open with the key file; make vault and key file when there is neither. What happens at each boot.

    Raises:
        NotFound: the vault has no key file here; somebody has to unlock it with a passphrase.
        VaultError: see `open_vault` and `create_vault`.
    """
    refuse_keys_in_environment(environment)
    held_by_openbao = backends.configured_unlock(backends.load(paths.directory))
    if paths.file.exists() or paths.file.is_symlink():
        if held_by_openbao is not None and any(slot.kind == "transit" for slot in inspect(paths.file).slots.values()):
            return open_vault(paths, held_by_openbao)
        return _open_with_key_file(paths)
    paths.make_directories()
    if held_by_openbao is not None:
        return create_vault(paths, {TRANSIT_SLOT: held_by_openbao})
    try:
        key = read_key_file(paths.key_file)
    except NotFound:
        key = write_new_key_file(paths.key_file)
    return create_vault(paths, {KEY_SLOT: key})


def new_key_file(key_file: Path) -> Path:
    """Where the next key file lies while `rekey --root` replaces the old one."""
    return key_file.with_name(key_file.name + ".new")


def take_new_key_file(key_file: Path) -> None:
    """Put the next key file in the place of the old one."""
    os.replace(new_key_file(key_file), key_file)
    files.sync_directory(key_file.parent)


def admin_key(path: Path) -> bytes:
    """The key that `opencrust vault` proves to the running vault; made when it is missing.

    Raises:
        Unsafe: others could read it.
    """
    try:
        return files.read_private(path, limit=32)
    except NotFound:
        key = os.urandom(32)
        files.write_private(path, key)
        return key


def write_head(path: Path, head: Head, generation: int) -> None:
    """Keep the audit chain's head. Raises OSError."""
    files.write_private(path, canonical({"seq": head.seq, "mac": head.mac, "generation": generation}))


def read_head(path: Path) -> Head | None:
    """The head that was kept, or None. It only ever makes verification stricter, so a broken one counts as none."""
    try:
        content = parse_canonical(files.read_private(path, limit=4096), "audit head")
        return Head(int(content["seq"]), str(content["mac"]))
    except (VaultError, KeyError, ValueError, TypeError):
        return None


def _open_with_key_file(paths: Paths) -> OpenVault:
    try:
        return open_vault(paths, read_key_file(paths.key_file))
    except WrongKey:
        fresh = new_key_file(paths.key_file)
        if not fresh.exists():
            raise
        # A crash fell between the new root key and the new key file.
        vault = open_vault(paths, read_key_file(fresh))
        take_new_key_file(paths.key_file)
        return vault


def _with_audit(paths: Paths, store: FileStore, event: str, **fields: str | int) -> OpenVault:
    try:
        audit = AuditLog(paths.audit, store.subkey("audit"))
        audit.append(event, sync=True, key_memory=store.key_memory, **fields)
        values = backends.configured_store(backends.load(paths.directory))
        return OpenVault(paths, store, values or FileBackend(store), audit)
    except BaseException:
        store.close()
        raise
