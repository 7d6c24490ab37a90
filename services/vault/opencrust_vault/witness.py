"""The witness: the head of the audit chain on the bus, where whoever rolls back the vault's files does not reach.

The vault publishes, at most once a second, how far its chain and its file have come, signed. At its next start it
compares. A file older than its own last head was rolled back, even if the anchor was rolled back with it.
"""

import base64
import json
from dataclasses import dataclass

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from pydantic import BaseModel, ConfigDict, ValidationError

from opencrust.credentials.certificates import CertificateBook
from opencrust.credentials.errors import Untrusted
from opencrust_vault.audit import Head

_CONTEXT = b"opencrust-vault-head/1\0"
_ECDSA = ec.ECDSA(hashes.SHA256())


class _Content(BaseModel):
    model_config = ConfigDict(frozen=True, strict=True, hide_input_in_errors=True)

    vault: str
    generation: int
    seq: int
    mac: str
    time: int


@dataclass(frozen=True, slots=True)
class Witness:
    """What was seen last: the vault, its file's generation, the head of its audit chain, when (milliseconds)."""

    vault_id: str
    generation: int
    head: Head
    time: int


def sign(witness: Witness, key: ec.EllipticCurvePrivateKey, certificate: bytes) -> bytes:
    """The record for the AUDIT stream, JSON."""
    content = _Content(
        vault=witness.vault_id,
        generation=witness.generation,
        seq=witness.head.seq,
        mac=witness.head.mac,
        time=witness.time,
    )
    text = content.model_dump_json()
    signature = key.sign(_CONTEXT + text.encode(), _ECDSA)
    record = {
        "v": 1,
        "kind": "vault-head",
        "head": text,
        "signature": _b64(signature),
        "certificate": _b64(certificate),
    }
    return json.dumps(record).encode()


def read(data: bytes, trusted: tuple[x509.Certificate, ...]) -> Witness:
    """Check and read a record. The certificate must have been valid when it signed; it may have expired since.

    Raises:
        Untrusted: not a head, or not signed by a vault of this house.
    """
    try:
        record = json.loads(data)
        text = str(record["head"])
        content = _Content.model_validate_json(text)
        signature, certificate = base64.b64decode(record["signature"]), base64.b64decode(record["certificate"])
        holder = CertificateBook(lambda: trusted, now=lambda: content.time / 1000).learn(certificate)
        holder.key.verify(signature, _CONTEXT + text.encode(), _ECDSA)
    except (ValueError, KeyError, TypeError, ValidationError, InvalidSignature):
        raise Untrusted("the published head of the audit chain is malformed or not signed") from None
    if holder.service != "vault":
        raise Untrusted(f"the published head is signed by {holder.service}")
    return Witness(content.vault, content.generation, Head(content.seq, content.mac), content.time)


def _b64(data: bytes) -> str:
    return base64.b64encode(data).decode()
