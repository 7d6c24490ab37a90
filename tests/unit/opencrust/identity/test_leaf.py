import datetime as dt
import shutil
from pathlib import Path

import pytest
from cryptography import x509

from opencrust.identity import Identity, IdentityError, needs_renewal
from opencrust.identity.ca import Authority, Leaf
from opencrust.identity.files import write_private
from opencrust.identity.issuance import Issuer


def install(directory: Path, leaf: Leaf) -> None:
    write_private(directory / "key.pem", leaf.key_pem)
    write_private(directory / "cert.pem", leaf.certificate_pem)


@pytest.fixture
def authority(home: Path, issuer: Issuer) -> Authority:
    return Authority.load((home / "ca" / "current.pem").read_bytes())


def test_the_service_is_what_the_certificate_says_not_the_directory(home: Path, issuer: Issuer) -> None:
    shutil.copytree(home / "identity" / "vault", home / "identity" / "agent", dirs_exist_ok=True)
    assert Identity(home / "identity" / "agent").service == "vault"


@pytest.mark.parametrize("name", ["cert.pem", "key.pem", "ca.pem"])
@pytest.mark.parametrize("content", [None, b"", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"])
def test_a_missing_or_broken_file_is_an_identity_error_that_names_the_place(
    home: Path, issuer: Issuer, name: str, content: bytes | None
) -> None:
    path = home / "identity" / "agent" / name
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(IdentityError, match="agent"):
        Identity(path.parent)


def test_a_key_of_another_certificate_is_refused(home: Path, issuer: Issuer) -> None:
    shutil.copy(home / "identity" / "vault" / "key.pem", home / "identity" / "agent" / "key.pem")
    with pytest.raises(IdentityError, match="does not belong"):
        Identity(home / "identity" / "agent")


def test_nothing_changed_means_no_reload(identity: Identity) -> None:
    assert identity.reload_if_changed() is False


def test_renewed_files_are_taken_over_and_the_context_stays_the_same_object(
    identity: Identity, authority: Authority
) -> None:
    context, before = identity.client_context(), identity.credentials
    install(identity.directory, authority.issue("agent"))
    assert identity.reload_if_changed() is True
    assert identity.client_context() is context
    assert identity.certificate.serial_number != before.certificate.serial_number
    assert identity.private_key.public_key() == identity.certificate.public_key()
    assert before.private_key.public_key() == before.certificate.public_key()


def test_a_half_finished_renewal_keeps_the_previous_pair_and_is_taken_when_finished(
    identity: Identity, authority: Authority
) -> None:
    before = identity.credentials
    leaf = authority.issue("agent")
    write_private(identity.directory / "key.pem", leaf.key_pem)
    assert identity.reload_if_changed() is False
    assert identity.credentials is before
    write_private(identity.directory / "cert.pem", leaf.certificate_pem)
    assert identity.reload_if_changed() is True


def test_vanished_files_keep_the_previous_pair(identity: Identity) -> None:
    before = identity.credentials
    (identity.directory / "cert.pem").unlink()
    assert identity.reload_if_changed() is False
    assert identity.credentials is before


def test_a_running_service_does_not_become_another_one(identity: Identity, authority: Authority) -> None:
    install(identity.directory, authority.issue("vault"))
    assert identity.reload_if_changed() is False
    assert identity.service == "agent"


def test_both_authorities_are_trusted_while_one_replaces_the_other(issuer: Issuer, identity: Identity) -> None:
    issuer.begin_rotation()
    issuer.ensure(["agent"])
    assert identity.reload_if_changed() is True
    assert len(identity.trusted) == 2


def test_renewal_is_due_after_half_of_the_life(authority: Authority) -> None:
    leaf = authority.issue("agent", lifetime=dt.timedelta(hours=24))
    certificate = x509.load_pem_x509_certificate(leaf.certificate_pem)
    issued = dt.datetime.now(dt.UTC)
    assert not needs_renewal(certificate, issued + dt.timedelta(hours=11, minutes=59))
    assert needs_renewal(certificate, issued + dt.timedelta(hours=12, minutes=1))


def test_no_representation_shows_a_key(identity: Identity) -> None:
    assert repr(identity) == "Identity('agent')"
    assert "PrivateKey" not in repr(identity.credentials)
