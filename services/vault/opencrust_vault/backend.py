"""What the hand-out and the administration need of a place that keeps values.

`file.FileStore` is the default; `openbao.OpenBaoStore` answers the same protocol.
"""

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class SecretInfo:
    """What may be told about a secret: everything but its value.

    Attributes:
        name: the secret's name.
        current: the newest version's number.
        versions: the numbers still kept, ascending.
        created: when the current version was written, seconds since the epoch.
        expires: when the current version stops being handed out, or None.
    """

    name: str
    current: int
    versions: tuple[int, ...]
    created: int
    expires: int | None


class Backend(Protocol):
    """A store of versioned secrets."""

    async def get(self, name: str, version: int | None = None) -> tuple[int, bytearray]:
        """The version's number and its value; the caller wipes the value.

        Raises:
            NotFound: no such secret or version, or it has expired.
            Unavailable: the store does not answer.
        """

    async def put(
        self, name: str, value: bytes | bytearray, *, expect: int | None = None, expires: int | None = None
    ) -> int:
        """Store a new version and return its number, once it is durable.

        Args:
            expect: the current version that the caller has seen (0: none), or None not to check.
            expires: seconds since the epoch.

        Raises:
            VersionConflict: the current version is another one.
            BadName, BadValue: refused before anything is written.
        """

    async def destroy(self, name: str, version: int | None = None) -> None:
        """Remove one version or the whole secret. Raises NotFound."""

    async def names(self) -> list[str]:
        """All names, sorted."""

    async def info(self, name: str) -> SecretInfo:
        """Everything but the value. Raises NotFound."""

    async def health(self) -> str | None:
        """None when well, otherwise what is wrong, for a person."""
