import os
from dataclasses import replace
from pathlib import Path

import pytest

from opencrust_vault import document, envelope, files
from opencrust_vault.document import Body, Secret
from opencrust_vault.errors import (
    AnchorNotWritten,
    BadName,
    BadValue,
    Corrupt,
    Locked,
    NotFound,
    VaultError,
    VersionConflict,
    WrongKey,
)
from opencrust_vault.slots import KeyFile, Passphrase, RecoveryKey
from opencrust_vault.store import KEEP_VERSIONS, FileStore, inspect

CHEAP = {"memory": 19456, "iterations": 1, "lanes": 1}


def reopen(store: FileStore, key: object) -> FileStore:
    store.close()
    return FileStore.open(store.path, store.anchor_path, key)  # type: ignore[arg-type]


def test_values_survive_closing(store: FileStore, key: KeyFile) -> None:
    value = os.urandom(100)
    assert store.put("provider.openai.api_key", value) == 1
    again = reopen(store, key)
    assert again.get("provider.openai.api_key") == (1, value)
    assert again.names() == ["provider.openai.api_key"]
    again.close()


def test_the_file_shows_neither_values_nor_names_nor_policy(store: FileStore) -> None:
    store.put("channel.telegram.token", b"123456:CANARY")
    store.set_policy({"version": 1, "who": "channel-telegram"})
    raw = store.path.read_bytes()
    for clear in (b"CANARY", b"telegram", b"channel", envelope.encode(b"123456:CANARY").encode()):
        assert clear not in raw


def test_versions_are_kept_numbered_and_pruned(store: FileStore) -> None:
    for number in range(1, KEEP_VERSIONS + 3):
        assert store.put("a", f"value {number}".encode()) == number
    info = store.info("a")
    assert info.current == KEEP_VERSIONS + 2
    assert info.versions == tuple(range(3, KEEP_VERSIONS + 3))
    assert store.get("a", 3) == (3, b"value 3")
    with pytest.raises(NotFound):
        store.get("a", 2)


def test_compare_and_set(store: FileStore) -> None:
    assert store.put("a", b"1", expect=0) == 1
    with pytest.raises(VersionConflict):
        store.put("a", b"2", expect=0)
    assert store.put("a", b"2", expect=1) == 2


def test_an_expired_version_is_not_handed_out(path: Path, anchor_path: Path, key: KeyFile) -> None:
    clock = [1000.0]
    store = FileStore.create(path, anchor_path, {"k": key}, now=lambda: clock[0])
    store.put("a", b"1", expires=1500)
    assert store.get("a") == (1, b"1")
    clock[0] = 1500.0
    with pytest.raises(NotFound):
        store.get("a")
    assert store.info("a").expires == 1500
    store.close()


def test_destroy_removes_a_version_or_everything(store: FileStore, key: KeyFile) -> None:
    store.put("a", b"1")
    store.put("a", b"2")
    store.destroy("a", 2)
    with pytest.raises(NotFound):
        store.get("a")
    assert store.get("a", 1) == (1, b"1")
    assert store.put("a", b"3") == 3
    store.destroy("a")
    again = reopen(store, key)
    assert again.names() == []
    for call in (lambda: again.destroy("a"), lambda: again.info("a"), lambda: again.get("a")):
        with pytest.raises(NotFound):
            call()
    again.close()


def test_many_at_once_is_one_generation(store: FileStore) -> None:
    before = store.generation
    store.put_many({"a": b"1", "b": b"2"})
    assert store.generation == before + 1
    with pytest.raises(BadValue):
        store.put_many({"a": b"9", "b": b""})
    assert store.get("a") == (1, b"1")


@pytest.mark.parametrize("name", ["", "A", "a/b", "../a", "a\0", "a*", "a>", "-a", ".a", "a" * 97, "ä", "a\n", None, 5])
def test_names_outside_the_alphabet_are_refused_and_not_repeated(store: FileStore, name: str) -> None:
    with pytest.raises(BadName) as caught:
        store.put(name, b"x")
    assert (
        not name
        or str(name) not in str(caught.value).replace("a–z", "").replace("a secret's", "")
        or len(str(name)) == 1
    )
    with pytest.raises(BadName):
        store.get(name)


def test_values_are_bounded(store: FileStore) -> None:
    store.put("a", b"x" * document.MAX_VALUE)
    for value in (b"", b"x" * (document.MAX_VALUE + 1)):
        with pytest.raises(BadValue):
            store.put("a", value)


def test_slots_come_and_go_without_touching_the_others(store: FileStore, key: KeyFile) -> None:
    recovery, phrase = RecoveryKey.generate(), Passphrase("tiny words but seven of them here", **CHEAP)
    store.put("a", b"1")
    store.add_slot("recovery", recovery)
    store.add_slot("passphrase", phrase)
    before = store.slots["key-file"]
    for unlock in (recovery, Passphrase(phrase.text), key):
        store = reopen(store, unlock)
        assert store.get("a") == (1, b"1")
    assert store.slots["key-file"] == before
    store.add_slot("passphrase", Passphrase("a new phrase replaces the old one", **CHEAP))
    store.remove_slot("recovery")
    store.close()
    for unlock in (recovery, phrase):
        with pytest.raises(WrongKey):
            FileStore.open(store.path, store.anchor_path, unlock)
    store = FileStore.open(store.path, store.anchor_path, key)
    store.remove_slot("passphrase")
    with pytest.raises(VaultError, match="only way"):
        store.remove_slot("key-file")
    with pytest.raises(NotFound):
        store.remove_slot("recovery")
    store.close()


def test_a_new_kek_leaves_payloads_untouched(store: FileStore, key: KeyFile) -> None:
    for number in range(20):
        store.put(f"s{number}", b"value")
        store.put(f"s{number}", b"value 2")
    before = {name: secret for name, secret in store._body.secrets.items()}
    assert store.rotate_kek() == 40
    for name, secret in store._body.secrets.items():
        for number, version in secret.versions.items():
            assert version.value == before[name].versions[number].value
            assert version.dek != before[name].versions[number].dek
            assert version.kek == "k2"
    again = reopen(store, key)
    assert all(again.get(f"s{number}") == (2, b"value 2") for number in range(20))
    again.close()


def test_a_new_root_shuts_out_the_slots_not_named(store: FileStore, key: KeyFile) -> None:
    recovery = RecoveryKey.generate()
    store.put("a", b"1")
    store.add_slot("recovery", recovery)
    audit = bytes(store.subkey("audit"))
    store.rekey_root({"key-file": key})
    again = reopen(store, key)
    assert again.get("a") == (1, b"1")
    assert again.subkey("audit") == audit, "the audit chain must stay verifiable"
    again.close()
    with pytest.raises(WrongKey):
        FileStore.open(store.path, store.anchor_path, recovery)


def test_one_process_at_a_time(store: FileStore, key: KeyFile) -> None:
    with pytest.raises(Locked):
        FileStore.open(store.path, store.anchor_path, key)
    store.close()
    with pytest.raises(VaultError, match="closed"):
        store.put("a", b"1")
    FileStore.open(store.path, store.anchor_path, key).close()


def test_create_never_overwrites(store: FileStore, key: KeyFile) -> None:
    store.put("a", b"1")
    store.close()
    with pytest.raises(VaultError, match="exists already"):
        FileStore.create(store.path, store.anchor_path, {"k": key})
    again = FileStore.open(store.path, store.anchor_path, key)
    assert again.get("a") == (1, b"1")
    again.close()


def test_no_vault_and_no_slot(path: Path, anchor_path: Path, key: KeyFile) -> None:
    with pytest.raises(NotFound):
        FileStore.open(path, anchor_path, key)
    with pytest.raises(VaultError, match="at least one"):
        FileStore.create(path, anchor_path, {})
    assert not path.exists()


def test_a_failing_disk_leaves_memory_and_file_in_agreement(path: Path, anchor_path: Path, key: KeyFile) -> None:
    failing = [""]

    def step(name: str) -> None:
        if name == failing[0]:
            raise OSError(28, "No space left on device")

    store = FileStore.create(path, anchor_path, {"k": key}, on_step=step)
    store.put("a", b"1")
    generation = store.generation
    failing[0] = "vault:half-written"
    for change in (
        lambda: store.put("a", b"2"),
        lambda: store.destroy("a"),
        store.rotate_kek,
        lambda: store.rekey_root({"k": key}),
        lambda: store.set_policy({"x": 1}),
    ):
        with pytest.raises(OSError, match="No space"):
            change()
        assert store.get("a") == (1, b"1")
        assert store.generation == generation
        assert store.policy == {}
    failing[0] = ""
    assert store.put("a", b"2") == 2
    failing[0] = "anchor:written"
    with pytest.raises(AnchorNotWritten):
        store.put("a", b"3")
    assert store.get("a") == (3, b"3"), "stored is stored"
    failing[0] = ""
    again = reopen(store, key)
    assert again.get("a") == (3, b"3")
    again.close()


def test_ciphertexts_do_not_move_even_below_a_valid_mac(store: FileStore, key: KeyFile) -> None:
    store.put_many({"a": b"for a", "b": b"for b"})
    store.put("a", b"for a, two")
    a, b = store._body.secrets["a"], store._body.secrets["b"]
    other_value = replace(b.versions[1], value=a.versions[1].value)
    swaps: list[tuple[dict[str, Secret], list[tuple[str, int]]]] = [
        ({"a": b, "b": a}, [("a", 1), ("b", 1), ("b", 2)]),
        ({"a": Secret(2, {1: a.versions[2], 2: a.versions[1]}), "b": b}, [("a", 1), ("a", 2)]),
        ({"a": a, "b": Secret(1, {1: other_value})}, [("b", 1)]),
        ({"a": a, "c": b}, [("c", 1)]),
    ]
    path = store.path.with_name("swapped.db")
    for secrets, moved in swaps:
        header = replace(store._header, generation=store.generation + 1)
        files.write_private(path, document.build(header, Body(secrets, {}), store._root))
        opened = FileStore.open(path, store.anchor_path.with_name("swapped"), key, accept_rollback=True)
        for name, version in moved:
            with pytest.raises(Corrupt):
                opened.get(name, version)
        opened.close()


def test_inspect_needs_no_key(store: FileStore) -> None:
    header = inspect(store.path)
    assert header.vault_id == store.vault_id
    assert header.generation == 1
    assert list(header.slots) == ["key-file"]


def test_a_thousand_secrets(store: FileStore, key: KeyFile) -> None:
    store.put_many({f"service.{number}.token": f"value {number}".encode() for number in range(1000)})
    again = reopen(store, key)
    assert len(again.names()) == 1000
    assert again.get("service.999.token") == (1, b"value 999")
    assert again.path.stat().st_size < 1024 * 1024
    again.close()
