import datetime as dt
import ssl

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID

from opencrust.identity import IdentityError, service_of
from opencrust.identity.ca import Authority, Leaf
from opencrust.identity.context import strict_client_context


def parsed(leaf: Leaf) -> x509.Certificate:
    return x509.load_pem_x509_certificate(leaf.certificate_pem)


def names(certificate: x509.Certificate) -> list[str]:
    return [
        str(name.value) for name in certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    ]


def handshake(client: ssl.SSLContext, server: ssl.SSLContext, hostname: str) -> None:
    """A TLS handshake in memory. Raises what either side raises."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = [
        client.wrap_bio(to_client, to_server, server_hostname=hostname),
        server.wrap_bio(to_server, to_client, server_side=True),
    ]
    while ends:
        for end in list(ends):
            try:
                end.do_handshake()
                ends.remove(end)
            except ssl.SSLWantReadError:
                pass


def server_context(tmp_path, authority: Authority, leaf: Leaf) -> ssl.SSLContext:
    path = tmp_path / "server.pem"
    path.write_bytes(leaf.certificate_pem + leaf.key_pem)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)
    context.verify_mode = ssl.CERT_REQUIRED
    context.verify_flags |= ssl.VERIFY_X509_STRICT
    context.load_verify_locations(cadata=authority.certificate_pem.decode())
    return context


def client_context(tmp_path, authority: Authority, leaf: Leaf) -> ssl.SSLContext:
    path = tmp_path / "client.pem"
    path.write_bytes(leaf.certificate_pem + leaf.key_pem)
    context = strict_client_context()
    context.load_cert_chain(path)
    context.load_verify_locations(cadata=authority.certificate_pem.decode())
    return context


def test_a_service_certificate_says_who_it_is_and_nothing_more() -> None:
    certificate = parsed(Authority.create().issue("agent"))
    usage = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert names(certificate) == ["spiffe://opencrust.local/agent"]
    assert service_of(certificate) == "agent"
    assert list(usage) == [ExtendedKeyUsageOID.CLIENT_AUTH]
    assert certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca is False
    assert isinstance(certificate.public_key(), ec.EllipticCurvePublicKey)


def test_the_bus_certificate_is_a_server_and_only_a_server() -> None:
    certificate = parsed(Authority.create(hostnames=["nats"]).issue_bus(hostnames=["nats"]))
    usage = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert names(certificate) == ["bus.opencrust.local", "localhost", "nats", "127.0.0.1"]
    assert list(usage) == [ExtendedKeyUsageOID.SERVER_AUTH]


def test_a_leaf_lives_a_day_and_began_five_minutes_ago() -> None:
    certificate = parsed(Authority.create().issue("agent"))
    now = dt.datetime.now(dt.UTC)
    assert abs(certificate.not_valid_before_utc - (now - dt.timedelta(minutes=5))) < dt.timedelta(seconds=5)
    assert abs(certificate.not_valid_after_utc - (now + dt.timedelta(hours=24))) < dt.timedelta(seconds=5)


def test_a_leaf_never_outlives_its_authority() -> None:
    authority = Authority.create(lifetime=dt.timedelta(hours=1))
    assert parsed(authority.issue("agent")).not_valid_after_utc == authority.certificate.not_valid_after_utc


def test_an_authority_survives_dump_and_load() -> None:
    authority = Authority.create()
    again = Authority.load(authority.dump())
    parsed(again.issue("agent")).verify_directly_issued_by(authority.certificate)


@pytest.mark.parametrize("cut", [b"", b"nonsense", Authority.create().certificate_pem])
def test_a_broken_authority_file_is_refused(cut: bytes) -> None:
    with pytest.raises(IdentityError, match="no readable key"):
        Authority.load(cut)


def test_key_and_certificate_of_two_authorities_are_refused() -> None:
    one, other = Authority.create(), Authority.create()
    with pytest.raises(IdentityError, match="does not belong"):
        Authority.load(one.dump().replace(one.certificate_pem, other.certificate_pem))


def test_no_representation_shows_a_key() -> None:
    authority = Authority.create()
    leaf = authority.issue("agent")
    assert "PRIVATE" not in repr(authority) + repr(leaf) + str(leaf)


def test_a_host_name_outside_the_constraints_is_refused_before_signing() -> None:
    with pytest.raises(IdentityError, match=r"'bank\.example'"):
        Authority.create().issue_bus(hostnames=["bank.example"])


def test_openssl_accepts_what_the_authority_signs_under_its_constraints(tmp_path) -> None:
    authority = Authority.create(hostnames=["nats"])
    client = client_context(tmp_path, authority, authority.issue("channel-telegram"))
    server = server_context(tmp_path, authority, authority.issue_bus(hostnames=["nats"]))
    for hostname in ("bus.opencrust.local", "localhost", "nats", "127.0.0.1"):
        handshake(client, server, hostname)


def test_cryptographys_own_verifier_accepts_the_bus_under_the_constraints() -> None:
    authority = Authority.create()
    verifier = (
        x509.verification.PolicyBuilder()
        .store(x509.verification.Store([authority.certificate]))
        .build_server_verifier(x509.DNSName("bus.opencrust.local"))
    )
    verifier.verify(parsed(authority.issue_bus()), [])


class Stolen(Authority):
    """An authority in the hands of somebody who signs whatever he likes."""

    def _require_permitted(self, hostname: str) -> None:
        pass

    def issue_foreign(self, uri: str) -> Leaf:
        return self._sign(
            "agent", [x509.UniformResourceIdentifier(uri)], ExtendedKeyUsageOID.CLIENT_AUTH, dt.timedelta(hours=1)
        )


def test_a_stolen_authority_cannot_vouch_for_another_host(tmp_path) -> None:
    authority = Stolen.create()
    client = client_context(tmp_path, authority, authority.issue("agent"))
    server = server_context(tmp_path, authority, authority.issue_bus(hostnames=["bank.example"]))
    with pytest.raises(ssl.SSLCertVerificationError, match="permitted subtree violation"):
        handshake(client, server, "bank.example")


def test_a_stolen_authority_cannot_vouch_for_another_trust_domain(tmp_path) -> None:
    authority = Stolen.create()
    assert isinstance(authority, Stolen)
    client = client_context(tmp_path, authority, authority.issue_foreign("spiffe://bank.example/agent"))
    server = server_context(tmp_path, authority, authority.issue_bus())
    with pytest.raises(ssl.SSLCertVerificationError, match="permitted subtree violation"):
        handshake(client, server, "bus.opencrust.local")


def test_a_leaf_cannot_sign_further_certificates(tmp_path) -> None:
    authority = Authority.create()
    leaf = authority.issue("agent")
    certificate = parsed(leaf)
    usage = certificate.extensions.get_extension_for_class(x509.KeyUsage).value
    assert (usage.key_cert_sign, usage.digital_signature) == (False, True)
    assert authority.certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.path_length == 0
    assert isinstance(authority.certificate.signature_hash_algorithm, hashes.SHA256)
