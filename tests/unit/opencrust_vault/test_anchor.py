import os
from pathlib import Path

import pytest

from opencrust_vault import anchor
from opencrust_vault.anchor import Anchor
from opencrust_vault.errors import Corrupt, Rollback

ROOT = os.urandom(32)
KNOWN = Anchor("0" * 32, 8, "ab" * 32)


def test_it_reads_what_it_wrote(anchor_path: Path) -> None:
    assert anchor.read(anchor_path, ROOT) is None
    anchor.write(anchor_path, KNOWN, ROOT)
    assert anchor.read(anchor_path, ROOT) == KNOWN


def test_another_key_or_any_changed_bit_is_corrupt(anchor_path: Path) -> None:
    anchor.write(anchor_path, KNOWN, ROOT)
    with pytest.raises(Corrupt):
        anchor.read(anchor_path, os.urandom(32))
    content = anchor_path.read_bytes()
    for bit in range(len(content) * 8):
        changed = bytearray(content)
        changed[bit // 8] ^= 1 << bit % 8
        anchor_path.write_bytes(changed)
        with pytest.raises(Corrupt):
            anchor.read(anchor_path, ROOT)


@pytest.mark.parametrize("ahead", [0, 1, 2, 50])
def test_the_file_may_be_the_same_or_ahead(ahead: int) -> None:
    anchor.check(KNOWN, Anchor(KNOWN.vault_id, 8 + ahead, KNOWN.mac if not ahead else "cd" * 32))


@pytest.mark.parametrize(
    ("known", "found"),
    [
        (KNOWN, Anchor(KNOWN.vault_id, 7, "cd" * 32)),
        (KNOWN, Anchor(KNOWN.vault_id, 8, "cd" * 32)),
        (KNOWN, Anchor("1" * 32, 9, KNOWN.mac)),
        (None, Anchor(KNOWN.vault_id, 2, KNOWN.mac)),
    ],
)
def test_older_other_or_unanchored_files_are_rollbacks(known: Anchor | None, found: Anchor) -> None:
    with pytest.raises(Rollback):
        anchor.check(known, found)


def test_a_brand_new_vault_needs_no_anchor() -> None:
    anchor.check(None, Anchor(KNOWN.vault_id, 1, KNOWN.mac))
