"""A request's way through the vault: bytes in, sealed and signed bytes out. No bus here.

In this order, cheapest and least revealing first:

    rate limit of the subject → size and shape → certificate known and valid now → four names agree →
    signature → time and nonce → policy (before existence) → rate limit of the grant → read → seal → audit → reply

The four names: the subject's service token (the broker lets only that service publish there), the certificate's SPIFFE
name, the signed `service`, and the broker's own `Nats-Request-Info`. The asker learns DENIED; why goes to the audit.
"""

import hashlib
import json
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from cryptography.hazmat.primitives.asymmetric import ec

from opencrust.bus.message import REQUEST_INFO
from opencrust.credentials import wire
from opencrust.credentials.certificates import CertificateBook, Holder
from opencrust.credentials.errors import Untrusted
from opencrust.credentials.fingerprints import FingerprintMaker
from opencrust.credentials.wire import Lease, SignedRequest, Status
from opencrust.identity import spiffe_id
from opencrust_vault import policy
from opencrust_vault.audit import AuditFailed, AuditLog
from opencrust_vault.backend import Backend
from opencrust_vault.errors import NotFound, VaultError
from opencrust_vault.inventory import inventory
from opencrust_vault.leases import Leases
from opencrust_vault.policy import Policy
from opencrust_vault.rate import Buckets, Limit
from opencrust_vault.replay import Freshness, ReplayCache

log = logging.getLogger(__name__)

REQUESTS = Limit(per_second=1000, burst=2000)
"""Of one service. A person's services ask a few times a minute; a flood must leave room for the others."""
REFUSAL_COST = 10.0
"""A refused request counts as this many: signatures cost time."""
DENIAL_RECORDS = Limit(per_second=0.5, burst=60)
ALERTS = Limit(per_second=3 / 60, burst=3)
OUTAGE_FACTOR = 4
"""A client may use its copy for this many ttl while the vault does not answer."""


class Refused(Exception):
    """A request that gets no credential: the status for the asker, the reason for the audit alone."""

    def __init__(self, status: Status, reason: str) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Signer:
    """The vault's own certificate (DER) and key at this moment."""

    key: ec.EllipticCurvePrivateKey = field(repr=False)
    certificate: bytes


@dataclass(slots=True)
class Desk:
    """What the hand-out works with.

    Attributes:
        signer: asked for each reply, since certificates are renewed.
        policy: the current one.
        now: seconds since the epoch; monotonic: for the rate limits.
    """

    backend: Backend
    audit: AuditLog
    book: CertificateBook
    signer: Callable[[], Signer]
    policy: Policy
    replay: ReplayCache
    leases: Leases = field(default_factory=Leases)
    requests: Limit = REQUESTS
    now: Callable[[], float] = time.time
    monotonic: Callable[[], float] = time.monotonic
    buckets: Buckets = field(default_factory=Buckets)
    suppressed: int = 0
    fingerprint_makers: dict[str, FingerprintMaker] = field(default_factory=dict)

    async def answer(self, subject: str, headers: Mapping[str, str], data: bytes) -> bytes:
        """The reply to one request. Never raises."""
        digest = hashlib.sha256(data).digest()
        service, op = _subject_tokens(subject)
        signed: SignedRequest | None = None
        try:
            if not self.buckets.take(("requests", service), self.requests, self.monotonic()):
                raise Refused(Status.BUSY, "too many requests")
            signed = _parsed(data)
            holder = self._identified(signed, service, op, headers)
            status, body = Status.OK, await self._granted(signed, holder)
        except Refused as refusal:
            status, body = refusal.status, self._refusal_body(refusal.status)
            if not self._recorded(service, signed, refusal):
                status, body = Status.UNAVAILABLE, b""
        except Exception as error:  # noqa: BLE001 - whatever it is, the asker gets no more than "unavailable"
            log.error("a request could not be answered: %s", type(error).__name__)
            status, body = Status.UNAVAILABLE, b""
        signer = self.signer()
        return wire.reply(signer.key, signer.certificate, digest, status, body)

    def _identified(self, signed: SignedRequest, service: str, op: str, headers: Mapping[str, str]) -> Holder:
        request = signed.request
        holder = self._holder(signed)
        if holder.fingerprint.hex() in self.policy.revoked_certificates:
            raise Refused(Status.DENIED, "the certificate is revoked")
        if not (service == request.service == holder.service):
            raise Refused(Status.DENIED, "subject, certificate and signed name disagree")
        if not _broker_agrees(headers, service):
            raise Refused(Status.DENIED, "the broker names another asker, or none")
        if op != request.op:
            raise Refused(Status.DENIED, "the subject is of another operation")
        try:
            signed.verify(holder.key)
        except Untrusted:
            raise Refused(Status.DENIED, "the signature does not fit") from None
        nonce = _decoded(request.nonce)
        freshness = self.replay.check(holder.fingerprint, nonce, request.time / 1000, self.now())
        if freshness is Freshness.CLOCK:
            raise Refused(Status.CLOCK, "the request's time is outside of the window")
        if freshness is Freshness.REPLAYED:
            raise Refused(Status.DENIED, "replayed")
        if freshness is Freshness.FULL:
            log.error("the replay cache is full: requests are refused")
            raise Refused(Status.BUSY, "the replay cache is full")
        return holder

    def _holder(self, signed: SignedRequest) -> Holder:
        fingerprint = _decoded(signed.request.certificate)
        try:
            if signed.request.chain is None:
                holder = self.book.find(fingerprint)
            else:
                holder = self.book.learn(wire.decode(signed.request.chain))
        except Untrusted as error:
            raise Refused(Status.DENIED, str(error)) from None
        if holder is None:
            raise Refused(Status.UNKNOWN_CERTIFICATE, "")
        if holder.fingerprint != fingerprint:
            raise Refused(Status.DENIED, "the certificate is not the one whose fingerprint is signed")
        return holder

    async def _granted(self, signed: SignedRequest, holder: Holder) -> bytes:
        if signed.request.op == "fingerprints":
            return await self._granted_fingerprints(signed, holder)
        if signed.request.op == "names":
            return await self._granted_names(signed, holder)
        request, service = signed.request, holder.service
        if request.name is None:
            raise Refused(Status.DENIED, "no credential is named")
        decision = policy.decide(self.policy, service, request.name, request.purpose)
        if decision.grant is None:
            raise Refused(Status.DENIED, decision.reason)
        limit = Limit(decision.grant.per_minute / 60, decision.grant.burst)
        if not self.buckets.take((service, request.name), limit, self.monotonic()):
            raise Refused(Status.BUSY, "the grant's rate limit")
        try:
            version, value = await self.backend.get(request.name, request.version)
        except NotFound:
            raise Refused(Status.DENIED, "there is no such secret or version") from None
        except VaultError as error:
            raise Refused(Status.UNAVAILABLE, f"{type(error).__name__}: {error}") from None
        try:
            return self._handed_out(signed, holder, version, value, decision.grant.ttl)
        finally:
            value[:] = bytes(len(value))

    def _handed_out(self, signed: SignedRequest, holder: Holder, version: int, value: bytearray, ttl: int) -> bytes:
        request, now = signed.request, self.now()
        not_after = now + OUTAGE_FACTOR * ttl
        lease = self.leases.grant(
            holder.service, str(request.name), version, request.purpose, now=now, not_after=not_after
        )
        body = _sealed(
            signed,
            Lease(name=lease.name, version=version, lease=lease.id, ttl=ttl, not_after=int(not_after * 1000)),
            value,
        )
        try:
            self.audit.append(
                "lease",
                service=holder.service,
                certificate=holder.fingerprint.hex(),
                name=request.name,
                version=version,
                purpose=request.purpose,
                trace=request.trace or None,
                lease=lease.id,
            )
        except AuditFailed as error:
            self.leases.revoke(lease.id)
            log.error("nothing is handed out: %s", error)
            raise Refused(Status.UNAVAILABLE, "the audit log cannot be written") from None
        return body

    async def _granted_fingerprints(self, signed: SignedRequest, holder: Holder) -> bytes:
        service = holder.service
        if not self.policy.watches(service):
            raise Refused(Status.DENIED, "not a watcher")
        if not self.buckets.take((service, "fingerprints"), Limit(0.5, 10), self.monotonic()):
            raise Refused(Status.BUSY, "too many requests for fingerprints")
        values: dict[str, bytes | bytearray] = {}
        try:
            for name in await self.backend.names():
                try:
                    values[fingerprint_id(name)] = (await self.backend.get(name))[1]
                except NotFound:  # destroyed or expired
                    continue
            maker = self.fingerprint_makers.setdefault(service, FingerprintMaker())
            encoded = bytearray(maker.make(values).encode())
        except VaultError as error:
            raise Refused(Status.UNAVAILABLE, type(error).__name__) from None
        finally:
            for value in values.values():
                if isinstance(value, bytearray):
                    value[:] = bytes(len(value))
        return self._told(signed, holder, encoded)

    async def _granted_names(self, signed: SignedRequest, holder: Holder) -> bytes:
        service = holder.service
        if not self.policy.observes(service):
            raise Refused(Status.DENIED, "not an observer")
        if not self.buckets.take((service, "names"), Limit(1, 20), self.monotonic()):
            raise Refused(Status.BUSY, "too many requests for names")
        try:
            found = await inventory(self.backend, self.policy)
        except VaultError as error:
            raise Refused(Status.UNAVAILABLE, type(error).__name__) from None
        return self._told(signed, holder, bytearray(json.dumps(found).encode()))

    def _told(self, signed: SignedRequest, holder: Holder, about: bytearray) -> bytes:
        """What concerns all secrets, sealed, on the record under the operation's name."""
        op = signed.request.op
        lease = Lease(name=op, version=1, lease="", ttl=3600, not_after=int((self.now() + 86400) * 1000))
        body = _sealed(signed, lease, about)
        try:
            self.audit.append(op, service=holder.service, certificate=holder.fingerprint.hex())
        except AuditFailed:
            raise Refused(Status.UNAVAILABLE, "the audit log cannot be written") from None
        return body

    def _recorded(self, service: str, signed: SignedRequest | None, refusal: Refused) -> bool:
        """Put a refusal on the record; False when that fails. A flood is counted instead of written."""
        if refusal.status is Status.UNKNOWN_CERTIFICATE:
            return True
        now = self.monotonic()
        self.buckets.charge(("requests", service), self.requests, now, REFUSAL_COST)
        if not self.buckets.take(("records", service), DENIAL_RECORDS, now):
            self.suppressed += 1
            return True
        request = signed.request if signed is not None else None
        try:
            self.audit.append(
                "denied",
                service=service,
                reason=refusal.reason,
                status=refusal.status.name.lower(),
                name=request.name if request else None,
                purpose=request.purpose if request else None,
                trace=(request.trace or None) if request else None,
                suppressed=self.suppressed or None,
            )
            self.suppressed = 0
        except AuditFailed as error:
            log.error("a refusal could not be recorded: %s", error)
            return False
        if not self.buckets.take(("alerts", service), ALERTS, now):
            log.warning("repeated refusals of %s; see the audit log", service)
        return True

    def _refusal_body(self, status: Status) -> bytes:
        return int(self.now() * 1000).to_bytes(8, "big") if status is Status.CLOCK else b""


def fingerprint_id(name: str) -> str:
    """The opaque id under which watchers know a secret; `opencrust vault get-info` shows it."""
    return hashlib.sha256(b"opencrust fingerprint id\0" + name.encode()).hexdigest()[:12]


def _subject_tokens(subject: str) -> tuple[str, str]:
    tokens = subject.split(".")
    return (tokens[2], tokens[3]) if len(tokens) == 4 else ("", "")


def _parsed(data: bytes) -> SignedRequest:
    try:
        return wire.parse_request(data)
    except Untrusted as error:
        raise Refused(Status.DENIED, str(error)) from None


def _decoded(text: str) -> bytes:
    try:
        return wire.decode(text)
    except Untrusted as error:
        raise Refused(Status.DENIED, str(error)) from None


def _sealed(signed: SignedRequest, lease: Lease, value: bytearray) -> bytes:
    try:
        return wire.seal(signed, lease, value)
    except Untrusted as error:
        raise Refused(Status.DENIED, str(error)) from None


def _broker_agrees(headers: Mapping[str, str], service: str) -> bool:
    """Whether nats-server itself says that a client with this service's certificate asked.

    The header's name is compared exactly: the server overwrites `Nats-Request-Info`, but lets another spelling through.
    """
    try:
        info = json.loads(headers[REQUEST_INFO])
        return bool(info["user"] == spiffe_id(service) and info["kind"] == "Client")
    except (KeyError, ValueError, TypeError):
        return False
