import itertools
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opencrust_vault import envelope
from opencrust_vault.errors import Corrupt, WrongKey

KEY = bytes(range(32))
parts = st.lists(st.one_of(st.text(max_size=8), st.integers(0, 2**40), st.binary(max_size=8)), max_size=4)


@given(st.binary(max_size=300), st.text(max_size=10), parts)
def test_what_is_sealed_unseals_in_its_own_context(
    plaintext: bytes, domain: str, rest: list[str | int | bytes]
) -> None:
    about = envelope.context(domain, *rest)
    assert envelope.unseal(KEY, envelope.seal(KEY, plaintext, about), about) == plaintext


def test_context_keeps_parts_apart() -> None:
    assert envelope.context("value", "ab", "c") != envelope.context("value", "a", "bc")
    assert envelope.context("value", "a") != envelope.context("value", "a", "")


def test_every_bit_and_every_length_is_authenticated() -> None:
    sealed = envelope.seal(KEY, b"secret", b"here")
    for bit in range(len(sealed) * 8):
        changed = bytearray(sealed)
        changed[bit // 8] ^= 1 << bit % 8
        with pytest.raises(Corrupt):
            envelope.unseal(KEY, bytes(changed), b"here")
    for length in range(len(sealed)):
        with pytest.raises(Corrupt):
            envelope.unseal(KEY, sealed[:length], b"here")


def test_another_key_or_place_is_the_mismatch_that_was_asked_for() -> None:
    sealed = envelope.seal(KEY, b"secret", b"here")
    with pytest.raises(WrongKey):
        envelope.unseal(os.urandom(32), sealed, b"here", mismatch=WrongKey)
    with pytest.raises(Corrupt):
        envelope.unseal(KEY, sealed, b"there")


def test_two_sealings_share_nothing() -> None:
    first, second = (envelope.seal(KEY, b"same", b"here") for _ in range(2))
    cuts = (0, 32, 64, 76, len(first))
    assert all(first[a:b] != second[a:b] for a, b in itertools.pairwise(cuts))


def test_subkeys_differ_by_purpose_and_are_stable() -> None:
    assert envelope.derive(KEY, "a") == envelope.derive(KEY, "a") != envelope.derive(KEY, "b")


@pytest.mark.parametrize("text", ["YQ", "YR==", "YQ==\n", " YQ==", "Y!==", 5, None])
def test_only_canonical_base64_is_read(text: object) -> None:
    assert envelope.decode("YQ==") == b"a"
    with pytest.raises(Corrupt):
        envelope.decode(text)
