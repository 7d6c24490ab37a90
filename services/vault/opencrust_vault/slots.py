"""Slots: the ways to unlock. Each wraps the same root key under an unlock key of its own.

| kind       | unlock key                                   | parameters in the file                    |
| ---------- | -------------------------------------------- | ----------------------------------------- |
| key-file   | 32 random bytes                              | none                                      |
| passphrase | Argon2id(NFC text)                           | salt (16 B), memory (KiB), iterations, lanes |
| recovery   | 20 random bytes, shown once as `OCR1-…`      | none                                      |
| transit    | 32 random bytes, wrapped by OpenBao's transit | mount, key, wrapped                      |

Parameters are bounded *before* any work is done with them: a file must not be able to ask for a terabyte.
"""

import base64
import hashlib
import math
import os
import unicodedata
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

from opencrust_vault import envelope
from opencrust_vault.errors import Corrupt, WrongKey

Params = dict[str, str | int]

KINDS = ("key-file", "passphrase", "recovery", "transit")
MEMORY = (19 * 1024, 2 * 1024 * 1024)  # KiB; the lower bound is OWASP's minimum
ITERATIONS = (1, 16)
LANES = (1, 16)
SALT = 16
RECOVERY = 20
MIN_PASSPHRASE_BITS = 64
_RECOVERY_MARK = "OCR1"


class UnlockKey(Protocol):
    """A way to come by a slot's key."""

    @property
    def kind(self) -> str:
        """One of `KINDS`."""

    def new_params(self) -> Params:
        """Parameters for a fresh slot."""

    def key(self, params: Mapping[str, str | int]) -> bytearray:
        """The slot's key. The caller wipes it. Raises WrongKey when this cannot be an unlock key."""


@dataclass(frozen=True, slots=True)
class Slot:
    """One slot as it stands in the file.

    Attributes:
        kind: one of `KINDS`.
        params: checked against the bounds above.
        root: the root key, sealed under the slot's key.
        created: seconds since the epoch.
    """

    kind: str
    params: Params
    root: bytes
    created: int


@dataclass(frozen=True, slots=True)
class KeyFile:
    """32 random bytes from a key file, a compose secret or a systemd credential."""

    secret: bytes = field(repr=False)
    kind: str = "key-file"

    def new_params(self) -> Params:
        return {}

    def key(self, params: Mapping[str, str | int]) -> bytearray:
        if len(self.secret) != envelope.KEY or len(set(self.secret)) < 8:
            raise WrongKey("an unlock key is 32 random bytes; this one is not")
        return bytearray(self.secret)


@dataclass(frozen=True, slots=True)
class Passphrase:
    """A passphrase, stretched with Argon2id (RFC 9106, its second recommended choice: 64 MiB, 3, 4)."""

    text: str = field(repr=False)
    memory: int = 65536
    iterations: int = 3
    lanes: int = 4
    kind: str = "passphrase"

    def new_params(self) -> Params:
        return {
            "salt": envelope.encode(os.urandom(SALT)),
            "memory": self.memory,
            "iterations": self.iterations,
            "lanes": self.lanes,
        }

    def key(self, params: Mapping[str, str | int]) -> bytearray:
        out = bytearray(envelope.KEY)
        Argon2id(
            salt=envelope.decode(params["salt"]),
            length=envelope.KEY,
            iterations=int(params["iterations"]),
            lanes=int(params["lanes"]),
            memory_cost=int(params["memory"]),
        ).derive_into(unicodedata.normalize("NFC", self.text).encode(), out)
        return out


@dataclass(frozen=True, slots=True)
class RecoveryKey:
    """160 random bits that a person keeps on paper."""

    secret: bytes = field(repr=False)
    kind: str = "recovery"

    @classmethod
    def generate(cls) -> "RecoveryKey":
        """A fresh one."""
        return cls(os.urandom(RECOVERY))

    @classmethod
    def parse(cls, text: str) -> "RecoveryKey":
        """Read what `display` wrote; case, blanks and dashes do not matter, 0/1/8 are read as O/I/B.

        Raises:
            WrongKey: not a recovery key, or mistyped (the last group is a checksum).
        """
        letters = "".join(text.split()).upper().replace("-", "")
        if not letters.startswith(_RECOVERY_MARK):
            raise WrongKey(f"a recovery key begins with {_RECOVERY_MARK}")
        letters = letters[len(_RECOVERY_MARK) :].translate(str.maketrans("018", "OIB"))
        try:
            data = base64.b32decode(letters[:32])
        except ValueError:
            raise WrongKey("this is not a recovery key: a character is outside of A-Z and 2-7") from None
        if len(letters) != 36 or len(data) != RECOVERY or letters[32:] != _check(data):
            raise WrongKey("the recovery key is mistyped: its checksum does not fit")
        return cls(data)

    def display(self) -> str:
        """The form for paper: `OCR1-` and nine groups of four."""
        letters = base64.b32encode(self.secret).decode() + _check(self.secret)
        return "-".join([_RECOVERY_MARK, *(letters[at : at + 4] for at in range(0, 36, 4))])

    def new_params(self) -> Params:
        return {}

    def key(self, params: Mapping[str, str | int]) -> bytearray:
        if len(self.secret) != RECOVERY or len(set(self.secret)) < 6:
            raise WrongKey("a recovery key is 20 random bytes; this one is not")
        return bytearray(self.secret)


@dataclass(frozen=True, slots=True)
class TransitKey:
    """A key that only OpenBao's transit engine can unwrap, so that unlocking is revocable and on its record.

    Attributes:
        mount, name: where the transit key is.
        new_data_key: asks OpenBao for a data key; returns the wrapped form ("vault:v1:…").
        unwrap: turns the wrapped form into the 32 bytes.
    """

    mount: str
    name: str
    new_data_key: Callable[[], str] = field(repr=False)
    unwrap: Callable[[str], bytes] = field(repr=False)
    kind: str = "transit"

    def new_params(self) -> Params:
        return {"mount": self.mount, "key": self.name, "wrapped": self.new_data_key()}

    def key(self, params: Mapping[str, str | int]) -> bytearray:
        secret = self.unwrap(str(params["wrapped"]))
        if len(secret) != envelope.KEY:
            raise WrongKey("the transit key unwraps to something that is not 32 bytes")
        return bytearray(secret)


def check_params(kind: object, params: object) -> Params:
    """Check a slot's parameters as read from a file, before anything is computed with them.

    Raises:
        Corrupt: unknown kind, missing or unknown parameter, or a value out of its bounds.
    """
    if kind not in KINDS or not isinstance(params, dict):
        raise Corrupt("a slot is of an unknown kind")
    wanted = {
        "passphrase": {"salt", "memory", "iterations", "lanes"},
        "transit": {"mount", "key", "wrapped"},
    }.get(str(kind), set())
    if set(params) != wanted:
        raise Corrupt(f"a {kind} slot has other parameters than its kind allows")
    if kind == "passphrase":
        if len(envelope.decode(params["salt"])) != SALT:
            raise Corrupt("a passphrase slot's salt has another length than 16 bytes")
        for name, (low, high) in (("memory", MEMORY), ("iterations", ITERATIONS), ("lanes", LANES)):
            value = params[name]
            if type(value) is not int or not low <= value <= high:
                raise Corrupt(f"a passphrase slot asks for Argon2id {name} outside of {low}…{high}")
    if kind == "transit" and not all(isinstance(value, str) and len(value) <= 1024 for value in params.values()):
        raise Corrupt("a transit slot's parameters are not short texts")
    return dict(params)


def seal_root(vault_id: str, slot_id: str, unlock: UnlockKey, root: envelope.Key, *, created: int) -> Slot:
    """Make a slot that opens with `unlock`."""
    params = check_params(unlock.kind, unlock.new_params())
    key = unlock.key(params)
    try:
        sealed = envelope.seal(key, root, _about(vault_id, slot_id, unlock.kind, params))
        return Slot(unlock.kind, params, sealed, created)
    finally:
        envelope.wipe(key)


def open_root(vault_id: str, slot_id: str, slot: Slot, unlock: UnlockKey) -> bytearray:
    """The root key that a slot holds.

    Raises:
        WrongKey: `unlock` does not open it.
    """
    key = unlock.key(slot.params)
    try:
        about = _about(vault_id, slot_id, slot.kind, slot.params)
        root = envelope.unseal(key, slot.root, about, mismatch=WrongKey)
    finally:
        envelope.wipe(key)
    if len(root) != envelope.KEY:
        raise Corrupt("a slot holds a root key of another length than 32 bytes")
    return root


def passphrase_bits(text: str) -> float:
    """A cautious estimate of a passphrase's strength in bits, for refusing weak ones.

    It counts the distinct words (at most 10 bits each, for passphrases of words) or the characters by the
    alphabet they come from, scaled down by how repetitive the text is; the smaller estimate counts.
    """
    if not text:
        return 0.0
    classes = (
        (str.islower, 26),
        (str.isupper, 26),
        (str.isdigit, 10),
        (lambda character: not character.isalnum(), 20),
    )
    alphabet = sum(size for matches, size in classes if any(matches(character) for character in text)) or 26
    counts = Counter(text)
    entropy = -sum(count / len(text) * math.log2(count / len(text)) for count in counts.values())
    by_character = len(text) * min(math.log2(alphabet), entropy)
    words = text.split()
    if len(words) >= 3 and all(word.isalpha() for word in words):
        return min(by_character, 11.0 * len({word.lower() for word in words}))
    return by_character


def check_passphrase(text: str) -> None:
    """Refuse a passphrase that a stolen file would give away.

    Raises:
        WrongKey: estimated below 64 bits.
    """
    if passphrase_bits(text) < MIN_PASSPHRASE_BITS:
        raise WrongKey(
            "this passphrase is too easy to guess: use six or more random words, or about 16 random characters"
        )


def _about(vault_id: str, slot_id: str, kind: str, params: Mapping[str, str | int]) -> bytes:
    pairs = [piece for name in sorted(params) for piece in (name, params[name])]
    return envelope.context("slot", vault_id, slot_id, kind, *pairs)


def _check(data: bytes) -> str:
    return base64.b32encode(hashlib.sha256(b"opencrust recovery key" + data).digest()).decode()[:4]
