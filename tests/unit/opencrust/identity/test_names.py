import datetime as dt

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from opencrust.identity import IdentityError, check_service, service_of, spiffe_id


def certificate(*names: x509.GeneralName) -> x509.Certificate:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([])
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(dt.datetime(2026, 1, 1, tzinfo=dt.UTC))
        .not_valid_after(dt.datetime(2036, 1, 1, tzinfo=dt.UTC))
    )
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    return builder.sign(key, hashes.SHA256())


def uri(text: str) -> x509.GeneralName:
    return x509.UniformResourceIdentifier(text)


@pytest.mark.parametrize("name", ["agent", "channel-telegram", "s3", "a" * 63])
def test_a_service_name_survives_the_way_through_a_certificate(name: str) -> None:
    assert service_of(certificate(uri(spiffe_id(name)))) == name


@pytest.mark.parametrize(
    "name", ["", "Agent", "a b", "a/b", "a.b", "a*", ">", "-a", "a-", "a--b", "1a", "a\n", "ä", "a" * 64]
)
def test_what_could_mean_something_else_in_a_subject_or_path_is_no_service_name(name: str) -> None:
    with pytest.raises(ValueError, match="service name"):
        check_service(name)


@pytest.mark.parametrize(
    "names",
    [
        (),
        (x509.DNSName("agent"),),
        (uri(spiffe_id("agent")), uri(spiffe_id("vault"))),
        (uri(spiffe_id("agent")), x509.DNSName("vault")),
        (uri("spiffe://elsewhere.example/agent"),),
        (uri("spiffe://opencrust.local/agent/admin"),),
        (uri("spiffe://opencrust.local/"),),
        (uri("spiffe://opencrust.local.evil/agent"),),
        (uri("https://opencrust.local/agent"),),
    ],
)
def test_a_certificate_that_does_not_name_exactly_one_service_of_ours_is_refused(
    names: tuple[x509.GeneralName, ...],
) -> None:
    with pytest.raises(IdentityError):
        service_of(certificate(*names))
