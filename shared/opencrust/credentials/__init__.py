"""What may be known: the vault's client, and values that do not show themselves.

* `secret`        `Secret`, the only form in which a credential travels inside a process
* `client`        `Credentials`: ask the vault, cache, follow rotation
* `wire`          the hand-out's messages: signed requests, sealed and signed replies
* `certificates`  who signed a message
* `fingerprints`  find leaked secrets in a text without knowing them
* `leaks`         `LeakDetector`: the same for everything that a service logs
* `references`    `vault:<name>` in configuration files, and plain secrets that should not be there

A service needs two of these names::

    credentials = Credentials(bus, identity)
    secret = await credentials.get("channel.telegram.token", purpose="connect")
"""

from opencrust.credentials.client import Credentials
from opencrust.credentials.errors import ClockSkew, CredentialDenied, CredentialError, Untrusted, VaultUnavailable
from opencrust.credentials.fingerprints import FingerprintSet
from opencrust.credentials.leaks import LeakDetector
from opencrust.credentials.secret import Secret

__all__ = [
    "ClockSkew",
    "CredentialDenied",
    "CredentialError",
    "Credentials",
    "FingerprintSet",
    "LeakDetector",
    "Secret",
    "Untrusted",
    "VaultUnavailable",
]
