"""OPENCRUST_HOME: where everything lies."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from opencrust.identity.files import make_private_directory
from opencrust_cli.errors import CommandError


@dataclass(frozen=True, slots=True)
class Home:
    """The paths of one installation."""

    path: Path

    @classmethod
    def find(cls, given: Path | None, environment: Mapping[str, str]) -> "Home":
        """The home that `given`, else ``OPENCRUST_HOME``, else ``~/.opencrust`` names; it need not exist yet."""
        path = given or Path(environment.get("OPENCRUST_HOME") or "~/.opencrust")
        return cls(path.expanduser().absolute())

    def require_own(self) -> None:
        """Create it if need be, and make sure that it is ours and nobody else's.

        Raises:
            CommandError: it belongs to another user, or cannot be made.
        """
        try:
            make_private_directory(self.path)
            owner = self.path.stat().st_uid
        except OSError as error:
            raise CommandError(f"cannot use {self.path} as OPENCRUST_HOME: {error.strerror}") from None
        if owner != os.geteuid():
            raise CommandError(
                f"{self.path} belongs to user id {owner}, but you are {os.geteuid()}: "
                "run opencrust as its owner, or set OPENCRUST_HOME to a directory of your own"
            )

    @property
    def run(self) -> Path:
        return self.path / "run"

    @property
    def lock(self) -> Path:
        """Locked (flock) as long as a supervisor runs; holds its process id."""
        return self.run / "lock"

    @property
    def status(self) -> Path:
        return self.run / "status.json"

    @property
    def bus_port(self) -> Path:
        """The port of the bus, chosen once."""
        return self.run / "bus.port"

    @property
    def logs(self) -> Path:
        return self.path / "log"

    def log(self, service: str) -> Path:
        return self.logs / f"{service}.log"

    def identity(self, service: str) -> Path:
        return self.path / "identity" / service

    def state(self, service: str) -> Path:
        return self.path / "state" / service
