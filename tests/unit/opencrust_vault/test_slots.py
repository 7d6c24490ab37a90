import os
import time
import unicodedata

import pytest

from opencrust_vault import slots
from opencrust_vault.errors import Corrupt, WrongKey
from opencrust_vault.slots import KeyFile, Passphrase, RecoveryKey, TransitKey

VAULT = "0" * 32
ROOT = os.urandom(32)
CHEAP = {"memory": 19456, "iterations": 1, "lanes": 1}


@pytest.mark.parametrize(
    "unlock", [KeyFile(os.urandom(32)), RecoveryKey.generate(), Passphrase("six words are a good start here", **CHEAP)]
)
def test_a_slot_opens_with_its_own_key_only(unlock: slots.UnlockKey) -> None:
    slot = slots.seal_root(VAULT, "one", unlock, ROOT, created=1)
    assert slots.open_root(VAULT, "one", slot, unlock) == ROOT
    with pytest.raises(WrongKey):
        slots.open_root(VAULT, "two", slot, unlock)
    with pytest.raises(WrongKey):
        slots.open_root("1" * 32, "one", slot, unlock)
    other = {"key-file": KeyFile(os.urandom(32)), "recovery": RecoveryKey.generate()}.get(
        unlock.kind, Passphrase("another passphrase")
    )
    with pytest.raises(WrongKey):
        slots.open_root(VAULT, "one", slot, other)


def test_a_passphrase_is_the_same_however_its_accents_are_typed() -> None:
    composed, decomposed = (unicodedata.normalize(form, "Übung macht die Meisterin") for form in ("NFC", "NFD"))
    slot = slots.seal_root(VAULT, "p", Passphrase(composed, **CHEAP), ROOT, created=1)
    assert composed != decomposed
    assert slots.open_root(VAULT, "p", slot, Passphrase(decomposed)) == ROOT


def test_the_default_cost_is_the_documented_one() -> None:
    params = Passphrase("x").new_params()
    assert (params["memory"], params["iterations"], params["lanes"]) == (65536, 3, 4)


@pytest.mark.parametrize(
    "change",
    [
        {"memory": 2**40},
        {"memory": 19455},
        {"memory": 65536.0},
        {"memory": True},
        {"iterations": 0},
        {"iterations": 17},
        {"lanes": 0},
        {"lanes": 17},
        {"salt": "YQ=="},
        {"extra": 1},
    ],
)
def test_costs_out_of_bounds_are_refused_before_any_work(change: dict[str, str | int]) -> None:
    params = {**Passphrase("x").new_params(), **change}
    started = time.perf_counter()
    with pytest.raises(Corrupt):
        slots.check_params("passphrase", params)
    assert time.perf_counter() - started < 0.05


@pytest.mark.parametrize("kind", ["rot13", None, "key-file "])
def test_unknown_kinds_are_refused(kind: object) -> None:
    with pytest.raises(Corrupt):
        slots.check_params(kind, {})


@pytest.mark.parametrize("secret", [b"", b"a" * 31, b"a" * 32, b"abcdefg" * 4 + b"abcd", bytes(range(33))])
def test_a_poor_raw_key_is_refused(secret: bytes) -> None:
    with pytest.raises(WrongKey):
        KeyFile(secret).key({})


def test_a_recovery_key_survives_paper() -> None:
    key = RecoveryKey.generate()
    shown = key.display()
    assert len(shown) == 49
    assert RecoveryKey.parse(shown) == key
    assert RecoveryKey.parse(f"  {shown.lower().replace('-', ' ')}\n") == key
    assert RecoveryKey.parse("OCR1-" + shown[5:].replace("O", "0").replace("I", "1").replace("B", "8")) == key


def test_a_mistyped_recovery_key_is_told_apart_from_a_wrong_one() -> None:
    shown = RecoveryKey.generate().display()
    at = 7
    changed = shown[:at] + ("A" if shown[at] != "A" else "C") + shown[at + 1 :]
    for text in (changed, shown[:-1], "OCR1", "", "hello", shown.replace("-", "!", 1)):
        with pytest.raises(WrongKey):
            RecoveryKey.parse(text)


def test_a_transit_key_round_trips_through_its_wrapped_form() -> None:
    secret = os.urandom(32)
    unlock = TransitKey("transit", "opencrust", lambda: "vault:v1:abc", lambda wrapped: secret)
    slot = slots.seal_root(VAULT, "t", unlock, ROOT, created=1)
    assert slot.params["wrapped"] == "vault:v1:abc"
    assert slots.open_root(VAULT, "t", slot, unlock) == ROOT
    with pytest.raises(WrongKey):
        slots.open_root(VAULT, "t", slot, TransitKey("transit", "opencrust", lambda: "", lambda wrapped: b"short"))


@pytest.mark.parametrize(
    "text", ["", "hunter2", "password password password", "aaaaaaaaaaaaaaaaaaaaaaaa", "correct horse"]
)
def test_weak_passphrases_are_refused(text: str) -> None:
    with pytest.raises(WrongKey):
        slots.check_passphrase(text)


@pytest.mark.parametrize("text", ["orbit walnut tepid crane lunar fable", "kX9#vR2!mQ7zLw4p"])
def test_good_passphrases_pass(text: str) -> None:
    slots.check_passphrase(text)


def test_unlock_keys_do_not_show_themselves() -> None:
    secret = os.urandom(20)
    assert secret.hex() not in repr(RecoveryKey(secret))
    assert repr(secret) not in repr(RecoveryKey(secret))
    assert "swordfish" not in repr(Passphrase("swordfish"))
