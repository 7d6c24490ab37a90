"""What there is, without a value: for `opencrust vault list`, and sealed for those whom the policy calls observers."""

from typing import Any

from opencrust_vault import policy
from opencrust_vault.backend import Backend
from opencrust_vault.errors import NotFound
from opencrust_vault.policy import Policy


async def inventory(backend: Backend, rules: Policy) -> list[dict[str, Any]]:
    """One object a secret: name, version, created and expires (seconds since the epoch), readers.

    Raises:
        VaultError: the backend does not answer.
    """
    found = []
    for name in await backend.names():
        try:
            info = await backend.info(name)
        except NotFound:  # destroyed meanwhile
            continue
        found.append(
            {
                "name": name,
                "version": info.current,
                "created": info.created,
                "expires": info.expires,
                "readers": sorted(policy.readers(rules, name)),
            }
        )
    return found
