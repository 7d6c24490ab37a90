"""Where an unlock key comes from when nobody is there to type one.

In this order: the file that the settings name (a compose secret), a systemd credential
(`LoadCredentialEncrypted=opencrust-vault-key:…`), `vault/unlock.key` in OPENCRUST_HOME. The last is the
embedded default. It lies on the same disk as the vault: it protects backups and copies of the vault file that
leave it out, not a stolen host. Never an environment variable (`hygiene.refuse_keys_in_environment`).
"""

import base64
import os
from collections.abc import Mapping
from pathlib import Path

from opencrust_vault import envelope, files
from opencrust_vault.errors import VaultError, WrongKey
from opencrust_vault.slots import KeyFile

KEY_FILE_SETTING = "OPENCRUST_VAULT_KEY_FILE"
CREDENTIAL = "opencrust-vault-key"


def key_file_path(vault_directory: Path, environment: Mapping[str, str]) -> Path:
    """The place where this installation's key file is, or would be."""
    if configured := environment.get(KEY_FILE_SETTING):
        return Path(configured)
    if directory := environment.get("CREDENTIALS_DIRECTORY"):
        credential = Path(directory) / CREDENTIAL
        if credential.exists():
            return credential
    return vault_directory / "unlock.key"


def read_key_file(path: Path) -> KeyFile:
    """Read 32 bytes, raw or as one line of base64.

    Raises:
        NotFound, Unsafe: see `files.read_private`.
        WrongKey: the content is not an unlock key.
    """
    content = files.read_private(path, limit=256)
    if len(content) == envelope.KEY:
        return KeyFile(content)
    try:
        secret = base64.b64decode(content.strip(), validate=True)
    except ValueError:
        secret = b""
    if len(secret) != envelope.KEY:
        raise WrongKey(f"{path} is not an unlock key: it must hold 32 random bytes, raw or as one line of base64")
    return KeyFile(secret)


def write_new_key_file(path: Path) -> KeyFile:
    """Make a key file with a fresh key.

    Raises:
        VaultError: something is there already.
    """
    if path.exists() or path.is_symlink():
        raise VaultError(f"{path} exists already; nothing was changed")
    key = KeyFile(os.urandom(envelope.KEY))
    files.write_private(path, base64.b64encode(key.secret) + b"\n")
    return key
