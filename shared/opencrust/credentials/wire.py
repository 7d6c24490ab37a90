"""The hand-out's messages as bytes, both ends, without a bus. Binary lengths are big endian.

    request  = u16 n | JSON(n) | signature
               signature: ECDSA-P256-SHA256 by the asker's certificate key over "opencrust-vault-request/1" 00 JSON
    reply    = u8 1 | u8 status | u16 s | signature(s) | u16 c | vault certificate, DER (c) | body
               signature: by the vault's certificate key over
               "opencrust-vault-reply/1" 00 SHA-256(request) | status | u16 c | certificate | body
    body     for OK: HPKE base mode (RFC 9180; DHKEM(X25519, HKDF-SHA256), HKDF-SHA256, AES-256-GCM), enc | ciphertext,
               info = "opencrust-vault-reply/1" 00 SHA-256(request); for CLOCK: the vault's time, u64 milliseconds
    sealed   = u16 m | JSON(m): name, version, lease, ttl, not_after | value
    notice   = u16 s | signature(s) | u16 c | certificate(c) | JSON, on vault.rotated.<service>
               signature over "opencrust-vault-notice/1" 00 service 00 u16 c | certificate | JSON

Each request brings a fresh X25519 key, so a reply can be opened only by the process that asked, and only once that
key is still in memory. HPKE's base mode does not say who sealed: without the signature anybody on the way could seal a
false credential to the client.
"""

import base64
import hashlib
import os
import time
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Annotated, Literal

from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives import hashes, hpke
from cryptography.hazmat.primitives.asymmetric import ec, x25519
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from opencrust.credentials.certificates import CertificateBook
from opencrust.credentials.errors import Untrusted

MAX_REQUEST = 4096
NONCE = 16
_REQUEST = b"opencrust-vault-request/1\0"
_REPLY = b"opencrust-vault-reply/1\0"
_NOTICE = b"opencrust-vault-notice/1\0"
_ECDSA = ec.ECDSA(hashes.SHA256())
_SUITE = hpke.Suite(hpke.KEM.X25519, hpke.KDF.HKDF_SHA256, hpke.AEAD.AES_256_GCM)

Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9_.-]{0,95}$")]
Word = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_.-]{0,62}$")]
Operation = Literal["get", "fingerprints", "names"]


class Status(IntEnum):
    """How the vault answers. Every status is signed."""

    OK = 0
    DENIED = 1
    UNKNOWN_CERTIFICATE = 2
    """Send the certificate along and try again."""
    CLOCK = 3
    """The request's time is too far off, or before the vault's start. The body holds the vault's time."""
    UNAVAILABLE = 4
    BUSY = 5


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, hide_input_in_errors=True)


class Request(_Strict):
    """What a service asks for.

    Attributes:
        v: the protocol's version.
        op: "get" a credential, or the "fingerprints" or the "names" of all.
        service: who asks; must be what certificate, subject and broker say.
        name, version: which credential; no version means the current one.
        purpose: what it is for, as the policy calls it.
        trace: the trace id (32 hex digits) for the audit, or empty.
        time: milliseconds since the epoch.
        nonce: 16 random bytes, base64.
        key: a fresh X25519 public key, base64.
        certificate: SHA-256 of the asker's certificate, base64.
        chain: the certificate itself, DER in base64, when the vault may not know it.
    """

    v: Annotated[int, Field(ge=1, le=1)] = 1
    op: Operation
    service: Word
    name: Name | None = None
    version: Annotated[int, Field(ge=1, le=2**53)] | None = None
    purpose: Word
    trace: Annotated[str, StringConstraints(pattern=r"^([0-9a-f]{32})?$")] = ""
    time: Annotated[int, Field(ge=0, le=2**53)]
    nonce: Annotated[str, StringConstraints(min_length=24, max_length=24)]
    key: Annotated[str, StringConstraints(min_length=44, max_length=44)]
    certificate: Annotated[str, StringConstraints(min_length=44, max_length=44)]
    chain: Annotated[str, StringConstraints(max_length=3000)] | None = None


class Lease(_Strict):
    """What comes with a value.

    Attributes:
        lease: the lease's id, for the audit and for revoking it.
        ttl: seconds after which to ask again.
        not_after: milliseconds since the epoch after which the value must not be used, whatever happens.
    """

    name: str
    version: int
    lease: str
    ttl: int
    not_after: int


class Notice(_Strict):
    """The vault tells one service that something of its changed.

    Attributes:
        names: credentials to drop and ask for again.
        fingerprints: ask for the fingerprints again.
        time: milliseconds since the epoch.
    """

    v: Annotated[int, Field(ge=1, le=1)] = 1
    names: list[Name]
    fingerprints: bool = False
    time: int


@dataclass(frozen=True, slots=True)
class SignedRequest:
    """A request as received: shape checked, signature and everything else not yet."""

    request: Request
    text: bytes = field(repr=False)
    signature: bytes = field(repr=False)
    digest: bytes = field(repr=False)

    def verify(self, key: ec.EllipticCurvePublicKey) -> None:
        """Check the signature. Raises Untrusted."""
        _verify(key, self.signature, _REQUEST + self.text)


@dataclass(slots=True)
class Asking:
    """A request on its way: what to send, and the key that alone opens the reply."""

    data: bytes
    digest: bytes
    private_key: x25519.X25519PrivateKey = field(repr=False)


@dataclass(frozen=True, slots=True)
class Answer:
    """A reply after its signature was checked.

    Attributes:
        lease, value: when the status is OK.
        vault_time: milliseconds, when the status is CLOCK.
    """

    status: Status
    lease: Lease | None = None
    value: bytes = field(default=b"", repr=False)
    vault_time: int = 0


def ask(
    service: str,
    key: ec.EllipticCurvePrivateKey,
    certificate: bytes,
    *,
    op: Operation,
    purpose: str,
    name: str | None = None,
    version: int | None = None,
    trace: str = "",
    send_certificate: bool = False,
    now: float | None = None,
) -> Asking:
    """Make and sign a request.

    Args:
        key, certificate: the asker's; the certificate as DER.
        now: seconds since the epoch, for tests.
    """
    private_key = x25519.X25519PrivateKey.generate()
    request = Request(
        op=op,
        service=service,
        name=name,
        version=version,
        purpose=purpose,
        trace=trace,
        time=int((time.time() if now is None else now) * 1000),
        nonce=_encode(os.urandom(NONCE)),
        key=_encode(private_key.public_key().public_bytes_raw()),
        certificate=_encode(hashlib.sha256(certificate).digest()),
        chain=_encode(certificate) if send_certificate else None,
    )
    text = request.model_dump_json(exclude_none=True).encode()
    data = len(text).to_bytes(2, "big") + text + key.sign(_REQUEST + text, _ECDSA)
    return Asking(data, hashlib.sha256(data).digest(), private_key)


def parse_request(data: bytes) -> SignedRequest:
    """Take a request apart.

    Raises:
        Untrusted: too large, malformed, or of another version. The message never repeats the input.
    """
    if not 2 < len(data) <= MAX_REQUEST:
        raise Untrusted("a request is empty or too large")
    end = 2 + int.from_bytes(data[:2], "big")
    text, signature = data[2:end], data[end:]
    try:
        request = Request.model_validate_json(text)
    except ValidationError:
        raise Untrusted("a request is malformed") from None
    return SignedRequest(request, text, signature, hashlib.sha256(data).digest())


def decode(text: str) -> bytes:
    """Base64 of a checked field. Raises Untrusted."""
    try:
        return base64.b64decode(text, validate=True)
    except ValueError:
        raise Untrusted("a field is not base64") from None


def seal(request: SignedRequest, lease: Lease, value: bytes | bytearray) -> bytes:
    """Seal a value so that only the asker's process can open it: the body of an OK reply.

    Raises:
        Untrusted: the asker's key is of low order or malformed.
    """
    meta = lease.model_dump_json().encode()
    plain = bytearray(len(meta).to_bytes(2, "big") + meta)
    plain += value
    try:
        key = x25519.X25519PublicKey.from_public_bytes(decode(request.request.key))
        return _SUITE.encrypt(plain, key, info=_REPLY + request.digest)
    except ValueError:
        raise Untrusted("a request carries an unusable key") from None
    finally:
        plain[:] = bytes(len(plain))


def reply(
    key: ec.EllipticCurvePrivateKey, certificate: bytes, digest: bytes, status: Status, body: bytes = b""
) -> bytes:
    """Sign a reply, its certificate included: DER has bits that change nothing, and none of ours may be free.

    Args:
        key, certificate: the vault's; the certificate as DER.
        digest: SHA-256 of the request as received.
    """
    signature = key.sign(_REPLY + digest + bytes([status]) + _sized(certificate) + body, _ECDSA)
    return b"".join([bytes([1, status]), _sized(signature), _sized(certificate), body])


def open_reply(data: bytes, asking: Asking, book: CertificateBook) -> Answer:
    """Check a reply and open it.

    Raises:
        Untrusted: not signed by the vault, or not the reply to this request.
    """
    if len(data) < 2 or data[0] != 1:
        raise Untrusted("the reply is of an unknown version")
    signature, rest = _take(data[2:])
    certificate, body = _take(rest)
    holder = book.learn(certificate)
    if holder.service != "vault":
        raise Untrusted(f"the reply is signed by {holder.service}, not by the vault")
    _verify(holder.key, signature, _REPLY + asking.digest + data[1:2] + _sized(certificate) + body)
    try:
        status = Status(data[1])
    except ValueError:
        raise Untrusted("the reply has an unknown status") from None
    if status is Status.CLOCK:
        return Answer(status, vault_time=int.from_bytes(body[:8], "big"))
    if status is not Status.OK:
        return Answer(status)
    try:
        plain = _SUITE.decrypt(body, asking.private_key, info=_REPLY + asking.digest)
    except (InvalidTag, ValueError):
        raise Untrusted("the reply is sealed for somebody else") from None
    meta, value = _take(plain)
    return Answer(status, _lease(meta), value)


def sign_notice(key: ec.EllipticCurvePrivateKey, certificate: bytes, service: str, notice: Notice) -> bytes:
    """What the vault publishes to one service."""
    text = notice.model_dump_json().encode()
    signature = key.sign(_NOTICE + service.encode() + b"\0" + _sized(certificate) + text, _ECDSA)
    return _sized(signature) + _sized(certificate) + text


def open_notice(data: bytes, service: str, book: CertificateBook) -> Notice:
    """Check a notice to `service`.

    Raises:
        Untrusted: not signed by the vault, for another service, or malformed.
    """
    signature, rest = _take(data)
    certificate, text = _take(rest)
    holder = book.learn(certificate)
    if holder.service != "vault":
        raise Untrusted(f"a notice is signed by {holder.service}, not by the vault")
    _verify(holder.key, signature, _NOTICE + service.encode() + b"\0" + _sized(certificate) + text)
    try:
        return Notice.model_validate_json(text)
    except ValidationError:
        raise Untrusted("a notice is malformed") from None


def _lease(meta: bytes) -> Lease:
    try:
        return Lease.model_validate_json(meta)
    except ValidationError:
        raise Untrusted("the reply is malformed") from None


def _verify(key: ec.EllipticCurvePublicKey, signature: bytes, message: bytes) -> None:
    try:
        key.verify(signature, message, _ECDSA)
    except InvalidSignature:
        raise Untrusted("a signature does not fit") from None


def _encode(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _sized(data: bytes) -> bytes:
    return len(data).to_bytes(2, "big") + data


def _take(data: bytes) -> tuple[bytes, bytes]:
    end = 2 + int.from_bytes(data[:2], "big")
    if len(data) < end:
        raise Untrusted("a message is cut short")
    return data[2:end], data[end:]
