"""Which backend this vault uses: `backend.json` in its directory, or the vault file itself when there is none.

    {"kind": "openbao", "url": "https://openbao:8200", "authority": "/…/ca.pem", "certificate": "/…/cert.pem",
     "key": "/…/key.pem", "role": "vault", "values": true, "transit_key": "opencrust"}

`values` puts the values into OpenBao's KV v2. `transit_key` makes OpenBao hold the key that unlocks our file. The
settings say where things are and hold nothing secret. Policy and audit stay with us in every case.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from opencrust_vault import files
from opencrust_vault.errors import Corrupt, NotFound
from opencrust_vault.slots import UnlockKey

if TYPE_CHECKING:
    from opencrust_vault.openbao import OpenBaoClient, OpenBaoStore


class BackendSettings(BaseModel):
    """What `backend.json` holds."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    kind: Literal["openbao"]
    url: str
    authority: Path
    certificate: Path
    key: Path
    role: str = "vault"
    mount: str = "secret"
    prefix: str = "opencrust"
    values: bool = False
    transit_mount: str = "transit"
    transit_key: str | None = None


def load(directory: Path) -> BackendSettings | None:
    """The settings in a vault's directory; None for the vault file alone.

    Raises:
        Corrupt, Unsafe: there is a file, and it is not usable.
    """
    path = directory / "backend.json"
    try:
        return BackendSettings.model_validate_json(files.read_private(path, limit=65536))
    except NotFound:
        return None
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False, include_context=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        raise Corrupt(f"{path} is malformed: {place}: {first['msg']}") from None


def configured_store(settings: BackendSettings | None) -> "OpenBaoStore | None":
    """The place for values that the settings name; None when it is the vault file."""
    if settings is None or not settings.values:
        return None
    from opencrust_vault.openbao import OpenBaoStore

    return OpenBaoStore(_client(settings))


def configured_unlock(settings: BackendSettings | None) -> UnlockKey | None:
    """The unlock key that OpenBao holds, when the settings say so."""
    if settings is None or settings.transit_key is None:
        return None
    from opencrust_vault.openbao import transit_key

    return transit_key(_client(settings))


def _client(settings: BackendSettings) -> "OpenBaoClient":
    from opencrust_vault.openbao import OpenBaoClient, OpenBaoSettings

    return OpenBaoClient(
        OpenBaoSettings(
            url=settings.url,
            authority=settings.authority,
            certificate=settings.certificate,
            key=settings.key,
            role=settings.role,
            mount=settings.mount,
            prefix=settings.prefix,
            transit_mount=settings.transit_mount,
            transit_key=settings.transit_key,
        )
    )
