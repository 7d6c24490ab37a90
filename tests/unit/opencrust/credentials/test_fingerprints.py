import base64
import os
import pickle
import random
import string
import time
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opencrust.credentials import fingerprints
from opencrust.credentials.fingerprints import FingerprintMaker, FingerprintSet
from opencrust.telemetry.redaction import Redactor

TOKEN = "123456789:AAFq9-k_Zr0v3LxTq1wPzN5uYb7HcJdEsGm"
KEY = "sk-proj-Xy12/+abCDefGH34ijKL56mnOP78qrST90"
PASSWORD = "correct horse battery staple orbit walnut"


@pytest.fixture
def watch() -> FingerprintSet:
    return FingerprintMaker().make({"t": TOKEN.encode(), "k": KEY.encode(), "p": PASSWORD.encode()})


@pytest.mark.parametrize("secret", [TOKEN, KEY, PASSWORD])
@pytest.mark.parametrize(
    "form",
    [
        lambda value: value,
        lambda value: base64.b64encode(value.encode()).decode(),
        lambda value: base64.urlsafe_b64encode(value.encode()).decode().rstrip("="),
        lambda value: base64.b64encode(f'{{"token":"{value}","n":1}}'.encode()).decode(),
        lambda value: base64.b64encode(f"x{value}yz".encode()).decode(),
        lambda value: base64.b64encode(f"xy{value}".encode()).decode(),
        lambda value: value.encode().hex(),
        lambda value: value.encode().hex().upper(),
        lambda value: quote(value, safe=""),
        lambda value: f"https://api.example.org/bot{value}/getMe?x=1",
        lambda value: f"ключ={value}→",
    ],
)
def test_a_leak_is_found_in_each_form(watch: FingerprintSet, secret: str, form: object) -> None:
    leaked = form(secret)  # type: ignore[operator]
    text = f"Sure, here it is:\n{leaked}\nAnything else?"
    hits = watch.find(text)
    assert {hit.secret for hit in hits} == {{TOKEN: "t", KEY: "k", PASSWORD: "p"}[secret]}
    redactor = Redactor()
    redactor.add_detector(watch.spans)
    hidden = redactor.text(text)
    assert leaked not in hidden
    assert hidden.startswith("Sure, here it is:")


def test_offsets_are_the_characters_to_hide(watch: FingerprintSet) -> None:
    (hit,) = watch.find(f"žluťoučký {TOKEN} kůň")
    assert f"žluťoučký {TOKEN} kůň"[hit.start : hit.end] == TOKEN


@given(st.text(max_size=400))
def test_ordinary_texts_hold_nothing(text: str) -> None:
    watch = FingerprintMaker().make({"t": TOKEN.encode()})
    assert watch.find(text) == []


def test_near_misses_are_no_leak(watch: FingerprintSet) -> None:
    assert watch.find(TOKEN[:-1]) == []
    assert watch.find(TOKEN.swapcase()) == []


@pytest.mark.parametrize("weak", ["1234", "hunter2", "aaaaaaaaaaaaaaaaaaaaaaaaa", "summer2026!", "1234567890123456"])
def test_what_could_be_guessed_gets_no_fingerprint(weak: str) -> None:
    assert FingerprintMaker().make({"w": weak.encode()}).fingerprints == ()


def test_sets_for_two_recipients_share_nothing() -> None:
    one, two = (FingerprintMaker().make({"t": TOKEN.encode()}) for _ in range(2))
    assert not {item.tag for item in one.fingerprints} & {item.tag for item in two.fingerprints}
    two_with_key_of_one = FingerprintSet(one._key, one._seed, two.fingerprints)
    assert two_with_key_of_one.find(TOKEN) == []


def test_only_whole_forms_are_tagged(watch: FingerprintSet) -> None:
    """A tag over a part would let an attacker guess part by part."""
    whole = {len(form) for form in fingerprints.forms(TOKEN.encode())}
    assert {item.length for item in watch.fingerprints if item.secret == "t"} <= whole
    assert min(whole) >= len(TOKEN)
    assert all(item.bucket <= 0xFFF for item in watch.fingerprints)


def test_it_travels_sealed_and_shows_nothing(watch: FingerprintSet) -> None:
    again = FingerprintSet.decode(watch.encode())
    assert again.find(TOKEN)
    assert repr(again) == f"FingerprintSet({len(watch.fingerprints)} fingerprints)"
    with pytest.raises(TypeError):
        pickle.dumps(watch)
    for garbage in (b"", b"[]", b'{"entries":[[1]]}', b'{"entries":5}'):
        with pytest.raises(ValueError, match="not a set"):
            FingerprintSet.decode(garbage)


def test_a_hostile_text_is_scanned_in_linear_time() -> None:
    chance = random.Random(3)
    secrets = {str(number): os.urandom(30).hex().encode() for number in range(40)}
    watch = FingerprintMaker().make(secrets)
    alphabet = string.ascii_letters + string.digits
    text = "".join(chance.choice(alphabet) for _ in range(65_536))
    started = time.perf_counter()
    watch.find(text)
    assert time.perf_counter() - started < 2.0
    started = time.perf_counter()
    watch.find("a plain sentence, as people write them. " * 100)
    assert time.perf_counter() - started < 0.05
