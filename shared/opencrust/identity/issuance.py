"""What the provisioner does with the authority: keep every service's directory supplied, and rotate the authority.

On disk, below one home::

    ca/current.pem             the authority that signs now (key and certificate)
    ca/next.pem                during a rotation's first step: trusted already, signs nothing yet
    ca/previous.crt            during its second step: no longer signs, still trusted
    identity/<service>/        cert.pem  key.pem  ca.pem
    identity/bus/              the same for nats-server

A rotation is three steps, each followed by telling nats-server to reload (SIGHUP); a crash between two steps leaves a
working state, and `Issuer.rotation` says which step comes next:

1. `begin_rotation`: everybody trusts the old and the new authority;
2. `switch_authority`: everybody gets a certificate from the new one;
3. `finish_rotation`: nobody trusts the old one.
"""

from __future__ import annotations

import datetime as dt
import fcntl
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.x509.oid import ExtendedKeyUsageOID

from .ca import Authority, Leaf
from .files import PRIVATE_FILE, make_private_directory, remove_private, write_private
from .leaf import CERTIFICATE_FILE, KEY_FILE, TRUST_FILE, needs_renewal
from .names import BUS_HOSTNAME, IdentityError, check_service, service_of

BUS = "bus"
"""The directory of nats-server's own (server) certificate; no service may be called so."""


class Rotation(StrEnum):
    """Where a rotation of the authority stands."""

    NONE = "none"
    BEGUN = "begun"
    SWITCHED = "switched"


class Issuer:
    """The provisioner's hand on the authority of one home.

    Parameters:
        home: OPENCRUST_HOME.
        hostnames: DNS names the bus carries beyond ``bus.opencrust.local`` and ``localhost``.
    """

    def __init__(self, home: Path, *, hostnames: Iterable[str] = ()) -> None:
        self._directory = home / "ca"
        self._identities = home / "identity"
        self._current = self._directory / "current.pem"
        self._next = self._directory / "next.pem"
        self._previous = self._directory / "previous.crt"
        self._hostnames = tuple(hostnames)

    @property
    def rotation(self) -> Rotation:
        # While `next` exists the switch is not complete, even if the previous certificate is noted already.
        if self._next.exists():
            return Rotation.BEGUN
        return Rotation.SWITCHED if self._previous.exists() else Rotation.NONE

    def ensure(self, services: Iterable[str]) -> tuple[str, ...]:
        """Supply `services` and the bus with valid certificates and the present trust bundle.

        A certificate is replaced if it is missing, broken, past half of its life, or not from the signing authority;
        otherwise it is left alone, so calling this again changes nothing.

        Returns:
            the names (services, ``bus``) whose directory changed. If ``bus`` is among them, nats-server must reload.

        Raises:
            ValueError: a name cannot be a service's name, or is ``bus``.
            IdentityError: the authority's file is unreadable or expired, or it may not vouch for a host name.
        """
        names = [check_service(service) for service in services]
        if BUS in names:
            raise ValueError("'bus' is nats-server's own name, no service can have it")
        with self._locked():
            authority = self._authority()
            trust = self._trust_bundle(authority)
            changed = [name for name in dict.fromkeys(names) if self._supply(name, authority, trust)]
            if self._supply(BUS, authority, trust):
                changed.append(BUS)
            return tuple(changed)

    def begin_rotation(self) -> None:
        """Step 1: make the next authority. Follow with `ensure` and a reload of nats-server.

        Raises:
            IdentityError: a rotation is already under way.
        """
        with self._locked():
            self._expect(Rotation.NONE)
            self._authority()
            write_private(self._next, Authority.create(hostnames=self._hostnames).dump())

    def switch_authority(self) -> None:
        """Step 2: sign with the next authority from now on. Follow with `ensure` and a reload of nats-server.

        Raises:
            IdentityError: step 1 was not done, or step 2 was already.
        """
        with self._locked():
            self._expect(Rotation.BEGUN)
            write_private(self._previous, self._authority().certificate_pem)
            self._next.replace(self._current)

    def finish_rotation(self) -> None:
        """Step 3: stop trusting the previous authority. Follow with `ensure` and a reload of nats-server.

        Raises:
            IdentityError: step 2 was not done.
        """
        with self._locked():
            self._expect(Rotation.SWITCHED)
            remove_private(self._previous)

    def _expect(self, state: Rotation) -> None:
        if self.rotation is not state:
            raise IdentityError(f"this step follows state {state.value!r}, but the rotation's state is {self.rotation}")

    @contextmanager
    def _locked(self) -> Iterator[None]:
        make_private_directory(self._directory)
        descriptor = os.open(self._directory / "lock", os.O_RDWR | os.O_CREAT, PRIVATE_FILE)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def _authority(self) -> Authority:
        try:
            authority = Authority.load(self._current.read_bytes())
        except FileNotFoundError:
            authority = Authority.create(hostnames=self._hostnames)
            write_private(self._current, authority.dump())
        if authority.certificate.not_valid_after_utc <= dt.datetime.now(dt.UTC):
            raise IdentityError(f"the authority in {self._current} has expired: remove it to make a new one")
        return authority

    def _trust_bundle(self, authority: Authority) -> bytes:
        bundle = authority.certificate_pem
        if self._next.exists():
            bundle += Authority.load(self._next.read_bytes()).certificate_pem
        if self._previous.exists():
            bundle += self._previous.read_bytes()
        return bundle

    def _supply(self, name: str, authority: Authority, trust: bytes) -> bool:
        directory = make_private_directory(self._identities / name)
        changed = False
        # Trust first: whoever reads in between must already trust what the new certificate's peer may show.
        if _read(directory / TRUST_FILE) != trust:
            write_private(directory / TRUST_FILE, trust)
            changed = True
        if not self._is_good(directory, name, authority):
            leaf = self._issue(name, authority)
            write_private(directory / KEY_FILE, leaf.key_pem)
            write_private(directory / CERTIFICATE_FILE, leaf.certificate_pem)
            changed = True
        return changed

    def _issue(self, name: str, authority: Authority) -> Leaf:
        return authority.issue_bus(hostnames=self._hostnames) if name == BUS else authority.issue(name)

    def _is_good(self, directory: Path, name: str, authority: Authority) -> bool:
        try:
            certificate = x509.load_pem_x509_certificate((directory / CERTIFICATE_FILE).read_bytes())
            key = serialization.load_pem_private_key((directory / KEY_FILE).read_bytes(), password=None)
            certificate.verify_directly_issued_by(authority.certificate)
        except (OSError, ValueError, TypeError, InvalidSignature):
            return False
        return (
            key.public_key() == certificate.public_key()
            and not needs_renewal(certificate, dt.datetime.now(dt.UTC))
            and (self._names_bus(certificate) if name == BUS else _names_service(certificate, name))
        )

    def _names_bus(self, certificate: x509.Certificate) -> bool:
        try:
            names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
            usage = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
        except x509.ExtensionNotFound:
            return False
        wanted = {BUS_HOSTNAME, "localhost", *self._hostnames}
        return wanted == set(names.get_values_for_type(x509.DNSName)) and ExtendedKeyUsageOID.SERVER_AUTH in usage


def _names_service(certificate: x509.Certificate, service: str) -> bool:
    try:
        return service_of(certificate) == service
    except IdentityError:
        return False


def _read(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None
