"""The vault as a service: unlock, answer, tell who must know, keep the record, stop.

bus  → Desk.answer → bus                       credentials, sealed
socket → Administration.perform → socket       a person's changes
changes → signed notices on vault.rotated.<service>
the audit chain's head → audit.vault           at most once a second
"""

import asyncio
import contextlib
import logging
import time
from dataclasses import dataclass, field

from cryptography.hazmat.primitives.serialization import Encoding

from opencrust.bus import Bus, BusError, Message, StreamReader, subjects
from opencrust.credentials import wire
from opencrust.credentials.certificates import CertificateBook
from opencrust.credentials.errors import Untrusted
from opencrust.credentials.wire import Notice
from opencrust.identity import Identity
from opencrust.service import Context, SettingsError
from opencrust_vault import opening, witness
from opencrust_vault.admin_socket import AdminServer
from opencrust_vault.administration import JSON, Administration
from opencrust_vault.audit import Head
from opencrust_vault.errors import Locked, NotFound, Rollback, VaultError
from opencrust_vault.handout import Desk, Signer
from opencrust_vault.hygiene import harden_process
from opencrust_vault.opening import OpenVault
from opencrust_vault.paths import Paths
from opencrust_vault.policy import Policy
from opencrust_vault.replay import ReplayCache
from opencrust_vault.slots import Passphrase, RecoveryKey, UnlockKey
from opencrust_vault.witness import Witness

log = logging.getLogger(__name__)

QUEUE = "vault"
IN_FLIGHT = 64
HEAD_SECONDS = 1.0
_LOCK_ATTEMPTS = 50
_LOCK_PAUSE = 0.2


async def run(context: Context) -> None:
    """Serve until told to stop.

    Raises:
        SettingsError: the vault cannot be opened and starting again will not help; the text says what will.
    """
    harden_process()
    paths = Paths.of_service(context.settings.state_dir, context.environment)
    try:
        vault = await _unlocked(context, paths)
    except VaultError as error:
        raise SettingsError(f"the vault stays closed: {error}") from None
    if vault is None:
        return  # stopped before anybody unlocked it
    try:
        await _serve(context, vault)
    except VaultError as error:
        raise SettingsError(f"the vault stays closed: {error}") from None
    finally:
        vault.close()


async def _unlocked(context: Context, paths: Paths) -> OpenVault | None:
    for attempt in range(_LOCK_ATTEMPTS):
        try:
            return await asyncio.to_thread(opening.open_unattended, paths, context.environment)
        except Locked:  # a command, or the last instance on its way out
            if attempt == _LOCK_ATTEMPTS - 1:
                raise
            await asyncio.sleep(_LOCK_PAUSE)
        except NotFound as error:
            log.warning("the vault is locked (%s): run `opencrust vault unlock`", error)
            return await _unlocked_by_person(context, paths)
    raise AssertionError("unreachable")


async def _unlocked_by_person(context: Context, paths: Paths) -> OpenVault | None:
    """Wait for `opencrust vault unlock`, or for the end (None)."""
    opened: asyncio.Future[OpenVault] = asyncio.get_running_loop().create_future()

    async def perform(operation: str, arguments: JSON) -> JSON:
        if operation == "status":
            return {"locked": True}
        if operation != "unlock" or opened.done():
            raise Locked("the vault is locked; run `opencrust vault unlock` first")
        secret = str(arguments.get("secret", ""))
        unlock: UnlockKey = RecoveryKey.parse(secret) if arguments.get("kind") == "recovery" else Passphrase(secret)
        vault = await asyncio.to_thread(opening.open_vault, paths, unlock)
        if opened.done():
            vault.close()
        else:
            opened.set_result(vault)
        return {"locked": False}

    server = AdminServer(paths.socket, opening.admin_key(paths.admin_key), perform)
    await server.start()
    stopping = asyncio.create_task(context.stopping.wait())
    try:
        ends: set[asyncio.Future[object]] = {opened, stopping}  # type: ignore[arg-type]
        await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        await asyncio.sleep(0.05)  # let the reply to the person leave
        return opened.result() if opened.done() else None
    finally:
        stopping.cancel()
        opened.cancel()
        await server.close()


async def _serve(context: Context, vault: OpenVault) -> None:
    await _compare_with_witness(context, vault)
    desk = Desk(
        backend=vault.backend,
        audit=vault.audit,
        book=CertificateBook(lambda: context.identity.trusted),
        signer=_SignerOf(context.identity),
        policy=Policy.read(vault.store.policy),
        replay=ReplayCache(time.time()),
    )
    announcer = Announcer(context.bus, desk)

    def policy_changed(fresh: Policy) -> None:
        desk.policy = fresh

    administration = Administration(vault, leases=desk.leases, changed=announcer.changed, policy_changed=policy_changed)
    admin = AdminServer(vault.paths.socket, opening.admin_key(vault.paths.admin_key), administration.perform)
    reception = Reception(context.bus, desk)
    heads = asyncio.create_task(_publish_heads(context, vault, desk))
    await admin.start()
    subscription = await context.bus.subscribe(subjects.wildcard(subjects.VAULT_REQ), reception.receive, queue=QUEUE)
    context.facts = lambda: {"secrets_leased": len(desk.leases.active(time.time())), "audit": vault.audit.head.seq}
    context.ready()
    try:
        await context.stopping.wait()
        await subscription.unsubscribe()
        await reception.finish()
    finally:
        heads.cancel()
        await asyncio.gather(heads, return_exceptions=True)
        await admin.close()
        with contextlib.suppress(BusError):
            await _publish_head(context, vault, desk)


class Reception:
    """Takes requests off the bus and answers them, several at a time: a slow backend must not queue the others."""

    def __init__(self, bus: Bus, desk: Desk) -> None:
        self._bus = bus
        self._desk = desk
        self._room = asyncio.Semaphore(IN_FLIGHT)
        self._answering: set[asyncio.Task[None]] = set()

    async def receive(self, message: Message) -> None:
        """Handler of the subscription."""
        await self._room.acquire()
        task = asyncio.create_task(self._answer(message))
        self._answering.add(task)
        task.add_done_callback(self._answering.discard)

    async def finish(self) -> None:
        """Wait for what is being answered."""
        await asyncio.gather(*self._answering, return_exceptions=True)

    async def _answer(self, message: Message) -> None:
        try:
            reply = await self._desk.answer(message.subject, message.headers, message.data)
            await self._bus.respond(message, reply)
        except BusError as error:
            log.warning("a reply could not be sent: %s", type(error).__name__)
        finally:
            self._room.release()


@dataclass(slots=True)
class Announcer:
    """Tells services that a credential of theirs changed, and watchers that fingerprints did."""

    bus: Bus
    desk: Desk
    _last: int = field(default=0)

    async def changed(self, names: list[str], services: set[str]) -> None:
        """Publish a signed notice to each; core NATS, so clients also ask again when their lease's ttl ends."""
        self._last = max(int(time.time() * 1000), self._last + 1)
        watchers = {watcher for watcher in self.desk.policy.watchers if not watcher.endswith("*")}
        signer = self.desk.signer()
        for service in sorted(services | watchers):
            notice = Notice(
                names=names if service in services else [], fingerprints=service in watchers, time=self._last
            )
            data = wire.sign_notice(signer.key, signer.certificate, service, notice)
            try:
                await self.bus.publish(subjects.vault_rotated(service), data)
            except BusError as error:
                log.warning("%s was not told of a rotation: %s", service, error)


class _SignerOf:
    """The current certificate and key, with the certificate's DER made once for each."""

    def __init__(self, identity: Identity) -> None:
        self._identity = identity
        self._made: tuple[object, Signer] | None = None

    def __call__(self) -> Signer:
        credentials = self._identity.credentials
        if self._made is None or self._made[0] is not credentials:
            self._made = (
                credentials,
                Signer(credentials.private_key, credentials.certificate.public_bytes(Encoding.DER)),
            )
        return self._made[1]


async def _publish_heads(context: Context, vault: OpenVault, desk: Desk) -> None:
    published: Head | None = None
    while True:
        await asyncio.sleep(HEAD_SECONDS)
        if vault.audit.head == published:
            continue
        head = vault.audit.head
        try:
            await _publish_head(context, vault, desk)
            published = head
        except (BusError, OSError) as error:
            log.warning("the head of the audit chain could not be published: %s", error)
            await asyncio.sleep(10 * HEAD_SECONDS)


async def _publish_head(context: Context, vault: OpenVault, desk: Desk) -> None:
    head, generation, now = vault.audit.head, vault.store.generation, int(time.time() * 1000)
    await asyncio.to_thread(vault.audit.sync)
    await asyncio.to_thread(opening.write_head, vault.paths.audit_head, head, generation)
    signer = desk.signer()
    data = witness.sign(Witness(vault.store.vault_id, generation, head, now), signer.key, signer.certificate)
    await context.bus.publish_stored(
        subjects.audit("vault"), data, message_id=f"vault-head:{vault.store.vault_id}:{head.seq}:{generation}"
    )


async def _compare_with_witness(context: Context, vault: OpenVault) -> None:
    """Compare with what the bus remembers.

    Raises:
        Rollback: the file is older than the vault once was.
    """
    try:
        stored = await StreamReader(context.bus, "AUDIT").last(subjects.audit("vault"))
        if stored is None:
            return
        seen = witness.read(stored.data, context.identity.trusted)
    except (BusError, Untrusted) as error:
        log.warning("the vault could not be compared with its last published state: %s", error)
        return
    if seen.vault_id != vault.store.vault_id:
        log.warning("the bus remembers another vault; this one takes over its place")
        return
    if seen.generation > vault.store.generation:
        raise Rollback(
            f"the vault file has generation {vault.store.generation}, but the bus has seen {seen.generation}: file and "
            "anchor were rolled back. If you restored a backup on purpose, run: "
            "opencrust vault restore --accept-rollback"
        )
    if seen.head.seq > vault.audit.head.seq:
        vault.audit.append("witness-ahead", sync=True, note="records are missing", seen=seen.head.seq)
        log.error("the audit log is shorter than the bus remembers: records up to %d are missing", seen.head.seq)
