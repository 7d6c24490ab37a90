"""Whose certificate a signed message carries, and whether it is good now.

The checks are our own because the library's path validation does not know URI name constraints: the certificate is
issued *directly* by a trusted authority (which has path length 0), is no authority itself, is for client
authentication, holds an ECDSA P-256 key, and names exactly one `spiffe://opencrust.local/<service>`.
"""

import hashlib
import time
import warnings
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.utils import CryptographyDeprecationWarning
from cryptography.x509.oid import ExtendedKeyUsageOID

from opencrust.credentials.errors import Untrusted
from opencrust.identity import IdentityError, service_of

MAX_CERTIFICATE = 2048
_REMEMBERED = 1024
_MALFORMED = (
    IdentityError,
    ValueError,
    TypeError,
    CryptographyDeprecationWarning,
    UnsupportedAlgorithm,
    x509.DuplicateExtension,
    x509.ExtensionNotFound,
    x509.InvalidVersion,
    x509.UnsupportedGeneralNameType,
)


@dataclass(frozen=True, slots=True)
class Holder:
    """Who a certificate says its holder is.

    Attributes:
        service: the service's name.
        key: its public key.
        not_before, not_after: seconds since the epoch, the authority's validity included.
        fingerprint: SHA-256 of the certificate's DER.
    """

    service: str
    key: ec.EllipticCurvePublicKey
    not_before: float
    not_after: float
    fingerprint: bytes


class CertificateBook:
    """Certificates that were checked once; validity in time is checked at every use."""

    def __init__(
        self, trusted: Callable[[], tuple[x509.Certificate, ...]], *, now: Callable[[], float] = time.time
    ) -> None:
        """Args:
        trusted: the authorities trusted at this moment (`lambda: identity.trusted`).
        """
        self._trusted = trusted
        self._now = now
        self._authorities: tuple[x509.Certificate, ...] = ()
        self._holders: OrderedDict[bytes, Holder] = OrderedDict()

    def learn(self, der: bytes) -> Holder:
        """Check a certificate and remember it.

        Raises:
            Untrusted: it is not a service's certificate by one of our authorities, or not valid now.
        """
        self._follow_trust()
        fingerprint = hashlib.sha256(der).digest()
        holder = self._holders.get(fingerprint)
        if holder is None:
            holder = _check(der, self._authorities, fingerprint)
            while len(self._holders) >= _REMEMBERED:
                self._holders.popitem(last=False)
            self._holders[fingerprint] = holder
        return self._valid_now(holder)

    def find(self, fingerprint: bytes) -> Holder | None:
        """The holder of a certificate that was learned before; None if it was not.

        Raises:
            Untrusted: it is not valid now (any more).
        """
        self._follow_trust()
        holder = self._holders.get(fingerprint)
        return None if holder is None else self._valid_now(holder)

    def _follow_trust(self) -> None:
        trusted = self._trusted()
        if trusted is not self._authorities and trusted != self._authorities:
            self._holders.clear()
        self._authorities = trusted

    def _valid_now(self, holder: Holder) -> Holder:
        if not holder.not_before <= self._now() < holder.not_after:
            raise Untrusted(f"the certificate of {holder.service} has expired or is not valid yet")
        return holder


def _check(der: bytes, authorities: tuple[x509.Certificate, ...], fingerprint: bytes) -> Holder:
    if len(der) > MAX_CERTIFICATE:
        raise Untrusted("a certificate is larger than ours ever are")
    try:
        with warnings.catch_warnings():
            # What the library only warns of (negative serial numbers, odd encodings), our authority never makes.
            warnings.simplefilter("error", CryptographyDeprecationWarning)
            certificate = x509.load_der_x509_certificate(der)
            service = service_of(certificate)
            constraints = certificate.extensions.get_extension_for_class(x509.BasicConstraints).value
            usage = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
            key = certificate.public_key()
    except _MALFORMED:
        raise Untrusted("a certificate is not one of a service of this house") from None
    if constraints.ca or ExtendedKeyUsageOID.CLIENT_AUTH not in usage:
        raise Untrusted(f"the certificate of {service} is not for signing requests")
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        raise Untrusted(f"the certificate of {service} holds another kind of key")
    for authority in authorities:
        try:
            certificate.verify_directly_issued_by(authority)
        except (InvalidSignature, UnsupportedAlgorithm, ValueError, TypeError):
            continue
        return Holder(
            service,
            key,
            max(certificate.not_valid_before_utc, authority.not_valid_before_utc).timestamp(),
            min(certificate.not_valid_after_utc, authority.not_valid_after_utc).timestamp(),
            fingerprint,
        )
    raise Untrusted(f"the certificate of {service} is not from an authority of this house")
