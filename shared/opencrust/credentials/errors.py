"""What asking the vault for a credential can end with. No message contains a value."""


class CredentialError(Exception):
    """The base of these errors."""


class CredentialDenied(CredentialError):
    """The vault refuses: not granted for this purpose, unknown, or this service's certificate is not accepted.

    The vault does not say which, so that nobody learns which secrets exist.
    """


class VaultUnavailable(CredentialError):
    """The vault does not answer, and what was cached may not be used any longer. Trying again later can help."""


class ClockSkew(CredentialError):
    """This host's clock and the vault's differ too much for signed requests."""


class Untrusted(CredentialError):
    """A message is not what it claims to be: malformed, not signed by its sender, or sealed for somebody else."""
