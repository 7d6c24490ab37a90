"""Where a vault's files are. The anchor and the audit head lie outside of the vault's own directory, on purpose."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from opencrust_vault.unlock import key_file_path

DIRECTORY_SETTING = "OPENCRUST_VAULT_DIR"


@dataclass(frozen=True, slots=True)
class Paths:
    """Everything that belongs to one vault."""

    directory: Path
    state: Path
    key_file: Path

    @classmethod
    def of_home(cls, home: Path, environment: Mapping[str, str]) -> "Paths":
        """For the command line: below OPENCRUST_HOME."""
        return cls.of_service(home / "state" / "vault", environment)

    @classmethod
    def of_service(cls, state: Path, environment: Mapping[str, str]) -> "Paths":
        """For the service: `state` is its state directory, `OPENCRUST_HOME/state/vault`."""
        configured = environment.get(DIRECTORY_SETTING)
        directory = Path(configured) if configured else state.parent.parent / "vault"
        return cls(directory, state, key_file_path(directory, environment))

    @property
    def file(self) -> Path:
        return self.directory / "vault.db"

    @property
    def audit(self) -> Path:
        return self.directory / "audit.log"

    @property
    def socket(self) -> Path:
        return self.directory / "admin.sock"

    @property
    def admin_key(self) -> Path:
        return self.directory / "admin.key"

    @property
    def anchor(self) -> Path:
        return self.state / "anchor"

    @property
    def audit_head(self) -> Path:
        return self.state / "audit-head"

    def make_directories(self) -> None:
        """Create what is missing, for the owner alone."""
        # The mode is not for parents that are made on the way: state/ is named, to be private too.
        for directory in (self.state.parent.parent, self.state.parent, self.directory, self.state):
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
