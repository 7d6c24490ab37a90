"""A second reader of the vault file, written from docs/vault-format.md alone. It imports nothing of the product."""

import base64
import hashlib
import hmac
import json
import re
import unicodedata
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

INFO = b"opencrust-vault/1"
NAME = re.compile(r"[a-z0-9][a-z0-9_.-]{0,95}\Z")
BOUNDS = {"memory": (19456, 2097152), "iterations": (1, 16), "lanes": (1, 16)}


class Refused(Exception):
    """The file, the key or the anchor is not acceptable."""


def need(condition: object) -> None:
    if not condition:
        raise Refused


def context(*parts: object) -> bytes:
    encoded = [part if isinstance(part, bytes) else str(part).encode() for part in parts]
    return b"".join(len(part).to_bytes(8, "big") + part for part in encoded)


def hkdf(key: bytes, salt: bytes | None, info: bytes, length: int) -> bytes:
    return HKDF(hashes.SHA256(), length, salt, info).derive(key)


def subkey(key: bytes, label: str) -> bytes:
    return hkdf(key, None, INFO + context("subkey", label), 32)


def unseal(key: bytes, sealed: bytes, about: bytes) -> bytes:
    need(len(sealed) >= 92)
    salt, commitment, nonce, rest = sealed[:32], sealed[32:64], sealed[64:76], sealed[76:]
    derived = hkdf(key, salt, INFO + about, 64)
    need(hmac.compare_digest(derived[32:], commitment))
    return AESGCM(derived[:32]).decrypt(nonce, rest, about)


def b64(text: Any) -> bytes:
    data = base64.b64decode(text, validate=True)
    need(base64.b64encode(data).decode() == text)
    return data


def strict(data: bytes) -> dict[str, Any]:
    content = json.loads(data)
    need(isinstance(content, dict))
    need(json.dumps(content, sort_keys=True, separators=(",", ":")).encode() == data)
    return dict(content)


def number(value: object, low: int = 0) -> int:
    need(type(value) is int and low <= value < 2**53)
    assert isinstance(value, int)
    return value


def slot_key(kind: str, params: dict[str, Any], unlock: dict[str, str]) -> bytes:
    need(kind == unlock["kind"])
    if kind == "passphrase":
        return Argon2id(
            salt=b64(params["salt"]),
            length=32,
            iterations=params["iterations"],
            lanes=params["lanes"],
            memory_cost=params["memory"],
        ).derive(unicodedata.normalize("NFC", unlock["text"]).encode())
    if kind == "recovery":
        letters = unlock["text"].replace("-", "")
        need(letters.startswith("OCR1"))
        data = base64.b32decode(letters[4:36])
        need(base64.b32encode(hashlib.sha256(b"opencrust recovery key" + data).digest())[:4].decode() == letters[36:])
        return data
    key = bytes.fromhex(unlock["key"])
    need(len(key) == 32 and len(set(key)) >= 8)
    return key


def check_slot(slot: dict[str, Any]) -> None:
    need(set(slot) == {"created", "kind", "params", "root"})
    number(slot["created"])
    params, kind = slot["params"], slot["kind"]
    if kind == "passphrase":
        need(set(params) == {"salt", "memory", "iterations", "lanes"})
        need(len(b64(params["salt"])) == 16)
        for name, (low, high) in BOUNDS.items():
            need(number(params[name], low) <= high)
    elif kind == "transit":
        need(set(params) == {"mount", "key", "wrapped"})
        need(all(isinstance(value, str) and len(value) <= 1024 for value in params.values()))
    else:
        need(kind in ("key-file", "recovery") and params == {})


def read(raw: bytes, unlock: dict[str, str], anchor: bytes | None) -> dict[str, dict[int, bytes]]:
    """All secrets of a file: name → version → value. Raises Refused, whatever is wrong."""
    try:
        return _read(raw, unlock, anchor)
    except (InvalidTag, ValueError, KeyError, TypeError, RecursionError):
        raise Refused from None


def _read(raw: bytes, unlock: dict[str, str], anchor: bytes | None) -> dict[str, dict[int, bytes]]:
    need(raw[:8] == b"OCVLT\x00\x01\n" and len(raw) <= 64 * 2**20)
    header_end = 12 + int.from_bytes(raw[8:12], "big")
    body_at = header_end + 4
    body_end = body_at + int.from_bytes(raw[header_end:body_at], "big")
    need(len(raw) == body_end + 32)
    header = strict(raw[12:header_end])
    need(set(header) == {"format", "generation", "keyring", "slots", "vault"} and header["format"] == 1)
    vault, generation = header["vault"], number(header["generation"], 1)
    need(re.match(r"[0-9a-f]{32}\Z", vault) and 1 <= len(header["slots"]) <= 32)
    root = b""
    for slot_id, slot in header["slots"].items():
        need(NAME.match(slot_id))
        check_slot(slot)
        if slot["kind"] == unlock["kind"]:
            params = [piece for name in sorted(slot["params"]) for piece in (name, slot["params"][name])]
            key = slot_key(slot["kind"], slot["params"], unlock)
            root = unseal(key, b64(slot["root"]), context("slot", vault, slot_id, slot["kind"], *params))
    need(len(root) == 32)
    need(hmac.compare_digest(hmac.digest(subkey(root, "file-mac"), raw[:body_end], "sha256"), raw[body_end:]))
    keyring = strict(unseal(subkey(root, "keyring"), b64(header["keyring"]), context("keyring", vault)))
    need(set(keyring) == {"audit", "current", "keks"} and keyring["current"] in keyring["keks"])
    body = strict(unseal(subkey(root, "body"), raw[body_at:body_end], context("body", vault, generation)))
    need(set(body) == {"policy", "secrets"} and isinstance(body["policy"], dict))
    check_anchor(anchor, root, vault, generation, raw[body_end:].hex())
    values: dict[str, dict[int, bytes]] = {}
    for name, secret in body["secrets"].items():
        need(NAME.match(name) and set(secret) == {"current", "versions"})
        values[name] = {}
        for text, version in secret["versions"].items():
            need(re.match(r"[1-9][0-9]{0,14}\Z", text) and int(text) <= number(secret["current"], 1))
            need(set(version) == {"created", "dek", "expires", "kek", "value"})
            number(version["created"])
            need(version["expires"] is None or number(version["expires"]) >= 0)
            kek = b64(keyring["keks"][version["kek"]])
            dek = unseal(kek, b64(version["dek"]), context("dek", vault, name, text))
            need(len(dek) == 32)
            values[name][int(text)] = unseal(dek, b64(version["value"]), context("value", vault, name, text))
    return values


def check_anchor(anchor: bytes | None, root: bytes, vault: str, generation: int, mac: str) -> None:
    if anchor is None:
        need(generation == 1)
        return
    known = strict(anchor)
    about = context("anchor", known["vault"], known["generation"], known["mac"])
    need(hmac.compare_digest(hmac.digest(subkey(root, "anchor"), about, "sha256").hex(), known["tag"]))
    need(known["vault"] == vault and generation >= known["generation"])
    need(generation > known["generation"] or known["mac"] == mac)
