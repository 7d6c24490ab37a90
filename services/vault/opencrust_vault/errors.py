"""What can go wrong with a vault, one class for each thing a caller would handle differently.

No message ever contains a value, a key or a piece of either.
"""


class VaultError(Exception):
    """The base of every error that this package raises on purpose."""


class Corrupt(VaultError):
    """The file is not a well-formed, authentic vault: damaged, cut, spliced or made to confuse."""


class WrongKey(VaultError):
    """The unlock key does not open the slot, or is not fit to be an unlock key."""


class Locked(VaultError):
    """Another process holds the vault open."""


class Rollback(VaultError):
    """The file is authentic but older than the newest one known to the anchor."""


class NotFound(VaultError):
    """No such vault, secret, version or slot."""


class VersionConflict(VaultError):
    """The secret has another current version than the caller expected (compare-and-set)."""


class BadName(VaultError):
    """A secret's or service's name is outside the allowed alphabet or length."""


class BadValue(VaultError):
    """A value is empty, too large, or an argument is out of its range."""


class Unsafe(VaultError):
    """A file's mode, owner or kind would let somebody else read or replace it."""


class Unavailable(VaultError):
    """The backend does not answer now; trying again later can help."""


class AnchorNotWritten(VaultError):
    """The change is stored, but the rollback anchor could not be brought up to it."""
