"""Loads the vectors and opens them with the product."""

import base64
import json
from pathlib import Path
from typing import Any

from opencrust_vault import files
from opencrust_vault.slots import KeyFile, Passphrase, RecoveryKey, UnlockKey
from opencrust_vault.store import FileStore

VECTORS: list[dict[str, Any]] = json.loads(Path(__file__).with_name("vectors.json").read_text())


def unlock_key(unlock: dict[str, str]) -> UnlockKey:
    if unlock["kind"] == "passphrase":
        return Passphrase(unlock["text"])
    if unlock["kind"] == "recovery":
        return RecoveryKey.parse(unlock["text"])
    return KeyFile(bytes.fromhex(unlock["key"]))


def read_with_product(vector: dict[str, Any], path: Path, anchor_path: Path) -> dict[str, dict[int, bytes]]:
    files.write_private(path, base64.b64decode(vector["file"]))
    if vector["anchor"] is not None:
        files.write_private(anchor_path, base64.b64decode(vector["anchor"]))
    store = FileStore.open(path, anchor_path, unlock_key(vector["unlock"]))
    try:
        return {
            name: {number: bytes(store.get(name, number)[1]) for number in store.info(name).versions}
            for name in store.names()
        }
    finally:
        store.close()
