"""SPIFFE names: what a certificate says its holder is.

A service's identity is exactly one URI in the subject alternative name of its certificate,
``spiffe://opencrust.local/<service>`` (SPIFFE ID, X509-SVID §2). nats-server maps that URI to a user.
"""

from __future__ import annotations

import re

from cryptography import x509

TRUST_DOMAIN = "opencrust.local"
BUS_HOSTNAME = f"bus.{TRUST_DOMAIN}"
"""The name every client checks on the bus's certificate, whatever address it dialled."""

_PREFIX = f"spiffe://{TRUST_DOMAIN}/"
_SERVICE = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
_LONGEST = 63


class IdentityError(Exception):
    """A certificate, key or trust bundle is missing, broken, or says something it must not say."""


def check_service(service: str) -> str:
    """Return `service` if it can be a service's name: lower-case words joined by '-', at most 63 characters.

    Raises:
        ValueError: it cannot.
    """
    if len(service) > _LONGEST or not _SERVICE.fullmatch(service):
        raise ValueError(f"{service!r} is no service name: use a-z, 0-9 and single '-', at most {_LONGEST} characters")
    return service


def spiffe_id(service: str) -> str:
    """The URI that names `service`, e.g. ``spiffe://opencrust.local/agent``."""
    return _PREFIX + check_service(service)


def service_of(certificate: x509.Certificate) -> str:
    """The service a client certificate names.

    Raises:
        IdentityError: the certificate has no URI, more than one name, or a URI outside our trust domain.
    """
    try:
        names = list(certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value)
    except x509.ExtensionNotFound:
        raise IdentityError("the certificate has no subject alternative name") from None
    if len(names) != 1 or not isinstance(names[0], x509.UniformResourceIdentifier):
        raise IdentityError("the certificate must have exactly one URI as its subject alternative name")
    uri = names[0].value
    service = uri.removeprefix(_PREFIX)
    if service == uri:
        raise IdentityError(f"the certificate names {uri!r}, which is outside spiffe://{TRUST_DOMAIN}/")
    try:
        return check_service(service)
    except ValueError as error:
        raise IdentityError(f"the certificate names {uri!r}: {error}") from None
