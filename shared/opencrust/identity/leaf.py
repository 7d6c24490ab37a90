"""A service's own certificate and key, read from its directory and followed as they are renewed.

The directory holds ``cert.pem``, ``key.pem`` and ``ca.pem`` (one or, while the authority is being rotated, two
certificates to trust). The provisioner replaces them; `Identity` notices, checks that they belong together, and only
then uses them: a half-finished replacement leaves the previous certificate in use.
"""

from __future__ import annotations

import datetime as dt
import os
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from .ca import CLOCK_SKEW
from .context import LiveContext, strict_client_context
from .names import IdentityError, service_of

CERTIFICATE_FILE = "cert.pem"
KEY_FILE = "key.pem"
TRUST_FILE = "ca.pem"
_FILES = (CERTIFICATE_FILE, KEY_FILE, TRUST_FILE)

_Stamp: TypeAlias = tuple[tuple[int, int, int], ...]


@dataclass(frozen=True, slots=True)
class Credentials:
    """Certificate, key and trust bundle that were read together and belong together."""

    certificate: x509.Certificate
    private_key: ec.EllipticCurvePrivateKey
    trusted: tuple[x509.Certificate, ...]
    context: ssl.SSLContext

    def __repr__(self) -> str:
        return f"Credentials(serial={self.certificate.serial_number:x})"


def needs_renewal(certificate: x509.Certificate, now: dt.datetime) -> bool:
    """Whether more than half of the certificate's life is over (its start is `CLOCK_SKEW` before it was issued)."""
    issued = certificate.not_valid_before_utc + CLOCK_SKEW
    return now >= issued + (certificate.not_valid_after_utc - issued) / 2


class Identity:
    """Who this process is.

    Parameters:
        directory: holds ``cert.pem``, ``key.pem``, ``ca.pem``.

    Raises:
        IdentityError: a file is missing or unreadable, key and certificate do not belong together, or the
            certificate does not carry exactly one ``spiffe://opencrust.local/<service>`` URI.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._stamp, self._credentials = self._read()
        self.service = service_of(self._credentials.certificate)
        self._context = LiveContext(self._current_context)

    def __repr__(self) -> str:
        return f"Identity({self.service!r})"

    @property
    def credentials(self) -> Credentials:
        """What is in use now, as one unit: take it once when a certificate and its key must match."""
        return self._credentials

    @property
    def certificate(self) -> x509.Certificate:
        return self._credentials.certificate

    @property
    def private_key(self) -> ec.EllipticCurvePrivateKey:
        return self._credentials.private_key

    @property
    def trusted(self) -> tuple[x509.Certificate, ...]:
        """The authorities whose certificates we accept."""
        return self._credentials.trusted

    @property
    def needs_renewal(self) -> bool:
        """Whether the certificate in use is past half of its life."""
        return needs_renewal(self.certificate, dt.datetime.now(dt.UTC))

    def client_context(self) -> ssl.SSLContext:
        """The TLS 1.3 context for connections to the bus, always the same object.

        Each new handshake looks at the files first and uses what is there then, so a client that keeps the context
        (nats-py does) reconnects with the renewed certificate and trusts the authorities of that moment.
        """
        return self._context

    def reload_if_changed(self) -> bool:
        """Take over renewed files. Returns whether the certificate, key or trust in use changed.

        Files that do not (yet) belong together, are missing, or name another service are not taken: the previous
        credentials stay in use, and the next call looks again.
        """
        try:
            if _stamp(self.directory) == self._stamp:
                return False
            stamp, credentials = self._read()
            if service_of(credentials.certificate) != self.service:
                return False
        except (IdentityError, OSError):
            return False
        self._stamp, self._credentials = stamp, credentials
        return True

    def _current_context(self) -> ssl.SSLContext:
        self.reload_if_changed()
        return self._credentials.context

    def _read(self) -> tuple[_Stamp, Credentials]:
        try:
            before = _stamp(self.directory)
            credentials = _load(self.directory)
            after = _stamp(self.directory)
        except OSError as error:
            raise IdentityError(f"cannot read {error.filename}: {error.strerror}") from None
        if before != after:
            raise IdentityError(f"the files in {self.directory} changed while they were being read")
        return after, credentials


def _stamp(directory: Path) -> _Stamp:
    """What changes when a file is replaced, even by one of the same size within the clock's granularity: its inode."""
    stats = (os.stat(directory / name) for name in _FILES)
    return tuple((stat.st_ino, stat.st_mtime_ns, stat.st_size) for stat in stats)


def _load(directory: Path) -> Credentials:
    certificate_pem, key_pem, trust_pem = ((directory / name).read_bytes() for name in _FILES)
    try:
        certificate = x509.load_pem_x509_certificate(certificate_pem)
        key = serialization.load_pem_private_key(key_pem, password=None)
        trusted = tuple(x509.load_pem_x509_certificates(trust_pem))
    except (ValueError, TypeError):
        raise IdentityError(f"{directory} holds a file that is no PEM certificate or key") from None
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise IdentityError(f"{directory / KEY_FILE} is not an elliptic curve key")
    if key.public_key() != certificate.public_key():
        raise IdentityError(f"{directory / KEY_FILE} does not belong to {directory / CERTIFICATE_FILE}")
    context = strict_client_context()
    try:
        context.load_verify_locations(cadata=trust_pem.decode("ascii"))
        context.load_cert_chain(directory / CERTIFICATE_FILE, directory / KEY_FILE)
    except (ssl.SSLError, UnicodeDecodeError):
        raise IdentityError(f"OpenSSL refuses the certificate, key or trust bundle in {directory}") from None
    return Credentials(certificate, key, trusted, context)
