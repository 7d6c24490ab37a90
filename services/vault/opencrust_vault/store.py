"""`FileStore`: a vault file, open and locked.

Everything is in memory in its sealed form; a read unseals one DEK and one value. A change builds the next
document, writes it durably, moves the anchor, and only then becomes what this object answers with, so a
failing disk leaves memory and file in agreement.
"""

import os
import secrets as randomness
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from opencrust_vault import anchor, document, envelope, files
from opencrust_vault.backend import SecretInfo
from opencrust_vault.document import Body, Header, Secret, SecretVersion
from opencrust_vault.errors import AnchorNotWritten, BadValue, Corrupt, NotFound, VaultError, VersionConflict, WrongKey
from opencrust_vault.hygiene import KeyMemory
from opencrust_vault.slots import Slot, UnlockKey, open_root, seal_root

KEEP_VERSIONS = 5


class FileStore:
    """An open vault file. Use `create` or `open`; `close` gives the lock back and wipes the keys."""

    def __init__(
        self,
        path: Path,
        anchor_path: Path,
        *,
        on_step: files.Step = files.no_step,
        now: Callable[[], float] = time.time,
    ) -> None:
        """Take the lock; see `create` and `open`, which are the ways to a usable object."""
        self.path = path
        self.anchor_path = anchor_path
        self._on_step = on_step
        self._now = now
        self._memory = KeyMemory()
        files.check_directory(path.parent)
        self._lock = files.FileLock(path.with_name(path.name + ".lock"))

    _root: memoryview
    _audit_key: memoryview
    _keks: dict[str, memoryview]
    _current_kek: str
    _header: Header
    _body: Body

    @classmethod
    def create(
        cls,
        path: Path,
        anchor_path: Path,
        unlock: Mapping[str, UnlockKey],
        *,
        policy: Mapping[str, Any] | None = None,
        on_step: files.Step = files.no_step,
        now: Callable[[], float] = time.time,
    ) -> "FileStore":
        """Make a new, empty vault with one slot for each item of `unlock` (slot id → unlock key).

        Raises:
            VaultError: there is a vault already.
            Locked, Unsafe, WrongKey: see `files` and `slots`.
        """
        store = cls(path, anchor_path, on_step=on_step, now=now)
        try:
            if path.exists() or path.is_symlink():
                raise VaultError(f"{path} exists already; nothing was changed")
            vault_id = randomness.token_hex(16)
            store._root = store._memory.hold(os.urandom(envelope.KEY))
            store._audit_key = store._memory.hold(os.urandom(envelope.KEY))
            store._keks = {"k1": store._memory.hold(os.urandom(envelope.KEY))}
            store._current_kek = "k1"
            made = {
                document.check_name(slot_id, "slot"): seal_root(vault_id, slot_id, key, store._root, created=int(now()))
                for slot_id, key in unlock.items()
            }
            if not made:
                raise VaultError("a vault needs at least one way to unlock it")
            store._header = Header(vault_id, 0, made, b"")
            store._body = Body({}, dict(policy or {}))
            store._commit()
            return store
        except BaseException:
            store.close()
            raise

    @classmethod
    def open(
        cls,
        path: Path,
        anchor_path: Path,
        unlock: UnlockKey,
        *,
        accept_rollback: bool = False,
        on_step: files.Step = files.no_step,
        now: Callable[[], float] = time.time,
    ) -> "FileStore":
        """Open a vault.

        Args:
            accept_rollback: take the file although the anchor knows a newer one (a restored backup); the
                generation is then raised above the anchor's.

        Raises:
            NotFound: there is no vault.
            Locked: it is open in another process.
            WrongKey: `unlock` opens none of its slots.
            Corrupt, Unsafe, Rollback: refused; nothing was changed.
        """
        store = cls(path, anchor_path, on_step=on_step, now=now)
        try:
            store._load(unlock, accept_rollback)
            return store
        except BaseException:
            store.close()
            raise

    def close(self) -> None:
        """Wipe the keys and release the lock. Safe to call twice."""
        self._memory.wipe()
        self._lock.release()

    # -- reading

    @property
    def vault_id(self) -> str:
        """32 hex digits, fixed for the vault's life."""
        return self._header.vault_id

    @property
    def generation(self) -> int:
        """Grows by one with every write."""
        return self._header.generation

    @property
    def key_memory(self) -> str:
        """Where the keys live: "memfd_secret", "mlock" or "plain"."""
        return self._memory.kind

    @property
    def slots(self) -> Mapping[str, Slot]:
        """The ways to unlock, by id."""
        return self._header.slots

    @property
    def policy(self) -> Mapping[str, Any]:
        """The policy's JSON, as stored."""
        return self._body.policy

    def subkey(self, purpose: str) -> bytearray:
        """A 32-byte key for a purpose outside of the file ("audit", …), stable over rekeying."""
        return envelope.derive(self._audit_key, purpose)

    def names(self) -> list[str]:
        """All secrets' names, sorted."""
        return sorted(self._body.secrets)

    def info(self, name: str) -> SecretInfo:
        """Everything about a secret but its value. Raises NotFound."""
        secret = self._secret(name)
        current = secret.versions.get(secret.current)
        return SecretInfo(
            name,
            secret.current,
            tuple(sorted(secret.versions)),
            current.created if current else 0,
            current.expires if current else None,
        )

    def get(self, name: str, version: int | None = None) -> tuple[int, bytearray]:
        """The version's number and its value, which the caller wipes.

        Raises:
            NotFound: no such secret or version, or it has expired.
            Corrupt: a sealed item does not belong where it stands.
        """
        secret = self._secret(name)
        number = secret.current if version is None else version
        found = secret.versions.get(number)
        if found is None or (found.expires is not None and found.expires <= self._now()):
            raise NotFound("no such version of this secret, or it has expired")
        dek = self._open_dek(name, number, found)
        try:
            return number, envelope.unseal(
                dek, found.value, document.secret_context("value", self.vault_id, name, number)
            )
        finally:
            envelope.wipe(dek)

    # -- writing

    def put(self, name: str, value: bytes | bytearray, *, expect: int | None = None, expires: int | None = None) -> int:
        """Store a new version and return its number; see `Backend.put`."""
        number, secret = self._new_version(name, value, expect, expires)
        self._commit(secrets={**self._body.secrets, name: secret})
        return number

    def put_many(self, values: Mapping[str, bytes | bytearray]) -> None:
        """Store a new version of each secret in one write: all or none."""
        changed = {name: self._new_version(name, value, None, None)[1] for name, value in values.items()}
        self._commit(secrets={**self._body.secrets, **changed})

    def destroy(self, name: str, version: int | None = None) -> None:
        """Remove one version or the whole secret. Raises NotFound.

        Old disk blocks and backups together with an unlock key still open it: the real remedy for a
        credential that got out is to rotate it at its provider.
        """
        secret = self._secret(name)
        remaining = dict(self._body.secrets)
        if version is None:
            del remaining[name]
        else:
            if version not in secret.versions:
                raise NotFound("no such version of this secret")
            versions = {number: kept for number, kept in secret.versions.items() if number != version}
            remaining[name] = Secret(secret.current, versions)
        self._commit(secrets=remaining)

    def set_policy(self, policy: Mapping[str, Any]) -> None:
        """Replace the policy's JSON."""
        self._commit(policy=dict(policy))

    def rotate_kek(self) -> int:
        """Take a new KEK and re-seal every DEK under it; values are not touched. Returns how many DEKs."""
        fresh_id = f"k{int(self._current_kek[1:]) + 1}"
        old, fresh = self._keks, self._memory.hold(os.urandom(envelope.KEY))
        count = 0
        changed: dict[str, Secret] = {}
        for name, secret in self._body.secrets.items():
            versions: dict[int, SecretVersion] = {}
            for number, version in secret.versions.items():
                dek = self._open_dek(name, number, version)
                about = document.secret_context("dek", self.vault_id, name, number)
                versions[number] = replace(version, kek=fresh_id, dek=envelope.seal(fresh, dek, about))
                envelope.wipe(dek)
                count += 1
            changed[name] = Secret(secret.current, versions)
        before = self._current_kek
        self._keks, self._current_kek = {fresh_id: fresh}, fresh_id
        try:
            self._commit(secrets=changed)
        except OSError:
            self._keks, self._current_kek = old, before
            self._memory.drop(fresh)
            raise
        for key in old.values():
            self._memory.drop(key)
        return count

    def add_slot(self, slot_id: str, unlock: UnlockKey) -> None:
        """Add a way to unlock, or replace the one of that id."""
        document.check_name(slot_id, "slot")
        slot = seal_root(self.vault_id, slot_id, unlock, self._root, created=int(self._now()))
        self._commit(header=replace(self._header, slots={**self._header.slots, slot_id: slot}))

    def remove_slot(self, slot_id: str) -> None:
        """Remove a way to unlock; the last one stays. Raises NotFound, VaultError."""
        if slot_id not in self._header.slots:
            raise NotFound("no such slot")
        remaining = {kept: slot for kept, slot in self._header.slots.items() if kept != slot_id}
        if not remaining:
            raise VaultError("this is the only way to unlock the vault; add another one first")
        self._commit(header=replace(self._header, slots=remaining))

    def rekey_root(self, unlock: Mapping[str, UnlockKey]) -> None:
        """Take a new root key and a new KEK. Only the slots given here remain."""
        if not unlock:
            raise VaultError("a vault needs at least one way to unlock it")
        old = self._root
        fresh = self._memory.hold(os.urandom(envelope.KEY))
        made = {
            document.check_name(slot_id, "slot"): seal_root(
                self.vault_id, slot_id, key, fresh, created=int(self._now())
            )
            for slot_id, key in unlock.items()
        }
        self._root = fresh
        try:
            self._commit(header=replace(self._header, slots=made))
        except OSError:
            self._root = old
            raise
        self._memory.drop(old)
        self.rotate_kek()

    def raise_generation(self, at_least: int) -> None:
        """Write the same content under a generation of `at_least` or more."""
        self._header = replace(self._header, generation=max(self._header.generation, at_least - 1))
        self._commit()

    # -- inside

    def _secret(self, name: str) -> Secret:
        document.check_name(name)
        try:
            return self._body.secrets[name]
        except KeyError:
            raise NotFound("no such secret") from None

    def _open_dek(self, name: str, number: int, version: SecretVersion) -> bytearray:
        kek = self._keks.get(version.kek)
        if kek is None:
            raise Corrupt("a version names a key encryption key that the keyring does not have")
        dek = envelope.unseal(kek, version.dek, document.secret_context("dek", self.vault_id, name, number))
        if len(dek) != envelope.KEY:
            raise Corrupt("a data encryption key has another length than 32 bytes")
        return dek

    def _new_version(
        self, name: str, value: bytes | bytearray, expect: int | None, expires: int | None
    ) -> tuple[int, Secret]:
        document.check_name(name)
        if not 1 <= len(value) <= document.MAX_VALUE:
            raise BadValue(f"a value has between 1 and {document.MAX_VALUE} bytes")
        if expires is not None and not 0 <= expires <= document.MAX_NUMBER:
            raise BadValue("an expiry is given in seconds since 1970")
        before = self._body.secrets.get(name, Secret(0, {}))
        if expect is not None and expect != before.current:
            raise VersionConflict(f"the current version is {before.current}, not {expect}")
        number = before.current + 1
        dek = bytearray(os.urandom(envelope.KEY))
        version = SecretVersion(
            self._current_kek,
            envelope.seal(
                self._keks[self._current_kek], dek, document.secret_context("dek", self.vault_id, name, number)
            ),
            envelope.seal(dek, value, document.secret_context("value", self.vault_id, name, number)),
            int(self._now()),
            expires,
        )
        envelope.wipe(dek)
        kept = {old: before.versions[old] for old in sorted(before.versions)[-(KEEP_VERSIONS - 1) :]}
        return number, Secret(number, {**kept, number: version})

    def _commit(
        self,
        *,
        header: Header | None = None,
        secrets: Mapping[str, Secret] | None = None,
        policy: Mapping[str, Any] | None = None,
    ) -> None:
        if not self._lock.held:
            raise VaultError("this vault is closed")
        next_header = replace(
            header or self._header, generation=self._header.generation + 1, keyring=self._seal_keyring()
        )
        next_body = Body(
            self._body.secrets if secrets is None else secrets, self._body.policy if policy is None else policy
        )
        raw = document.build(next_header, next_body, self._root)
        files.write_private(self.path, raw, on_step=lambda step: self._on_step("vault:" + step), backup=True)
        self._header, self._body = next_header, next_body
        self._move_anchor(raw[-document.MAC :])

    def _move_anchor(self, mac: bytes) -> None:
        fresh = anchor.Anchor(self.vault_id, self.generation, mac.hex())
        try:
            anchor.write(self.anchor_path, fresh, self._root, on_step=lambda step: self._on_step("anchor:" + step))
        except OSError as error:
            raise AnchorNotWritten(
                f"the change is stored, but the rollback anchor {self.anchor_path} could not be written: "
                f"{error.strerror}"
            ) from None

    def _seal_keyring(self) -> bytes:
        content = document.canonical(
            {
                "audit": envelope.encode(bytes(self._audit_key)),
                "current": self._current_kek,
                "keks": {kek_id: envelope.encode(bytes(key)) for kek_id, key in self._keks.items()},
            }
        )
        key = envelope.derive(self._root, "keyring")
        try:
            return envelope.seal(key, content, document.keyring_context(self.vault_id))
        finally:
            envelope.wipe(key)

    def _load(self, unlock: UnlockKey, accept_rollback: bool) -> None:
        parsed = document.parse(files.read_private(self.path, limit=document.MAX_FILE))
        self._header = parsed.header
        self._root = self._memory.hold(_open_any_slot(parsed.header, unlock))
        document.verify_mac(parsed, self._root)
        self._open_keyring(parsed.header)
        self._body = document.open_body(parsed, self._root)
        found = anchor.Anchor(self.vault_id, self.generation, parsed.mac.hex())
        try:
            known = anchor.read(self.anchor_path, self._root)
            anchor.check(known, found)
        except VaultError:
            if not accept_rollback:
                raise
            self.raise_generation(_claimed_generation(self.anchor_path) + 1)
        else:
            if known != found:
                self._move_anchor(parsed.mac)

    def _open_keyring(self, header: Header) -> None:
        key = envelope.derive(self._root, "keyring")
        try:
            plain = envelope.unseal(key, header.keyring, document.keyring_context(header.vault_id))
        finally:
            envelope.wipe(key)
        content = document.parse_canonical(bytes(plain), "keyring")
        keks = content.get("keks")
        if set(content) != {"audit", "current", "keks"} or not isinstance(keks, dict):
            raise Corrupt("the keyring is malformed")
        decoded = {kek_id: envelope.decode(key) for kek_id, key in keks.items()}
        audit = envelope.decode(content["audit"])
        if content["current"] not in decoded or any(len(key) != envelope.KEY for key in (audit, *decoded.values())):
            raise Corrupt("the keyring is malformed")
        self._audit_key = self._memory.hold(audit)
        self._keks = {kek_id: self._memory.hold(key) for kek_id, key in decoded.items()}
        self._current_kek = content["current"]


class FileBackend:
    """A `FileStore` as a `Backend`. Reads take microseconds and writes a few fsyncs, so nothing is threaded."""

    def __init__(self, store: FileStore) -> None:
        self._store = store

    async def get(self, name: str, version: int | None = None) -> tuple[int, bytearray]:
        return self._store.get(name, version)

    async def put(
        self, name: str, value: bytes | bytearray, *, expect: int | None = None, expires: int | None = None
    ) -> int:
        return self._store.put(name, value, expect=expect, expires=expires)

    async def destroy(self, name: str, version: int | None = None) -> None:
        self._store.destroy(name, version)

    async def names(self) -> list[str]:
        return self._store.names()

    async def info(self, name: str) -> SecretInfo:
        return self._store.info(name)

    async def health(self) -> str | None:
        return None


def inspect(path: Path) -> Header:
    """The clear part of a vault file (id, generation, slots), without a key and without the lock.

    Nothing in it is authenticated.

    Raises:
        NotFound, Unsafe, Corrupt.
    """
    return document.parse(files.read_private(path, limit=document.MAX_FILE)).header


def _open_any_slot(header: Header, unlock: UnlockKey) -> bytearray:
    candidates = [(slot_id, slot) for slot_id, slot in header.slots.items() if slot.kind == unlock.kind]
    if not candidates:
        raise WrongKey(f"this vault has no {unlock.kind} slot")
    for slot_id, slot in candidates:
        try:
            return open_root(header.vault_id, slot_id, slot, unlock)
        except WrongKey as error:
            refused = error
    raise WrongKey(f"the {unlock.kind} does not open this vault ({refused})")


def _claimed_generation(path: Path) -> int:
    """The generation that an anchor claims, trusted only upwards: for going above it."""
    try:
        claimed = document.parse_canonical(files.read_private(path, limit=4096), "anchor").get("generation")
    except VaultError:
        return 0
    return claimed if type(claimed) is int and 0 <= claimed < document.MAX_NUMBER // 2 else 0
