import datetime as dt
import os
import stat
from pathlib import Path

import pytest
from cryptography import x509

from opencrust.identity import Identity, IdentityError
from opencrust.identity.ca import Authority
from opencrust.identity.files import write_private
from opencrust.identity.issuance import Issuer, Rotation


def contents(home: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in home.rglob("*") if path.is_file()}


def serial(home: Path, name: str) -> int:
    return x509.load_pem_x509_certificate((home / "identity" / name / "cert.pem").read_bytes()).serial_number


def current(home: Path) -> Authority:
    return Authority.load((home / "ca" / "current.pem").read_bytes())


def test_everything_is_private_even_under_an_open_umask(home: Path) -> None:
    previous = os.umask(0)
    try:
        Issuer(home).ensure(["agent"])
    finally:
        os.umask(previous)
    for path in [home / "ca", home / "identity", *(home / "ca").rglob("*"), *(home / "identity").rglob("*")]:
        wanted = 0o700 if path.is_dir() else 0o600
        assert stat.S_IMODE(path.stat().st_mode) == wanted, path


def test_doing_it_again_changes_nothing(home: Path) -> None:
    assert Issuer(home).ensure(["agent", "vault"]) == ("agent", "vault", "bus")
    before = contents(home)
    assert Issuer(home).ensure(["agent", "vault"]) == ()
    assert contents(home) == before


def test_a_service_that_comes_later_gets_its_own_and_leaves_the_others_alone(home: Path) -> None:
    Issuer(home).ensure(["agent"])
    assert Issuer(home).ensure(["agent", "gateway"]) == ("gateway",)


@pytest.mark.parametrize("name", ["bus", "Agent", "../agent", "a/b"])
def test_a_name_that_is_not_a_services_is_refused(home: Path, name: str) -> None:
    with pytest.raises(ValueError, match="name"):
        Issuer(home).ensure([name])
    assert not (home / "identity").exists()


@pytest.mark.parametrize("name", ["agent", "bus"])
def test_past_half_life_is_renewed(home: Path, issuer: Issuer, name: str) -> None:
    authority = current(home)
    short = dt.timedelta(seconds=0)
    leaf = authority.issue_bus(lifetime=short) if name == "bus" else authority.issue(name, lifetime=short)
    write_private(home / "identity" / name / "key.pem", leaf.key_pem)
    write_private(home / "identity" / name / "cert.pem", leaf.certificate_pem)
    assert issuer.ensure(["agent", "vault"]) == (name,)


def test_a_crash_between_key_and_certificate_is_repaired(home: Path, issuer: Issuer) -> None:
    write_private(home / "identity" / "agent" / "key.pem", current(home).issue("agent").key_pem)
    assert issuer.ensure(["agent", "vault"]) == ("agent",)
    assert Identity(home / "identity" / "agent").service == "agent"


@pytest.mark.parametrize("content", [b"", b"garbage"])
def test_a_broken_certificate_is_replaced(home: Path, issuer: Issuer, content: bytes) -> None:
    (home / "identity" / "agent" / "cert.pem").write_bytes(content)
    assert issuer.ensure(["agent", "vault"]) == ("agent",)


def test_a_certificate_that_names_another_service_is_replaced(home: Path, issuer: Issuer) -> None:
    leaf = current(home).issue("vault")
    write_private(home / "identity" / "agent" / "key.pem", leaf.key_pem)
    write_private(home / "identity" / "agent" / "cert.pem", leaf.certificate_pem)
    assert issuer.ensure(["agent", "vault"]) == ("agent",)
    assert Identity(home / "identity" / "agent").service == "agent"


def test_a_certificate_of_a_foreign_authority_is_replaced(home: Path, issuer: Issuer) -> None:
    leaf = Authority.create().issue("agent")
    write_private(home / "identity" / "agent" / "key.pem", leaf.key_pem)
    write_private(home / "identity" / "agent" / "cert.pem", leaf.certificate_pem)
    assert issuer.ensure(["agent", "vault"]) == ("agent",)


def test_a_new_host_name_needs_an_authority_that_may_vouch_for_it(home: Path, issuer: Issuer) -> None:
    with pytest.raises(IdentityError, match="rotate it"):
        Issuer(home, hostnames=["nats"]).ensure(["agent"])
    within = Issuer(home, hostnames=["east.bus.opencrust.local"])
    assert within.ensure(["agent"]) == ("bus",)


def test_a_broken_authority_stops_everything_and_is_not_silently_replaced(home: Path, issuer: Issuer) -> None:
    (home / "ca" / "current.pem").write_bytes(b"")
    with pytest.raises(IdentityError, match="no readable key"):
        issuer.ensure(["agent"])
    assert (home / "ca" / "current.pem").read_bytes() == b""


def test_rotation_reissues_everything_and_ends_with_one_trusted_authority(home: Path, issuer: Issuer) -> None:
    services = ["agent", "vault"]
    old, before = current(home), serial(home, "agent")
    assert issuer.rotation is Rotation.NONE

    issuer.begin_rotation()
    assert issuer.rotation is Rotation.BEGUN
    assert set(issuer.ensure(services)) == {"agent", "vault", "bus"}
    assert serial(home, "agent") == before, "step one changes trust only"

    issuer.switch_authority()
    assert issuer.rotation is Rotation.SWITCHED
    assert set(issuer.ensure(services)) == {"agent", "vault", "bus"}
    identity = Identity(home / "identity" / "agent")
    assert old.certificate in identity.trusted
    assert len(identity.trusted) == 2
    identity.certificate.verify_directly_issued_by(current(home).certificate)

    issuer.finish_rotation()
    assert issuer.rotation is Rotation.NONE
    assert set(issuer.ensure(services)) == {"agent", "vault", "bus"}
    assert Identity(home / "identity" / "agent").trusted == (current(home).certificate,)
    assert issuer.ensure(services) == ()


def test_the_steps_cannot_be_taken_out_of_order(issuer: Issuer) -> None:
    for step in (issuer.switch_authority, issuer.finish_rotation):
        with pytest.raises(IdentityError, match="state"):
            step()
    issuer.begin_rotation()
    for step in (issuer.begin_rotation, issuer.finish_rotation):
        with pytest.raises(IdentityError, match="state"):
            step()


def test_a_crash_in_the_middle_of_the_switch_is_finished_by_switching_again(
    home: Path, issuer: Issuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    issuer.begin_rotation()
    old = current(home).certificate

    def crash(self: Path, target: Path) -> Path:
        if self.name == "next.pem":
            raise KeyboardInterrupt
        os.replace(self, target)
        return Path(target)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "replace", crash)
        with pytest.raises(KeyboardInterrupt):
            issuer.switch_authority()
    assert issuer.rotation is Rotation.BEGUN
    issuer.ensure(["agent"])
    assert Identity(home / "identity" / "agent").service == "agent"
    issuer.switch_authority()
    issuer.ensure(["agent"])
    assert old in Identity(home / "identity" / "agent").trusted
    assert current(home).certificate != old
