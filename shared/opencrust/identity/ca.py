"""The local certificate authority.

One authority signs every certificate of one installation: ECDSA P-256, path length 0 (it can sign no further
authority), and critical name constraints (RFC 5280 §4.2.1.10), so that even a stolen authority key can vouch for
nothing outside ``spiffe://opencrust.local``, ``*.opencrust.local``, the loopback address, and the host names the
bus was given. nats-server (Go), OpenSSL and `cryptography` all enforce them.

Only the provisioner reads an authority's file; `opencrust.identity.store` keeps it on disk and rotates it.
"""

from __future__ import annotations

import datetime as dt
import ipaddress
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from .names import BUS_HOSTNAME, TRUST_DOMAIN, IdentityError, check_service, spiffe_id

AUTHORITY_LIFETIME = dt.timedelta(days=3650)
LEAF_LIFETIME = dt.timedelta(hours=24)
CLOCK_SKEW = dt.timedelta(minutes=5)
"""How far a certificate's start lies in the past, for peers whose clock is behind."""

_LOOPBACK = ipaddress.ip_address("127.0.0.1")


@dataclass(frozen=True, slots=True)
class Leaf:
    """A certificate with its private key, both PEM (the key PKCS #8, unencrypted)."""

    certificate_pem: bytes
    key_pem: bytes

    def __repr__(self) -> str:
        return "Leaf(<certificate and private key>)"


class Authority:
    """A certificate authority: its key, its certificate, and the right to sign leaves.

    Parameters:
        key: the signing key, ECDSA P-256.
        certificate: the self-signed certificate of that key.
    """

    def __init__(self, key: ec.EllipticCurvePrivateKey, certificate: x509.Certificate) -> None:
        if key.public_key() != certificate.public_key():
            raise IdentityError("the authority's key does not belong to its certificate")
        self._key = key
        self.certificate = certificate

    @classmethod
    def create(cls, *, hostnames: Iterable[str] = (), lifetime: dt.timedelta = AUTHORITY_LIFETIME) -> Authority:
        """Make a new authority.

        Parameters:
            hostnames: DNS names beyond ours that the bus may carry (e.g. ``nats`` in compose).
            lifetime: how long its certificate is valid.
        """
        key = ec.generate_private_key(ec.SECP256R1())
        # The serial in the name keeps an old and a new authority apart while both are trusted.
        serial = x509.random_serial_number()
        name = x509.Name(
            [
                x509.NameAttribute(NameOID.ORGANIZATION_NAME, "OpenCrust"),
                x509.NameAttribute(NameOID.COMMON_NAME, f"OpenCrust local authority {serial & 0xFFFFFFFF:08x}"),
            ]
        )
        permitted: list[x509.GeneralName] = [
            x509.UniformResourceIdentifier(TRUST_DOMAIN),
            *(x509.DNSName(name) for name in _unique((TRUST_DOMAIN, "localhost", *hostnames))),
            x509.IPAddress(ipaddress.ip_network("127.0.0.0/8")),
        ]
        now = _now()
        certificate = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(key.public_key())
            .serial_number(serial)
            .not_valid_before(now - CLOCK_SKEW)
            .not_valid_after(now + lifetime)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_key_usage(authority=True), critical=True)
            .add_extension(x509.NameConstraints(permitted, None), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .sign(key, hashes.SHA256())
        )
        return cls(key, certificate)

    @classmethod
    def load(cls, pem: bytes) -> Authority:
        """Read what `dump` wrote.

        Raises:
            IdentityError: it is not an authority's key and certificate.
        """
        try:
            key = serialization.load_pem_private_key(pem, password=None)
            certificate = x509.load_pem_x509_certificate(pem)
        except (ValueError, TypeError):
            raise IdentityError("the authority's file holds no readable key and certificate") from None
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise IdentityError("the authority's key is not an elliptic curve key")
        return cls(key, certificate)

    def dump(self) -> bytes:
        """Key and certificate in one PEM text: one file, so that the two can never be of different age."""
        return _key_pem(self._key) + self.certificate_pem

    @property
    def certificate_pem(self) -> bytes:
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    def __repr__(self) -> str:
        return f"Authority(serial={self.certificate.serial_number:x})"

    def issue(self, service: str, *, lifetime: dt.timedelta = LEAF_LIFETIME) -> Leaf:
        """Sign a fresh key as `service`: one URI name, client authentication only.

        Raises:
            ValueError: `service` cannot be a service's name.
        """
        names = [x509.UniformResourceIdentifier(spiffe_id(service))]
        return self._sign(check_service(service), names, ExtendedKeyUsageOID.CLIENT_AUTH, lifetime)

    def issue_bus(self, *, hostnames: Iterable[str] = (), lifetime: dt.timedelta = LEAF_LIFETIME) -> Leaf:
        """Sign a fresh key as the bus: ``bus.opencrust.local``, ``localhost``, 127.0.0.1, server authentication only.

        Parameters:
            hostnames: further DNS names; the authority must have been created with them.

        Raises:
            IdentityError: a name lies outside the authority's name constraints.
        """
        dns = _unique((BUS_HOSTNAME, "localhost", *hostnames))
        for name in dns:
            self._require_permitted(name)
        names: list[x509.GeneralName] = [*map(x509.DNSName, dns), x509.IPAddress(_LOOPBACK)]
        return self._sign("bus", names, ExtendedKeyUsageOID.SERVER_AUTH, lifetime)

    def permits(self, hostname: str) -> bool:
        """Whether this authority's name constraints let it vouch for `hostname`."""
        constraints = self.certificate.extensions.get_extension_for_class(x509.NameConstraints).value
        allowed = [name.value for name in constraints.permitted_subtrees or () if isinstance(name, x509.DNSName)]
        return any(hostname == name or hostname.endswith("." + name) for name in allowed)

    def _require_permitted(self, hostname: str) -> None:
        if not self.permits(hostname):
            raise IdentityError(
                f"this authority may not vouch for the host name {hostname!r}: rotate it with that name added"
            )

    def _sign(
        self, common_name: str, names: Sequence[x509.GeneralName], usage: x509.ObjectIdentifier, lifetime: dt.timedelta
    ) -> Leaf:
        key = ec.generate_private_key(ec.SECP256R1())
        now = _now()
        certificate = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)]))
            .issuer_name(self.certificate.subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - CLOCK_SKEW)
            .not_valid_after(min(now + lifetime, self.certificate.not_valid_after_utc))
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_key_usage(authority=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False)
            .sign(self._key, hashes.SHA256())
        )
        return Leaf(certificate.public_bytes(serialization.Encoding.PEM), _key_pem(key))


def _now() -> dt.datetime:
    return dt.datetime.now(dt.UTC).replace(microsecond=0)


def _unique(names: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(names))


def _key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _key_usage(*, authority: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not authority,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=authority,
        crl_sign=authority,
        encipher_only=False,
        decipher_only=False,
    )
