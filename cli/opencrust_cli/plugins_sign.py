"""Signing a plugin: its manifest gets the component's hash, and a signature beside it."""

import base64
import hashlib
import json
import os
import re
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from opencrust_cli import plugins_package
from opencrust_cli.errors import CommandError

CONTEXT = b"opencrust-plugin-v1\0"
_ENTRY = re.compile(r"^(sha256|size)\s*=.*\n?", re.MULTILINE)
_AFTER = re.compile(r"^version\s*=.*$", re.MULTILINE)


def sign(folder: Path, key_file: Path) -> str:
    """Sign the plugin in `folder`; returns the key's fingerprint. The key is made if its file does not exist.

    Raises:
        CommandError: no plugin, or no key.
    """
    package = plugins_package.read(folder)
    key = _key(key_file)
    entries = f'sha256 = "{hashlib.sha256(package.component).hexdigest()}"\nsize = {len(package.component)}'
    head, bracket, tables = package.manifest.partition("\n[")
    head, found = _AFTER.subn(lambda match: f"{match[0]}\n{entries}", _ENTRY.sub("", head), count=1)
    if not found:
        raise CommandError(f"{plugins_package.MANIFEST} has no line `version = …`")
    manifest = (head + bracket + tables).encode()
    public = key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    signature = {
        "alg": "ed25519",
        "key": base64.b64encode(public).decode(),
        "signature": base64.b64encode(key.sign(CONTEXT + manifest)).decode(),
    }
    (folder / plugins_package.MANIFEST).write_bytes(manifest)
    (folder / plugins_package.SIGNATURE).write_text(json.dumps(signature, indent=2) + "\n")
    return fingerprint(public)


def fingerprint(public: bytes) -> str:
    """A public key as people compare it: the first 20 bytes of its SHA-256 in base32, in groups of four."""
    text = base64.b32encode(hashlib.sha256(public).digest()[:20]).decode().lower()
    return "-".join(text[at : at + 4] for at in range(0, len(text), 4))


def _key(path: Path) -> Ed25519PrivateKey:
    if not path.exists():
        made = Ed25519PrivateKey.generate()
        pem = made.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(pem)
        return made
    try:
        key = load_pem_private_key(path.read_bytes(), None)
    except (ValueError, TypeError, OSError):
        raise CommandError(f"{path} is no private key without a passphrase (PEM)") from None
    if not isinstance(key, Ed25519PrivateKey):
        raise CommandError(f"{path} is no Ed25519 key")
    return key
