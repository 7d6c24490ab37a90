"""The bytes of a vault file, both ways, without touching a disk. `docs/vault-format.md` is the specification.

    magic(8) | u32 length | header | u32 length | body | MAC(32)

The header is canonical JSON in clear (format, vault id, generation, slots, keyring); the body is canonical
JSON sealed under a subkey of the root key (secrets' names and sealed versions, policy), so that a stolen file
shows neither names nor who may read them. The MAC covers everything before it.

Reading is strict: one spelling for each content. Whatever is unknown, missing, doubled, out of bounds or
spelled otherwise is `Corrupt`.
"""

import hmac
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from opencrust_vault import envelope
from opencrust_vault.errors import BadName, Corrupt
from opencrust_vault.slots import Slot, check_params

MAGIC = b"OCVLT\x00\x01\n"
FORMAT = 1
MAC = 32
MAX_FILE = 64 * 1024 * 1024
MAX_VALUE = 64 * 1024
MAX_NUMBER = 2**53 - 1
_ENCODER = json.JSONEncoder(sort_keys=True, separators=(",", ":"), allow_nan=False)
_NAME = re.compile(r"[a-z0-9][a-z0-9_.-]{0,95}\Z")
_VAULT_ID = re.compile(r"[0-9a-f]{32}\Z")
_KEK_ID = re.compile(r"k[1-9][0-9]{0,8}\Z")


@dataclass(frozen=True, slots=True)
class Header:
    """The clear part: what is needed before anything can be opened."""

    vault_id: str
    generation: int
    slots: Mapping[str, Slot]
    keyring: bytes


@dataclass(frozen=True, slots=True)
class SecretVersion:
    """One version of one secret: its DEK sealed under a KEK, its value sealed under the DEK."""

    kek: str
    dek: bytes
    value: bytes
    created: int
    expires: int | None


@dataclass(frozen=True, slots=True)
class Secret:
    """A name's versions; `current` is the newest that was ever written."""

    current: int
    versions: Mapping[int, SecretVersion]


@dataclass(frozen=True, slots=True)
class Body:
    """The sealed part. `policy` is JSON that `opencrust_vault.policy` reads."""

    secrets: Mapping[str, Secret] = field(default_factory=dict)
    policy: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Parsed:
    """A file taken apart, nothing verified yet but its shape."""

    header: Header
    body: bytes
    covered: memoryview
    mac: bytes


def check_name(name: object, what: str = "secret") -> str:
    """Return `name` if it is one: 1–96 characters of a–z 0–9 _ . - beginning with a letter or digit.

    Raises:
        BadName: the message never repeats what it was given, so that it is safe to log.
    """
    if not isinstance(name, str) or not _NAME.match(name):
        raise BadName(
            f"a {what}'s name is 1–96 characters of a–z, 0–9, '_', '.', '-', beginning with a letter or digit"
        )
    return name


def canonical(content: object) -> bytes:
    """The one JSON spelling of `content`: sorted keys, no blanks, ASCII."""
    return _ENCODER.encode(content).encode()


def parse_canonical(data: bytes, what: str) -> dict[str, Any]:
    """Read a canonical JSON object.

    Raises:
        Corrupt: not JSON, not an object, or not in its canonical spelling.
    """
    try:
        content = json.loads(data)
        same = isinstance(content, dict) and canonical(content) == data
    except (ValueError, RecursionError):
        raise Corrupt(f"the {what} is not JSON") from None
    if not same:
        raise Corrupt(f"the {what} is not in its canonical form")
    return dict(content)


def parse(raw: bytes) -> Parsed:
    """Take a file apart and check its shape. No key is needed.

    Raises:
        Corrupt: see the module.
    """
    if len(raw) > MAX_FILE:
        raise Corrupt("the file is larger than a vault may be")
    if raw[: len(MAGIC)] != MAGIC:
        raise Corrupt("this is not a vault file of a format that this version knows")
    at = len(MAGIC)
    header, at = _section(raw, at, "header")
    body, at = _section(raw, at, "body")
    if len(raw) - at != MAC:
        raise Corrupt("the file does not end where it should")
    return Parsed(_read_header(parse_canonical(header, "header")), body, memoryview(raw)[:at], raw[at:])


def verify_mac(parsed: Parsed, root: envelope.Key) -> None:
    """Check the whole-file MAC.

    Raises:
        Corrupt: something in the file was changed, or the root key is another vault's.
    """
    if not hmac.compare_digest(_mac(root, parsed.covered), parsed.mac):
        raise Corrupt("the file's MAC does not fit its content: it was changed or damaged")


def open_body(parsed: Parsed, root: envelope.Key) -> Body:
    """Unseal and read the body."""
    key = envelope.derive(root, "body")
    try:
        plain = envelope.unseal(key, parsed.body, _body_context(parsed.header))
    finally:
        envelope.wipe(key)
    return _read_body(parse_canonical(bytes(plain), "body"))


def build(header: Header, body: Body, root: envelope.Key) -> bytes:
    """The file for this content; the inverse of `parse`, `verify_mac` and `open_body`."""
    key = envelope.derive(root, "body")
    try:
        sealed = envelope.seal(key, canonical(_body_json(body)), _body_context(header))
    finally:
        envelope.wipe(key)
    head = canonical(_header_json(header))
    covered = b"".join([MAGIC, len(head).to_bytes(4, "big"), head, len(sealed).to_bytes(4, "big"), sealed])
    if len(covered) + MAC > MAX_FILE:
        raise Corrupt("the vault would become larger than 64 MiB")
    return covered + _mac(root, covered)


def secret_context(kind: str, vault_id: str, name: str, version: int) -> bytes:
    """What a DEK (`kind` "dek") or a value ("value") is bound to."""
    return envelope.context(kind, vault_id, name, version)


def keyring_context(vault_id: str) -> bytes:
    """What the keyring is bound to."""
    return envelope.context("keyring", vault_id)


def _body_context(header: Header) -> bytes:
    return envelope.context("body", header.vault_id, header.generation)


def _mac(root: envelope.Key, covered: bytes | memoryview) -> bytes:
    key = envelope.derive(root, "file-mac")
    try:
        return hmac.digest(key, covered, "sha256")
    finally:
        envelope.wipe(key)


def _section(raw: bytes, at: int, what: str) -> tuple[bytes, int]:
    length = int.from_bytes(raw[at : at + 4], "big")
    start = at + 4
    if len(raw) < start or length > len(raw) - start:
        raise Corrupt(f"the file ends inside of its {what}")
    return raw[start : start + length], start + length


def _fields(content: object, names: set[str], what: str) -> dict[str, Any]:
    if not isinstance(content, dict) or set(content) != names:
        raise Corrupt(f"{what} has other fields than the format allows")
    return content


def _number(value: object, what: str, low: int = 0) -> int:
    if type(value) is not int or not low <= value <= MAX_NUMBER:
        raise Corrupt(f"{what} is not a number in its range")
    return value


def _read_header(content: dict[str, Any]) -> Header:
    _fields(content, {"format", "generation", "keyring", "slots", "vault"}, "the header")
    if content["format"] != FORMAT or type(content["format"]) is not int:
        raise Corrupt("the file has a format that this version does not know")
    if not isinstance(content["vault"], str) or not _VAULT_ID.match(content["vault"]):
        raise Corrupt("the vault id is malformed")
    if not isinstance(content["slots"], dict) or not 1 <= len(content["slots"]) <= 32:
        raise Corrupt("a vault has between 1 and 32 slots")
    slots: dict[str, Slot] = {}
    for slot_id, slot in content["slots"].items():
        if not _NAME.match(slot_id):
            raise Corrupt("a slot's id is malformed")
        _fields(slot, {"created", "kind", "params", "root"}, "a slot")
        params = check_params(slot["kind"], slot["params"])
        slots[slot_id] = Slot(
            slot["kind"], params, envelope.decode(slot["root"]), _number(slot["created"], "a slot's date")
        )
    return Header(
        content["vault"],
        _number(content["generation"], "the generation", 1),
        slots,
        envelope.decode(content["keyring"]),
    )


def _header_json(header: Header) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "vault": header.vault_id,
        "generation": header.generation,
        "keyring": envelope.encode(header.keyring),
        "slots": {
            slot_id: {
                "kind": slot.kind,
                "params": slot.params,
                "root": envelope.encode(slot.root),
                "created": slot.created,
            }
            for slot_id, slot in header.slots.items()
        },
    }


def _read_body(content: dict[str, Any]) -> Body:
    _fields(content, {"policy", "secrets"}, "the body")
    if not isinstance(content["policy"], dict) or not isinstance(content["secrets"], dict):
        raise Corrupt("the body is malformed")
    secrets: dict[str, Secret] = {}
    for name, secret in content["secrets"].items():
        if not _NAME.match(name):
            raise Corrupt("a secret's name is malformed")
        _fields(secret, {"current", "versions"}, "a secret")
        if not isinstance(secret["versions"], dict):
            raise Corrupt("a secret's versions are malformed")
        versions = dict(_read_version(number, item) for number, item in secret["versions"].items())
        current = _number(secret["current"], "a secret's current version", 1)
        if any(number > current for number in versions):
            raise Corrupt("a secret has a version newer than its current one")
        secrets[name] = Secret(current, versions)
    return Body(secrets, content["policy"])


def _read_version(number: str, item: object) -> tuple[int, SecretVersion]:
    fields = _fields(item, {"created", "dek", "expires", "kek", "value"}, "a version")
    if (
        not number.isascii()
        or not number.isdecimal()
        or len(number) > 15
        or str(int(number)) != number
        or number == "0"
    ):
        raise Corrupt("a version's number is malformed")
    if not isinstance(fields["kek"], str) or not _KEK_ID.match(fields["kek"]):
        raise Corrupt("a version names no key encryption key")
    expires = fields["expires"]
    return int(number), SecretVersion(
        fields["kek"],
        envelope.decode(fields["dek"]),
        envelope.decode(fields["value"]),
        _number(fields["created"], "a version's date"),
        None if expires is None else _number(expires, "a version's expiry"),
    )


def _body_json(body: Body) -> dict[str, Any]:
    return {
        "policy": body.policy,
        "secrets": {
            name: {
                "current": secret.current,
                "versions": {
                    str(number): {
                        "kek": version.kek,
                        "dek": envelope.encode(version.dek),
                        "value": envelope.encode(version.value),
                        "created": version.created,
                        "expires": version.expires,
                    }
                    for number, version in secret.versions.items()
                },
            }
            for name, secret in body.secrets.items()
        },
    }
