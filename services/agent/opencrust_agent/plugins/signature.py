"""Who made a plugin: Ed25519 over the manifest's bytes, which name the component by its SHA-256.

A signature says that two versions are by the same hand; it says nothing about what the hand is up to. So an unsigned
plugin can be installed (and is told to be unsigned), and a change of the signer is the loudest line of the question.
"""

import base64
import hashlib

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from opencrust.contracts.plugins import PluginSignature
from opencrust_agent.plugins.errors import PluginRefused

CONTEXT = b"opencrust-plugin-v1\0"


def signer(manifest: str, signature: PluginSignature | None) -> str:
    """The fingerprint of the key that signed `manifest`, or "".

    Raises:
        PluginRefused: there is a signature, and it is not of these bytes.
    """
    if signature is None:
        return ""
    try:
        key = base64.b64decode(signature.key, validate=True)
        value = base64.b64decode(signature.signature, validate=True)
        Ed25519PublicKey.from_public_bytes(key).verify(value, CONTEXT + manifest.encode())
    except (InvalidSignature, ValueError):
        raise PluginRefused(
            "its signature does not fit: plugin.toml was changed after it was signed, or the signature is of another "
            "file. Get it again from its author, or sign it again if it is yours"
        ) from None
    return fingerprint(key)


def fingerprint(key: bytes) -> str:
    """A public key as people compare it: the first 20 bytes of its SHA-256 in base32, in groups of four."""
    text = base64.b32encode(hashlib.sha256(key).digest()[:20]).decode().lower()
    return "-".join(text[at : at + 4] for at in range(0, len(text), 4))
