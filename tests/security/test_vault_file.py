"""Attacks on the vault file. Each test is named by its row of the attack list (1–15; 13 is in test_store_crash)."""

import os
import random
import subprocess
import time
from pathlib import Path

import pytest

from opencrust_vault import envelope, slots
from opencrust_vault.errors import Corrupt, Locked, Rollback, Unsafe, VaultError, VersionConflict, WrongKey
from opencrust_vault.slots import KeyFile, Passphrase
from opencrust_vault.store import FileStore
from vectors.vault.run import VECTORS, read_with_product


@pytest.fixture
def key() -> KeyFile:
    return KeyFile(os.urandom(32))


@pytest.fixture
def vault(tmp_path: Path, key: KeyFile) -> Path:
    directory = tmp_path / "vault"
    directory.mkdir(mode=0o700)
    store = FileStore.create(directory / "vault.db", directory / "anchor", {"key-file": key})
    store.put("a", b"one")
    store.put("b", b"two")
    store.close()
    return directory


def open_vault(vault: Path, key: KeyFile, **more: bool) -> FileStore:
    return FileStore.open(vault / "vault.db", vault / "anchor", key, **more)


def refusals(vault: Path, key: KeyFile, variants: list[bytes]) -> dict[str, int]:
    """Try to open each variant; count the refusals by class. Anything else propagates and fails the test."""
    counts: dict[str, int] = {}
    path = vault / "vault.db"
    for variant in variants:
        path.write_bytes(variant)
        try:
            open_vault(vault, key).close()
        except (Corrupt, WrongKey) as error:
            counts[type(error).__name__] = counts.get(type(error).__name__, 0) + 1
        else:
            pytest.fail("a damaged file was opened")
    return counts


def test_row_01_stolen_file_costs_argon2id_per_guess_and_weak_passphrases_are_refused() -> None:
    def cost(memory: int, iterations: int, lanes: int) -> float:
        phrase = Passphrase("x", memory=memory, iterations=iterations, lanes=lanes)
        params = phrase.new_params()
        started = time.process_time()
        phrase.key(params)
        return time.process_time() - started

    ours, owasp_minimum = cost(65536, 3, 4), min(cost(19456, 2, 1) for _ in range(3))
    assert ours / owasp_minimum >= 3, "processor time per guess, against OWASP's minimum"
    with pytest.raises(WrongKey):
        slots.check_passphrase("summer2026!")


def test_row_02_every_single_bit(vault: Path, key: KeyFile) -> None:
    raw = (vault / "vault.db").read_bytes()
    flipped = []
    for bit in range(len(raw) * 8):
        changed = bytearray(raw)
        changed[bit // 8] ^= 1 << bit % 8
        flipped.append(bytes(changed))
    counts = refusals(vault, key, flipped)
    assert sum(counts.values()) == len(raw) * 8 > 8_000
    print(f"{len(raw) * 8} flips: {counts}")


def test_row_03_every_truncation_and_appended_bytes(vault: Path, key: KeyFile) -> None:
    raw = (vault / "vault.db").read_bytes()
    variants = [raw[:length] for length in range(len(raw))]
    variants += [raw + os.urandom(length) for length in (1, 16, 4096)] + [raw + raw]
    assert refusals(vault, key, variants) == {"Corrupt": len(variants)}


def test_row_04_random_splices(vault: Path, key: KeyFile) -> None:
    raw, older = (vault / "vault.db").read_bytes(), (vault / "vault.db.bak").read_bytes()
    chance = random.Random(4)
    variants = []
    while len(variants) < 3000:
        source = chance.choice((raw, older))
        at, start = chance.randrange(len(raw)), chance.randrange(len(source))
        piece = source[start : start + chance.randrange(1, 200)]
        variant = raw[:at] + piece + raw[at + chance.choice((0, len(piece), 2 * len(piece))) :]
        if variant not in (raw, older):
            variants.append(variant)
    assert sum(refusals(vault, key, variants).values()) == 3000


def test_row_05_rolled_back_file_or_deleted_anchor(vault: Path, key: KeyFile) -> None:
    current = (vault / "vault.db").read_bytes()
    (vault / "vault.db").write_bytes((vault / "vault.db.bak").read_bytes())
    with pytest.raises(Rollback, match="generation 2"):
        open_vault(vault, key)
    (vault / "vault.db").write_bytes(current)
    (vault / "anchor").unlink()
    with pytest.raises(Rollback, match="missing"):
        open_vault(vault, key)
    restored = open_vault(vault, key, accept_rollback=True)
    assert restored.get("b") == (1, b"two")
    restored.close()
    open_vault(vault, key).close()


def test_row_06_rolling_back_file_and_anchor_together_is_only_seen_from_outside(vault: Path, key: KeyFile) -> None:
    """Documented: it opens. The witness is the generation in the published audit head (test_vault_audit)."""
    before = {name: (vault / name).read_bytes() for name in ("vault.db", "anchor")}
    store = open_vault(vault, key)
    store.put("a", b"newer")
    newest = store.generation
    store.close()
    for name, content in before.items():
        (vault / name).write_bytes(content)
    store = open_vault(vault, key)
    assert store.get("a") == (1, b"one")
    assert store.generation < newest
    store.close()


def refused(name: str, directory: Path) -> str:
    """Open a public vector; the class of the refusal."""
    (vector,) = (item for item in VECTORS if item["name"] == name)
    directory.mkdir(mode=0o700, exist_ok=True)
    with pytest.raises(VaultError) as caught:
        read_with_product(vector, directory / "vault.db", directory / "anchor")
    return type(caught.value).__name__


@pytest.mark.parametrize("name", ["swapped-names", "swapped-versions", "swapped-value"])
def test_row_07_swapped_ciphertexts_below_a_valid_mac(name: str, tmp_path: Path) -> None:
    assert refused(name, tmp_path / "v") == "Corrupt"


def test_row_08_no_key_ever_meets_two_nonces() -> None:
    key, about = os.urandom(32), b"place"
    salts = {envelope.seal(key, b"same", about)[:32] for _ in range(500)}
    assert len(salts) == 500
    one, two = (bytes(envelope._keys(key, salt, about)) for salt in list(salts)[:2])
    assert one[:32] != two[:32]


def test_row_09_two_key_ciphertext_meets_the_commitment(tmp_path: Path) -> None:
    assert refused("salamander", tmp_path / "v") == "Corrupt"


@pytest.mark.parametrize("secret", [bytes(range(32)), b"short", b"a" * 32, b""])
def test_row_10_wrong_short_or_poor_keys(vault: Path, secret: bytes) -> None:
    with pytest.raises(WrongKey):
        open_vault(vault, KeyFile(secret))
    with pytest.raises(WrongKey, match="no passphrase slot"):
        FileStore.open(vault / "vault.db", vault / "anchor", Passphrase("x"))


@pytest.mark.parametrize(
    "name", [item["name"] for item in VECTORS if item["name"].startswith(("kdf-", "header-format"))]
)
def test_row_11_absurd_parameters_and_downgrades(name: str, tmp_path: Path) -> None:
    assert refused(name, tmp_path / "v") in ("Corrupt", "WrongKey")


def test_row_11_a_terabyte_costs_nothing() -> None:
    started = time.perf_counter()
    with pytest.raises(Corrupt):
        slots.check_params("passphrase", {**Passphrase("x").new_params(), "memory": 2**30})
    assert time.perf_counter() - started < 0.01


def test_row_12_two_writers_and_stale_compare_and_set(vault: Path, key: KeyFile) -> None:
    store = open_vault(vault, key)
    with pytest.raises(Locked):
        open_vault(vault, key)
    store.put("a", b"x", expect=1)
    with pytest.raises(VersionConflict):
        store.put("a", b"y", expect=1)
    store.close()


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small file system needs root")
def test_row_14_full_disk(tmp_path: Path, key: KeyFile) -> None:
    small = tmp_path / "small"
    small.mkdir(mode=0o700)
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k,mode=700", "tmpfs", small], check=False).returncode:
        pytest.skip("cannot mount here")
    try:
        store = FileStore.create(small / "vault.db", small / "anchor", {"k": key})
        store.put("a", b"one")

        def fill() -> None:
            for number in range(100):
                store.put(f"fill.{number}", os.urandom(8000))

        with pytest.raises((OSError, VaultError)):
            fill()
        names = store.names()
        assert store.get("a") == (1, b"one")
        assert not list(small.glob("*.tmp"))
        store.close()
        (small / "vault.db.bak").unlink()
        store = FileStore.open(small / "vault.db", small / "anchor", key)
        assert store.names() == names
        store.close()
    finally:
        subprocess.run(["umount", small], check=True)


def test_row_15_loose_mode_and_symlink(vault: Path, key: KeyFile) -> None:
    path = vault / "vault.db"
    path.chmod(0o644)
    with pytest.raises(Unsafe):
        open_vault(vault, key)
    path.chmod(0o600)
    path.rename(vault / "elsewhere")
    path.symlink_to(vault / "elsewhere")
    with pytest.raises(Unsafe, match="symbolic link"):
        open_vault(vault, key)
