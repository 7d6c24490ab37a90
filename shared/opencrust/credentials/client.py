"""The vault's client: ask once, keep it a while, drop it when told to.

    credentials = Credentials(bus, identity)
    await credentials.start()
    secret = await credentials.get("provider.openai.api_key", purpose="chat")
    headers = {"Authorization": f"Bearer {secret.reveal_text()}"}      # use it at once, keep no copy
    await credentials.close()

A value is used for its lease's `ttl`, then asked for again. While the vault does not answer the cached value serves
on until `not_after`, then `get` fails: closed. Concurrent callers share one request. `on_change` callbacks tell who
holds a connection open that a credential was rotated.
"""

import asyncio
import contextlib
import json
import logging
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from cryptography.hazmat.primitives.serialization import Encoding
from opentelemetry.trace import get_current_span

from opencrust.bus import Bus, Message, errors, subjects
from opencrust.credentials import wire
from opencrust.credentials.certificates import CertificateBook
from opencrust.credentials.errors import ClockSkew, CredentialDenied, CredentialError, Untrusted, VaultUnavailable
from opencrust.credentials.fingerprints import FingerprintSet
from opencrust.credentials.secret import Secret
from opencrust.credentials.wire import Answer, Operation, Status
from opencrust.identity import Credentials as IdentityCredentials
from opencrust.identity import Identity

log = logging.getLogger(__name__)

OnChange = Callable[[str], Awaitable[None]]

REPLY_TIMEOUT = 2.0
_ATTEMPTS = 4
_BUSY_PAUSE = 0.2
_LONGEST_PAUSE = 5.0


@dataclass(slots=True)
class _Held:
    secret: Secret
    refresh: float
    """By the monotonic clock."""
    not_after: float


class Credentials:
    """One service's access to the vault. One per process."""

    def __init__(self, bus: Bus, identity: Identity, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        """Args:
        identity: signs the requests; its directory is followed as certificates are renewed.
        """
        self._bus = bus
        self._identity = identity
        self._book = CertificateBook(lambda: identity.trusted)
        self._monotonic = monotonic
        self._held: dict[tuple[str, str], _Held] = {}
        self._fetching: dict[tuple[str, str], asyncio.Task[Secret]] = {}
        self._callbacks: list[OnChange] = []
        self._watchers: list[Callable[[FingerprintSet], None]] = []
        self._known_certificate = b""
        self._encoded: tuple[IdentityCredentials | None, bytes] = (None, b"")
        self._newest_notice = 0
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Listen for notices of rotation. Without it, a rotation is noticed only at the end of the `ttl`."""
        await self._bus.subscribe(subjects.vault_rotated(self._bus.service), self._on_notice)
        self._bus.on_reconnect(self._on_reconnect)

    async def close(self) -> None:
        """Wipe everything."""
        for task in (*self._fetching.values(), *self._tasks):
            task.cancel()
        await asyncio.gather(*self._fetching.values(), *self._tasks, return_exceptions=True)
        for held in self._held.values():
            held.secret.wipe()
        self._held.clear()

    def on_change(self, callback: OnChange) -> None:
        """Call `callback` with a credential's name after it was rotated or its lease was revoked."""
        self._callbacks.append(callback)

    async def get(self, name: str, *, purpose: str) -> Secret:
        """A credential for a purpose of the policy.

        Raises:
            CredentialDenied: not granted, or unknown; the cached value is gone too.
            VaultUnavailable, ClockSkew, Untrusted: no usable answer, and nothing cached that may still be used.
        """
        key = (name, purpose)
        held = self._held.get(key)
        if held is not None and self._monotonic() < held.refresh:
            return held.secret
        try:
            return await self._fresh(name, purpose)
        except CredentialDenied:
            raise
        except CredentialError as error:
            held = self._held.get(key)
            if held is not None and self._monotonic() < held.not_after:
                log.warning("the vault gives no answer; %s serves on from the cache: %s", name, error)
                return held.secret
            raise

    def drop(self, name: str) -> None:
        """Forget a credential, for instance after its provider refused it."""
        for key in [key for key in self._held if key[0] == name]:
            self._held.pop(key)

    async def fingerprints(self) -> FingerprintSet:
        """The fingerprints of all secrets, for services that the policy calls watchers. Not cached.

        Raises:
            CredentialDenied, VaultUnavailable, ClockSkew, Untrusted
        """
        answer = await self._exchange("fingerprints", None, "watch")
        try:
            return FingerprintSet.decode(answer.value)
        except ValueError as error:
            raise Untrusted(str(error)) from None

    async def names(self) -> list[dict[str, Any]]:
        """What there is: name, version, created, expires (seconds since the epoch), readers. For observers; not cached.

        Raises:
            CredentialDenied, VaultUnavailable, ClockSkew, Untrusted
        """
        answer = await self._exchange("names", None, "show")
        try:
            found = json.loads(answer.value)
        except ValueError:
            raise Untrusted("the list of names cannot be read") from None
        return [dict(one) for one in found]

    async def watch(self, update: Callable[[FingerprintSet], None]) -> None:
        """Give `update` the fingerprints now and again whenever a secret changes.

        Raises:
            CredentialDenied, VaultUnavailable, ClockSkew, Untrusted: at the first time.
        """
        update(await self.fingerprints())
        self._watchers.append(update)

    async def _fresh(self, name: str, purpose: str) -> Secret:
        """From the vault, whatever is cached; those who ask at the same time share one request."""
        key = (name, purpose)
        fetching = self._fetching.get(key)
        if fetching is None:
            fetching = self._fetching[key] = asyncio.create_task(self._fetch(name, purpose))
            fetching.add_done_callback(lambda task: self._fetched(key, task))
        return await asyncio.shield(fetching)

    async def _fetch(self, name: str, purpose: str) -> Secret:
        try:
            answer = await self._exchange("get", name, purpose)
        except CredentialDenied:
            self._held.pop((name, purpose), None)
            raise
        if answer.lease is None or answer.lease.name != name:
            raise Untrusted("the vault answered with another credential than was asked for")
        now = self._monotonic()
        secret = Secret(answer.value, name=name, version=answer.lease.version)
        left = answer.lease.not_after / 1000 - time.time()
        self._held[(name, purpose)] = _Held(secret, now + min(answer.lease.ttl, left), now + left)
        return secret

    def _fetched(self, key: tuple[str, str], task: "asyncio.Task[Secret]") -> None:
        self._fetching.pop(key, None)
        if not task.cancelled():
            task.exception()  # those who wait have it; nobody waiting is no reason for a warning

    async def _exchange(self, op: Operation, name: str | None, purpose: str) -> Answer:
        """Ask until the answer is final. Raises the errors of `get`."""
        unavailable = "the vault does not answer"
        for _ in range(_ATTEMPTS):
            credentials = self._identity.credentials
            der = self._certificate(credentials)
            trace = get_current_span().get_span_context().trace_id
            asking = wire.ask(
                self._identity.service,
                credentials.private_key,
                der,
                op=op,
                name=name,
                purpose=purpose,
                trace=f"{trace:032x}" if trace else "",
                send_certificate=der != self._known_certificate,
            )
            try:
                subject = subjects.vault_req(self._identity.service, op)
                message = await self._bus.request(subject, asking.data, timeout=REPLY_TIMEOUT)
            except errors.BusError as error:
                raise VaultUnavailable(f"the vault cannot be reached: {error}") from None
            answer = wire.open_reply(message.data, asking, self._book)
            if answer.status is Status.OK:
                self._known_certificate = der
                return answer
            if answer.status is Status.DENIED:
                raise CredentialDenied(
                    f"the vault refuses {name or op} to {self._identity.service} for {purpose}: there is no such "
                    "credential or no grant; see `opencrust vault audit`"
                )
            self._known_certificate = b""
            if answer.status is Status.CLOCK:
                skew = answer.vault_time / 1000 - time.time()
                if abs(skew) > 15:
                    raise ClockSkew(f"this host's clock and the vault's differ by {skew:.0f} s")
                await asyncio.sleep(0.1)
            elif answer.status is not Status.UNKNOWN_CERTIFICATE:
                unavailable = "the vault is busy" if answer.status is Status.BUSY else "the vault cannot answer now"
                await asyncio.sleep(_BUSY_PAUSE)
        raise VaultUnavailable(unavailable)

    def _certificate(self, credentials: IdentityCredentials) -> bytes:
        """The certificate's DER, made once for each renewal."""
        if self._encoded[0] is not credentials:
            self._encoded = (credentials, credentials.certificate.public_bytes(Encoding.DER))
        return self._encoded[1]

    async def _on_notice(self, message: Message) -> None:
        try:
            notice = wire.open_notice(message.data, self._identity.service, self._book)
        except Untrusted as error:
            log.warning("a notice of rotation was not from the vault and is ignored: %s", error)
            return
        if notice.time <= self._newest_notice:
            return  # an old notice, repeated
        self._newest_notice = notice.time
        for name in notice.names:
            self.drop(name)
            self._spawn(self._tell(name))
        if notice.fingerprints and self._watchers:
            self._spawn(self._refresh_watchers())

    async def _on_reconnect(self) -> None:
        """Notices may have been missed: ask again before using anything, while what is held may still serve."""
        for held in self._held.values():
            held.refresh = 0.0
        for name in {name for name, _ in self._held}:
            self._spawn(self._recheck(name))
        if self._watchers:
            self._spawn(self._refresh_watchers())

    async def _recheck(self, name: str) -> None:
        """Ask until the vault answers: it may find the bus again later than we do, and whoever holds a connection open
        by an old value will not ask by himself."""
        before = {key: held.secret.version for key, held in self._held.items() if key[0] == name}
        for (_, purpose), version in before.items():
            pause = _BUSY_PAUSE
            while True:
                try:
                    changed = (await self._fresh(name, purpose)).version != version
                except CredentialDenied:
                    changed = True
                except CredentialError:
                    await asyncio.sleep(pause)
                    pause = min(2 * pause, _LONGEST_PAUSE)
                    continue
                if changed:
                    await self._tell(name)
                break

    async def _tell(self, name: str) -> None:
        await asyncio.sleep(random.uniform(0, 0.5))  # noqa: S311 - replicas should not all ask at once
        for callback in self._callbacks:
            try:
                await callback(name)
            except Exception:
                log.exception("a callback for the rotation of %s failed", name)

    async def _refresh_watchers(self) -> None:
        with contextlib.suppress(CredentialError):
            fresh = await self.fingerprints()
            for update in self._watchers:
                update(fresh)

    def _spawn(self, work: Awaitable[None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
