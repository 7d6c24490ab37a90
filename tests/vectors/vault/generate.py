"""Writes vectors.json: `python tests/vectors/vault/generate.py`. The result is committed; each run makes new ones.

Each vector: name, about, file (base64), anchor (base64 or null), unlock, expect ("opens", or the error's class),
secrets (only when it opens: name → version → value in base64).
"""

import base64
import hmac
import json
import os
import sys
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from opencrust_vault import anchor, document, envelope, slots
from opencrust_vault.document import Body, Secret, SecretVersion
from opencrust_vault.slots import KeyFile, Passphrase, RecoveryKey
from opencrust_vault.store import FileStore

KEY = bytes(range(1, 33))
OTHER = bytes(range(101, 133))
PHRASE = "Ärger mit sechs Wörtern ist selten"
RECOVERY = RecoveryKey(bytes(range(50, 70)))
UNLOCK = {"kind": "key-file", "key": KEY.hex()}
VECTORS: list[dict[str, Any]] = []


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def add(
    name: str, about: str, raw: bytes, expect: str, *, anchored: bytes | None = None, unlock: dict[str, str] = UNLOCK
) -> None:
    VECTORS.append(
        {
            "name": name,
            "about": about,
            "file": b64(raw),
            "anchor": None if anchored is None else b64(anchored),
            "unlock": unlock,
            "expect": expect,
        }
    )


def make(directory: Path, unlock: dict[str, slots.UnlockKey]) -> FileStore:
    store = FileStore.create(directory / "vault.db", directory / "anchor", unlock)
    store.put("provider.example.api_key", b"sk-example-1")
    store.put("provider.example.api_key", b"sk-example-2")
    store.put("channel.telegram.token", bytes(range(256)), expires=4102444800)
    return store


def remac(store: FileStore, covered: bytes) -> bytes:
    return covered + hmac.digest(envelope.derive(store._root, "file-mac"), covered, "sha256")


def with_header(
    store: FileStore, raw: bytes, change: Callable[[dict[str, Any]], object], *, text: bytes | None = None
) -> bytes:
    """The file with its header changed and the MAC made valid again, as somebody with the key could."""
    length = int.from_bytes(raw[8:12], "big")
    header = json.loads(raw[12 : 12 + length])
    change(header)
    encoded = document.canonical(header) if text is None else text
    return remac(store, raw[:8] + len(encoded).to_bytes(4, "big") + encoded + raw[12 + length : -32])


def with_body(store: FileStore, body: Body | bytes) -> bytes:
    """The file with another body, sealed and under a valid MAC."""
    header = replace(store._header, generation=store.generation)
    if isinstance(body, Body):
        return document.build(header, body, store._root)
    empty = document.build(header, Body(), store._root)
    start = 12 + int.from_bytes(empty[8:12], "big")
    sealed = envelope.seal(
        envelope.derive(store._root, "body"), body, envelope.context("body", store.vault_id, store.generation)
    )
    return remac(store, empty[:start] + len(sealed).to_bytes(4, "big") + sealed)


def salamander(first: bytes, second: bytes, nonce: bytes, aad: bytes) -> bytes:
    """One GCM ciphertext and tag that both keys accept (Dodis et al. 2018; Len, Grubbs, Ristenpart 2021).

    The first block is free: it is solved for so that GHASH gives the same tag under both keys.
    """

    def block(key: bytes, data: bytes) -> int:
        return int.from_bytes(Cipher(algorithms.AES(key), modes.ECB()).encryptor().update(data), "big")

    def times(x: int, y: int) -> int:
        product = 0
        for bit in range(127, -1, -1):
            if y >> bit & 1:
                product ^= x
            x = x >> 1 ^ (0xE1 << 120 if x & 1 else 0)
        return product

    def power(x: int, exponent: int) -> int:
        result = 1 << 127
        while exponent:
            if exponent & 1:
                result = times(result, x)
            x, exponent = times(x, x), exponent >> 1
        return result

    tail = os.urandom(16)  # the plaintexts are noise; what matters is that both keys accept
    padded = aad + bytes(-len(aad) % 16)
    known = [int.from_bytes(padded[at : at + 16], "big") for at in range(0, len(padded), 16)]
    lengths = (len(aad) * 8) << 64 | 32 * 8
    blocks = [*known, 0, int.from_bytes(tail, "big"), lengths]
    total, coefficient = 0, 0
    for key in (first, second):
        h, mask = block(key, bytes(16)), block(key, nonce + b"\0\0\0\1")
        total ^= mask
        for place, value in enumerate(blocks):
            total ^= times(value, power(h, len(blocks) - place))
        coefficient ^= power(h, 3)
    free = times(total, power(coefficient, 2**128 - 2))
    h, tag = block(first, bytes(16)), block(first, nonce + b"\0\0\0\1")
    blocks[len(known)] = free
    for place, value in enumerate(blocks):
        tag ^= times(value, power(h, len(blocks) - place))
    return free.to_bytes(16, "big") + tail + tag.to_bytes(16, "big")


def main() -> None:
    base = Path(tempfile.mkdtemp())
    for name in ("all", "other", "young"):
        (base / name).mkdir(mode=0o700)
    every = {
        "key-file": KeyFile(KEY),
        "passphrase": Passphrase(PHRASE, memory=19456, iterations=2),
        "recovery": RECOVERY,
    }
    store = make(base / "all", every)
    raw, anchored = store.path.read_bytes(), store.anchor_path.read_bytes()
    older = store.path.with_name("vault.db.bak").read_bytes()
    other = make(base / "other", {"key-file": KeyFile(KEY)})
    foreign, foreign_anchor = other.path.read_bytes(), other.anchor_path.read_bytes()
    young = FileStore.create(base / "young" / "vault.db", base / "young" / "anchor", {"key-file": KeyFile(KEY)})

    phrase = {"kind": "passphrase", "text": PHRASE}
    add("opens-key-file", "the plain case", raw, "opens", anchored=anchored)
    add("opens-passphrase", "NFC normalisation included", raw, "opens", anchored=anchored, unlock=phrase)
    add(
        "opens-passphrase-nfd",
        "the same text typed with combining accents",
        raw,
        "opens",
        anchored=anchored,
        unlock={"kind": "passphrase", "text": "A\u0308rger mit sechs Wo\u0308rtern ist selten"},
    )
    add(
        "opens-recovery",
        "the recovery key",
        raw,
        "opens",
        anchored=anchored,
        unlock={"kind": "recovery", "text": RECOVERY.display()},
    )
    add("opens-new", "generation 1 needs no anchor", young.path.read_bytes(), "opens")
    behind = document.canonical(
        {
            "vault": store.vault_id,
            "generation": 3,
            "mac": "00" * 32,
            "tag": anchor._tag(anchor.Anchor(store.vault_id, 3, "00" * 32), store._root),
        }
    )
    add("opens-anchor-behind", "a crash between file and anchor", raw, "opens", anchored=behind)
    for vector in VECTORS:
        opened = young if vector["name"] == "opens-new" else store
        vector["secrets"] = {
            name: {str(number): b64(bytes(opened.get(name, number)[1])) for number in opened.info(name).versions}
            for name in opened.names()
        }

    def bad(name: str, about: str, data: bytes, expect: str = "Corrupt", **more: Any) -> None:
        add(name, about, data, expect, **{"anchored": anchored, **more})

    bad("wrong-key", "another key file", raw, "WrongKey", unlock={"kind": "key-file", "key": OTHER.hex()})
    bad("wrong-passphrase", "another passphrase", raw, "WrongKey", unlock={"kind": "passphrase", "text": PHRASE + "!"})
    bad("poor-key", "32 equal bytes are no key", raw, "WrongKey", unlock={"kind": "key-file", "key": "61" * 32})
    bad("no-such-slot", "the vault has no such slot", foreign, "WrongKey", anchored=foreign_anchor, unlock=phrase)
    bad("empty", "nothing", b"")
    bad("magic-only", "cut after the magic", raw[:8])
    bad("magic-flipped", "one bit of the magic", bytes([raw[0] ^ 1]) + raw[1:])
    bad("format-byte", "format 2 in the magic", raw[:6] + b"\x02" + raw[7:])
    head = int.from_bytes(raw[8:12], "big")
    for name, length in (
        ("header", 12 + head // 2),
        ("header-end", 12 + head),
        ("body", 16 + head + 50),
        ("mac", len(raw) - 1),
    ):
        bad(f"cut-in-{name}", f"truncated to {length} bytes", raw[:length])
    for name, at in (
        ("header", 40),
        ("slot", raw.index(b'"root":"') + 60),
        ("keyring", raw.index(b'"keyring":"') + 40),
        ("body", head + 16 + 100),
        ("mac", len(raw) - 5),
    ):
        expect = "WrongKey" if name == "slot" else "Corrupt"
        changed = bytearray(raw)
        changed[at] = ord("A") if name != "body" and name != "mac" and changed[at] != ord("A") else changed[at] ^ 2
        bad(f"changed-in-{name}", "one character changed", bytes(changed), expect if name == "slot" else "Corrupt")
    bad("appended-byte", "one byte too many", raw + b"\0")
    bad("appended-self", "the file twice", raw + raw)
    bad("header-length-huge", "a length beyond the file", raw[:8] + b"\xff\xff\xff\xff" + raw[12:])
    bad("body-length-huge", "a length beyond the file", raw[: 12 + head] + b"\x7f\xff\xff\xff" + raw[16 + head :])
    bad(
        "foreign-body",
        "body of another vault",
        raw[: 12 + head] + foreign[12 + int.from_bytes(foreign[8:12], "big") : -32] + raw[-32:],
    )
    other_head = 12 + int.from_bytes(foreign[8:12], "big")
    bad("foreign-body-remac", "the same under a valid MAC", remac(store, raw[: 12 + head] + foreign[other_head:-32]))
    older_head = 12 + int.from_bytes(older[8:12], "big")
    bad(
        "older-body-remac",
        "body of generation 3 under generation 4",
        remac(store, raw[: 12 + head] + older[older_head:-32]),
    )
    bad("other-vault", "another vault's file beside this anchor", foreign)
    bad("rollback", "the previous generation", older, "Rollback")
    bad("anchor-missing", "not new, and no anchor", raw, "Rollback", anchored=None)
    bad("anchor-of-other-vault", "made with another root key", raw, anchored=foreign_anchor)
    bad(
        "anchor-changed",
        "generation lowered by hand",
        raw,
        anchored=anchored.replace(b'"generation":4', b'"generation":3'),
    )
    bad("anchor-garbage", "not JSON", raw, anchored=b"garbage")
    fork = with_body(store, Body({}, {"forked": True}))
    bad("fork", "the same generation with another content", fork, "Rollback")

    def header(
        name: str, about: str, change: Callable[[dict[str, Any]], object], expect: str = "Corrupt", **more: Any
    ) -> None:
        bad(name, about + " (MAC valid)", with_header(store, raw, change), expect, **more)

    header("header-extra-field", "an unknown field", lambda h: h.update(extra=1))
    header("header-missing-field", "no keyring", lambda h: h.pop("keyring"))
    header("header-format-2", "format 2", lambda h: h.update(format=2))
    header("header-format-true", "format true", lambda h: h.update(format=True))
    header("header-generation-0", "generation 0", lambda h: h.update(generation=0))
    header("header-generation-float", "generation 4.0", lambda h: h.update(generation=4.0))
    header("header-generation-raised", "generation raised by hand", lambda h: h.update(generation=9))
    header("header-generation-huge", "generation 2^60", lambda h: h.update(generation=2**60))
    header("header-vault-id", "another vault's id", lambda h: h.update(vault="0" * 32), "WrongKey")
    header("header-no-slots", "no slots", lambda h: h.update(slots={}))
    header("header-slot-name", "a slot called ../x", lambda h: h["slots"].update({"../x": h["slots"]["key-file"]}))
    header(
        "slot-renamed",
        "a slot under another id",
        lambda h: h["slots"].update({"key-file": h["slots"].pop("recovery"), "recovery": h["slots"].pop("key-file")}),
        "WrongKey",
    )
    header("slot-unknown-kind", "a kind that does not exist", lambda h: h["slots"]["key-file"].update(kind="rot13"))
    header("slot-no-root", "an empty root", lambda h: h["slots"]["key-file"].update(root=""))
    header("slot-base64-spelling", "base64 in a second spelling", lambda h: h.update(keyring=h["keyring"] + "\n"))
    for name, value in (("memory", 2**30), ("memory", 1), ("iterations", 10**9), ("lanes", 0)):
        header(
            f"kdf-{name}-{value}",
            f"Argon2id {name} of {value}",
            lambda h, name=name, value=value: h["slots"]["passphrase"]["params"].update({name: value}),
            unlock=phrase,
        )
    header(
        "kdf-salt-short",
        "an Argon2id salt of one byte",
        lambda h: h["slots"]["passphrase"]["params"].update(salt="YQ=="),
        unlock=phrase,
    )
    header(
        "kdf-weaker",
        "iterations 2 → 1, which the slot's context covers",
        lambda h: h["slots"]["passphrase"]["params"].update(iterations=1),
        "WrongKey",
        unlock=phrase,
    )
    text = raw[12 : 12 + head]
    bad(
        "header-blank",
        "a blank in the JSON (MAC valid)",
        with_header(store, raw, lambda h: None, text=text.replace(b",", b", ", 1)),
    )
    bad(
        "header-duplicate-key",
        "a key twice (MAC valid)",
        with_header(store, raw, lambda h: None, text=text.replace(b'{"format":1', b'{"format":2,"format":1', 1)),
    )
    bad("header-deep", "20,000 brackets (MAC valid)", with_header(store, raw, lambda h: None, text=b"[" * 20_000))
    bad("header-not-object", "a list (MAC valid)", with_header(store, raw, lambda h: None, text=b"[]"))

    secrets = dict(store._body.secrets)
    one, two = secrets["channel.telegram.token"], secrets["provider.example.api_key"]
    v1 = one.versions[1]

    def body(name: str, about: str, changed: dict[str, Secret]) -> None:
        bad(name, about + " (MAC valid)", with_body(store, Body(changed, {})), "Corrupt", anchored=behind)

    body(
        "swapped-names",
        "two secrets under each other's name",
        {"channel.telegram.token": Secret(2, two.versions), "provider.example.api_key": Secret(2, one.versions)},
    )
    body(
        "swapped-versions",
        "two versions of one secret",
        {"provider.example.api_key": Secret(2, {1: two.versions[2], 2: two.versions[1]})},
    )
    body(
        "swapped-value",
        "a value under another secret's DEK",
        {"a": Secret(1, {1: replace(v1, value=two.versions[2].value)})},
    )
    body(
        "unknown-kek",
        "a KEK that is not in the keyring",
        {"channel.telegram.token": Secret(1, {1: replace(v1, kek="k9")})},
    )
    body("version-above-current", "version 3 of 2", {"a": Secret(2, {3: v1})})
    body("bad-name", "a name with a slash", {"a/b": one})
    bad("body-not-json", "the body is not JSON (MAC valid)", with_body(store, b"\xff\xfe"), anchored=behind)
    bad(
        "body-blank",
        "a blank in the body (MAC valid)",
        with_body(store, b'{"policy": {},"secrets":{}}'),
        anchored=behind,
    )
    bad(
        "body-extra",
        "an unknown field (MAC valid)",
        with_body(store, b'{"policy":{},"secrets":{},"x":1}'),
        anchored=behind,
    )

    name, version = "a", 1
    about = document.secret_context("value", store.vault_id, name, version)
    salt, nonce = os.urandom(32), os.urandom(12)
    dek_one, dek_two = os.urandom(32), os.urandom(32)
    keys_one, keys_two = (bytes(envelope._keys(dek, salt, about)) for dek in (dek_one, dek_two))
    both = salamander(keys_one[:32], keys_two[:32], nonce, about)
    assert AESGCM(keys_one[:32]).decrypt(nonce, both, about) != AESGCM(keys_two[:32]).decrypt(nonce, both, about)
    sealed_dek = envelope.seal(
        store._keks["k1"], dek_two, document.secret_context("dek", store.vault_id, name, version)
    )
    two_faced = SecretVersion("k1", sealed_dek, salt + keys_one[32:] + nonce + both, 0, None)
    body(
        "salamander",
        "one GCM ciphertext that two keys accept; the commitment is the other key's",
        {name: Secret(1, {1: two_faced})},
    )
    Path(__file__).with_name("vectors.json").write_text(json.dumps(VECTORS, indent=1, ensure_ascii=True) + "\n")
    sys.stdout.write(f"{len(VECTORS)} vectors\n")


if __name__ == "__main__":
    main()
