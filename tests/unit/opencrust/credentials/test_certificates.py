import datetime as dt
import os

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from opencrust.credentials.certificates import CertificateBook
from opencrust.credentials.errors import Untrusted
from opencrust.identity.ca import Authority
from simulators.vault_desk import Clock, Party

AUTHORITY = Authority.create()
AGENT = Party(AUTHORITY, "agent")
NOW = AGENT.certificate.not_valid_before_utc.timestamp() + 600


def certificate(
    *uris: str,
    usage: x509.ObjectIdentifier = ExtendedKeyUsageOID.CLIENT_AUTH,
    authority: bool = False,
    key: ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey | None = None,
) -> bytes:
    """A certificate signed by our authority that it would never issue."""
    start = dt.datetime.fromtimestamp(NOW - 600, dt.UTC)
    key = key or ec.generate_private_key(ec.SECP256R1())
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "agent")]))
        .issuer_name(AUTHORITY.certificate.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(start + dt.timedelta(days=1))
        .add_extension(x509.BasicConstraints(authority, None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
    )
    if uris:
        names = [x509.UniformResourceIdentifier(uri) for uri in uris]
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    return builder.sign(AUTHORITY._key, hashes.SHA256()).public_bytes(Encoding.DER)


@pytest.fixture
def clock() -> Clock:
    return Clock(NOW)


@pytest.fixture
def book(clock: Clock) -> CertificateBook:
    return CertificateBook(lambda: (AUTHORITY.certificate,), now=clock)


def test_ours_is_known_after_it_was_learned(book: CertificateBook) -> None:
    holder = book.learn(AGENT.der)
    assert holder.service == "agent"
    assert book.find(holder.fingerprint) is holder
    assert book.find(os.urandom(32)) is None


@pytest.mark.parametrize(
    "der",
    [
        b"",
        b"garbage",
        os.urandom(5000),
        Party(Authority.create(), "agent").der,
        AUTHORITY.certificate.public_bytes(Encoding.DER),
        certificate(),
        certificate("spiffe://opencrust.local/agent", "spiffe://opencrust.local/vault"),
        certificate("spiffe://elsewhere.local/agent"),
        certificate("spiffe://opencrust.local/agent", usage=ExtendedKeyUsageOID.SERVER_AUTH),
        certificate("spiffe://opencrust.local/agent", authority=True),
        certificate("spiffe://opencrust.local/agent", key=ed25519.Ed25519PrivateKey.generate()),
        certificate("spiffe://opencrust.local/agent", key=ec.generate_private_key(ec.SECP384R1())),
        certificate("spiffe://opencrust.local/agent")[:-1] + b"\0",
    ],
    ids=range(13),
)
def test_what_is_not_ours_is_refused(book: CertificateBook, der: bytes) -> None:
    with pytest.raises(Untrusted):
        book.learn(der)


def test_the_control_for_the_above(book: CertificateBook) -> None:
    assert book.learn(certificate("spiffe://opencrust.local/agent")).service == "agent"


def test_validity_is_checked_at_each_use(book: CertificateBook, clock: Clock) -> None:
    fingerprint = book.learn(AGENT.der).fingerprint
    for offset in (-1200, 86400):
        clock.now = NOW + offset
        with pytest.raises(Untrusted, match="expired"):
            book.find(fingerprint)
        with pytest.raises(Untrusted):
            book.learn(AGENT.der)
    clock.now = NOW
    assert book.find(fingerprint)


def test_an_authority_that_is_trusted_no_more_takes_its_certificates_along(clock: Clock) -> None:
    trusted = [(AUTHORITY.certificate,)]
    book = CertificateBook(lambda: trusted[0], now=clock)
    fingerprint = book.learn(AGENT.der).fingerprint
    trusted[0] = (Authority.create().certificate,)
    assert book.find(fingerprint) is None
    with pytest.raises(Untrusted):
        book.learn(AGENT.der)
