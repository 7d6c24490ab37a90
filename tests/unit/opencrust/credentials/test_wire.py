import dataclasses

import pytest
from cryptography import x509
from hypothesis import given
from hypothesis import strategies as st

from opencrust.credentials import wire
from opencrust.credentials.certificates import CertificateBook
from opencrust.credentials.errors import Untrusted
from opencrust.credentials.wire import Asking, Lease, Notice, Status
from opencrust.identity.ca import Authority
from simulators.vault_desk import Party

AUTHORITY = Authority.create()
AGENT, VAULT = Party(AUTHORITY, "agent"), Party(AUTHORITY, "vault")
LEASE = Lease(name="a.b", version=3, lease="abc", ttl=300, not_after=10**12)
VALUE = b"\x00\xff value \n" * 3


@pytest.fixture
def book() -> CertificateBook:
    trusted: tuple[x509.Certificate, ...] = (AUTHORITY.certificate,)
    return CertificateBook(lambda: trusted)


def asking() -> Asking:
    return wire.ask("agent", AGENT.key, AGENT.der, op="get", name="a.b", purpose="chat", trace="ab" * 16)


def answered(asked: Asking) -> bytes:
    signed = wire.parse_request(asked.data)
    return wire.reply(VAULT.key, VAULT.der, signed.digest, Status.OK, wire.seal(signed, LEASE, VALUE))


def test_a_value_makes_the_round(book: CertificateBook) -> None:
    asked = asking()
    signed = wire.parse_request(asked.data)
    signed.verify(AGENT.key.public_key())
    assert (signed.request.name, signed.request.purpose, signed.request.trace) == ("a.b", "chat", "ab" * 16)
    answer = wire.open_reply(answered(asked), asked, book)
    assert (answer.status, answer.lease, answer.value) == (Status.OK, LEASE, VALUE)


def test_the_value_is_nowhere_in_the_reply() -> None:
    assert b"value" not in answered(asking())
    assert "value" not in repr(dataclasses.replace(wire.Answer(Status.OK, LEASE, VALUE), lease=None))


@pytest.mark.parametrize("status", [status for status in Status if status is not Status.OK])
def test_refusals_are_signed_too(book: CertificateBook, status: Status) -> None:
    asked = asking()
    body = (5).to_bytes(8, "big") if status is Status.CLOCK else b""
    answer = wire.open_reply(wire.reply(VAULT.key, VAULT.der, asked.digest, status, body), asked, book)
    assert answer.status is status
    assert answer.vault_time == (5 if status is Status.CLOCK else 0)
    with pytest.raises(Untrusted):
        wire.open_reply(wire.reply(AGENT.key, AGENT.der, asked.digest, status, body), asked, book)


@pytest.mark.filterwarnings("ignore:Parsed a serial number")  # some flips make one that is negative
def test_every_bit_of_a_reply_counts(book: CertificateBook) -> None:
    asked = asking()
    data = answered(asked)
    for bit in range(len(data) * 8):
        changed = bytearray(data)
        changed[bit // 8] ^= 1 << bit % 8
        with pytest.raises(Untrusted):
            wire.open_reply(bytes(changed), asked, book)


def test_every_cut_of_a_reply_is_refused(book: CertificateBook) -> None:
    asked = asking()
    data = answered(asked)
    for length in range(len(data)):
        with pytest.raises(Untrusted):
            wire.open_reply(data[:length], asked, book)


@given(st.binary(max_size=600))
def test_garbage_is_refused_at_both_ends(data: bytes) -> None:
    book = CertificateBook(lambda: (AUTHORITY.certificate,))
    with pytest.raises(Untrusted):
        wire.parse_request(data)
    with pytest.raises(Untrusted):
        wire.open_reply(data, asking(), book)
    with pytest.raises(Untrusted):
        wire.open_notice(data, "agent", book)


def test_a_request_is_bounded_and_strict() -> None:
    data = asking().data
    with pytest.raises(Untrusted, match="too large"):
        wire.parse_request(data + bytes(wire.MAX_REQUEST))
    length = int.from_bytes(data[:2], "big")
    text = data[2 : 2 + length]
    for changed in (
        text.replace(b'"v":1', b'"v":0'),
        text.replace(b'"v":1', b'"v":"1"'),
        text.replace(b'"v":1', b'"v":1,"x":2'),
        text.replace(b'"a.b"', b'"../b"'),
        text.replace(b'"a.b"', b'"a\\u0000b"'),
        text.replace(b'"get"', b'"list"'),
    ):
        assert changed != text
        with pytest.raises(Untrusted, match="malformed"):
            wire.parse_request(len(changed).to_bytes(2, "big") + changed + data[2 + length :])


def test_a_notice_is_for_one_service_and_from_the_vault(book: CertificateBook) -> None:
    notice = Notice(names=["a.b"], fingerprints=True, time=5)
    data = wire.sign_notice(VAULT.key, VAULT.der, "agent", notice)
    assert wire.open_notice(data, "agent", book) == notice
    with pytest.raises(Untrusted):
        wire.open_notice(data, "gateway", book)
    with pytest.raises(Untrusted, match="signed by agent"):
        wire.open_notice(wire.sign_notice(AGENT.key, AGENT.der, "agent", notice), "agent", book)
