"""The anchor: the newest generation that this vault ever had, kept away from the vault file.

A file beside the vault protects against accidents (a restored snapshot of one directory); whoever can roll
back both at once is caught only by a witness elsewhere, which is the head of the audit chain on the bus.
"""

import hmac
from dataclasses import dataclass
from pathlib import Path

from opencrust_vault import envelope, files
from opencrust_vault.document import canonical, parse_canonical
from opencrust_vault.errors import Corrupt, NotFound, Rollback

_LIMIT = 4096


@dataclass(frozen=True, slots=True)
class Anchor:
    """Which file is the newest: its vault, its generation, its MAC (hex)."""

    vault_id: str
    generation: int
    mac: str


def read(path: Path, root: envelope.Key) -> Anchor | None:
    """The anchor at `path`, or None when there is none.

    Raises:
        Corrupt: it is not an anchor that this vault's root key made.
    """
    try:
        content = parse_canonical(files.read_private(path, limit=_LIMIT), "anchor")
    except NotFound:
        return None
    vault_id, generation, mac, tag = (content.get(name) for name in ("vault", "generation", "mac", "tag"))
    if (
        not isinstance(vault_id, str)
        or type(generation) is not int
        or not isinstance(mac, str)
        or not isinstance(tag, str)
    ):
        raise Corrupt("the anchor is malformed")
    anchor = Anchor(vault_id, generation, mac)
    if not hmac.compare_digest(_tag(anchor, root).encode(), tag.encode()):
        raise Corrupt(f"the anchor {path} was not made by this vault, or was changed")
    return anchor


def write(path: Path, anchor: Anchor, root: envelope.Key, *, on_step: files.Step = files.no_step) -> None:
    """Write the anchor atomically. Raises OSError when the disk does not take it."""
    content = {
        "vault": anchor.vault_id,
        "generation": anchor.generation,
        "mac": anchor.mac,
        "tag": _tag(anchor, root),
    }
    files.write_private(path, canonical(content), on_step=on_step)


def check(known: Anchor | None, found: Anchor) -> None:
    """Compare the file that was found with the newest one known.

    The file may be ahead: the process can end between writing the file and writing the anchor.

    Raises:
        Rollback: the file is older, is another one of the same generation, is another vault's, or there is
            no anchor although the vault is not new.
    """
    if known is None:
        if found.generation > 1:
            raise Rollback(
                "the rollback anchor is missing although this vault is not new. If it was lost or this is a restored "
                "backup, run: opencrust vault restore --accept-rollback"
            )
        return
    if known.vault_id != found.vault_id:
        raise Rollback("the rollback anchor belongs to another vault")
    if found.generation < known.generation or (found.generation == known.generation and found.mac != known.mac):
        raise Rollback(
            f"the file has generation {found.generation}, but generation {known.generation} was already seen: it is an "
            "older copy. If you restored it on purpose, run: opencrust vault restore --accept-rollback"
        )


def _tag(anchor: Anchor, root: envelope.Key) -> str:
    key = envelope.derive(root, "anchor")
    try:
        return hmac.digest(
            key, envelope.context("anchor", anchor.vault_id, anchor.generation, anchor.mac), "sha256"
        ).hex()
    finally:
        envelope.wipe(key)
