"""Unlock keys do not belong into environment variables: /proc, `docker inspect` and every child process show these."""

from collections.abc import Mapping

_FORBIDDEN = ("KEY", "PASSPHRASE", "PASSWORD", "SECRET")


def unlock_key_in(environment: Mapping[str, str]) -> str | None:
    """The name of a variable that seems to hold an unlock key; None where there is none.

    A variable that names a *file* (`…_FILE`, `…_PATH`) is fine.
    """
    for name in sorted(environment):
        words = name.upper()
        if not words.startswith("OPENCRUST_") or words.endswith(("_FILE", "_PATH")):
            continue
        if ("VAULT" in words or "UNLOCK" in words or "RECOVERY" in words) and words.endswith(_FORBIDDEN):
            return name
    return None
