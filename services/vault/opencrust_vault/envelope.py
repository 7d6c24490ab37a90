"""Sealing: AES-256-GCM under a key used once, with a commitment to that key.

    sealed = salt(32) | commitment(32) | nonce(12) | ciphertext | tag(16)
    key(32) | commitment(32) = HKDF-SHA256(ikm, salt, info = "opencrust-vault/1" | context, 64)   RFC 5869
    ciphertext | tag         = AES-256-GCM(key, nonce, plaintext, AAD = context)                  SP 800-38D

The fresh 256-bit salt gives every sealing a key of its own, so the limit of 2^32 random nonces per key never
comes near. GCM alone does not bind a ciphertext to one key (two keys can open one ciphertext to two different
plaintexts); the commitment does. The context is authenticated twice, by the derivation and as AAD.
"""

import base64
import binascii
import hmac
import os

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from opencrust_vault.errors import Corrupt, VaultError

KEY = 32
SALT = 32
COMMITMENT = 32
NONCE = 12
TAG = 16
OVERHEAD = SALT + COMMITMENT + NONCE + TAG
_LABEL = b"opencrust-vault/1"

Key = bytes | bytearray | memoryview


def context(domain: str, *parts: str | int | bytes) -> bytes:
    """Encode what a ciphertext belongs to, so that no two different lists of parts share an encoding.

    `domain` is a short tag such as "value". Every piece, the tag included, is preceded by its length as
    u64 big endian; integers are written as decimal text.
    """
    pieces = [domain.encode()]
    for part in parts:
        pieces.append(part if isinstance(part, bytes) else str(part).encode())
    return b"".join(len(piece).to_bytes(8, "big") + piece for piece in pieces)


def derive(key: Key, label: str) -> bytearray:
    """Derive a 32-byte subkey for one purpose (HKDF-SHA256, no salt, info = label | purpose)."""
    out = bytearray(KEY)
    HKDF(hashes.SHA256(), KEY, None, _LABEL + context("subkey", label)).derive_into(key, out)
    return out


def seal(key: Key, plaintext: Key, about: bytes) -> bytes:
    """Encrypt `plaintext` under `key` for the context `about`; see the module for the layout."""
    salt, nonce = os.urandom(SALT), os.urandom(NONCE)
    keys = _keys(key, salt, about)
    try:
        ciphertext = AESGCM(memoryview(keys)[:KEY]).encrypt(nonce, plaintext, about)
        return salt + bytes(keys[KEY:]) + nonce + ciphertext
    finally:
        wipe(keys)


def unseal(key: Key, sealed: bytes, about: bytes, *, mismatch: type[VaultError] = Corrupt) -> bytearray:
    """Decrypt what `seal` made. The caller wipes the returned buffer when done.

    Raises:
        Corrupt: `sealed` is too short.
        mismatch: the key or the context is another one, or a bit was changed.
    """
    if len(sealed) < OVERHEAD:
        raise Corrupt("a sealed item is shorter than its own frame")
    salt, commitment = sealed[:SALT], sealed[SALT : SALT + COMMITMENT]
    nonce = sealed[SALT + COMMITMENT : SALT + COMMITMENT + NONCE]
    ciphertext = sealed[SALT + COMMITMENT + NONCE :]
    keys = _keys(key, salt, about)
    plaintext = bytearray(len(ciphertext) - TAG)
    try:
        if not hmac.compare_digest(bytes(keys[KEY:]), commitment):
            raise mismatch("a sealed item does not belong to this key and place")
        AESGCM(memoryview(keys)[:KEY]).decrypt_into(nonce, ciphertext, about, plaintext)
    except InvalidTag:
        raise mismatch("a sealed item fails authentication") from None
    finally:
        wipe(keys)
    return plaintext


def wipe(buffer: bytearray | memoryview) -> None:
    """Overwrite a buffer with zeros. Best effort: copies made by the interpreter are out of reach."""
    buffer[:] = bytes(len(buffer))


def encode(data: bytes | bytearray) -> str:
    """Standard base64 with padding (RFC 4648 §4), the only binary encoding inside the file."""
    return base64.b64encode(data).decode()


def decode(text: object) -> bytes:
    """Undo `encode`, refusing every other spelling of the same bytes.

    Raises:
        Corrupt: not text, not base64, or not the canonical form.
    """
    if not isinstance(text, str):
        raise Corrupt("expected base64 text")
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise Corrupt("malformed base64") from None
    if encode(data) != text:
        raise Corrupt("base64 that is not in its canonical form")
    return data


def _keys(key: Key, salt: bytes, about: bytes) -> bytearray:
    out = bytearray(KEY + COMMITMENT)
    HKDF(hashes.SHA256(), KEY + COMMITMENT, salt, _LABEL + about).derive_into(key, out)
    return out
