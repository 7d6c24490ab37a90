"""The vault's hand-out without a bus: a real authority, a real vault file, real bytes."""

import json
import os
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key

from opencrust.credentials import wire
from opencrust.credentials.certificates import CertificateBook
from opencrust.credentials.wire import Answer, Asking
from opencrust.identity import spiffe_id
from opencrust.identity.ca import Authority
from opencrust_vault.audit import AuditLog
from opencrust_vault.handout import Desk, Signer
from opencrust_vault.policy import DEFAULT
from opencrust_vault.replay import ReplayCache
from opencrust_vault.slots import KeyFile
from opencrust_vault.store import FileBackend, FileStore

PROVIDER_KEY = b"sk-canary-0123456789abcdefXYZ-provider"
TELEGRAM_TOKEN = b"987654321:canary-telegram-token-abcdefXYZ"


class Clock:
    """Seconds since the epoch, moved by hand."""

    def __init__(self, now: float) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


class Party:
    """A service's certificate and key."""

    def __init__(self, authority: Authority, service: str) -> None:
        leaf = authority.issue(service)
        self.service = service
        self.certificate = x509.load_pem_x509_certificate(leaf.certificate_pem)
        self.der = self.certificate.public_bytes(Encoding.DER)
        key = load_pem_private_key(leaf.key_pem, None)
        assert isinstance(key, ec.EllipticCurvePrivateKey)
        self.key = key


def broker_says(service: str, **changes: str) -> dict[str, str]:
    """The header that nats-server adds to a request that crosses accounts."""
    info = {"acc": "AGENT", "user": spiffe_id(service), "kind": "Client", **changes}
    return {"Nats-Request-Info": json.dumps(info)}


class House:
    """A vault with two secrets, and three services."""

    def __init__(self, directory: Path) -> None:
        self.authority = Authority.create()
        self.vault, self.agent, self.telegram = (
            Party(self.authority, service) for service in ("vault", "agent", "channel-telegram")
        )
        start = self.vault.certificate.not_valid_before_utc.timestamp() + 600
        self.clock = Clock(start)
        self.key = KeyFile(os.urandom(32))
        directory.mkdir(mode=0o700, exist_ok=True)
        self.store = FileStore.create(
            directory / "vault.db", directory / "anchor", {"k": self.key}, policy=DEFAULT.dump()
        )
        self.store.put_many({"provider.openai.api_key": PROVIDER_KEY, "channel.telegram.token": TELEGRAM_TOKEN})
        self.audit_path = directory / "audit.log"
        self.audit = AuditLog(self.audit_path, self.store.subkey("audit"))
        self.trusted: tuple[x509.Certificate, ...] = (self.authority.certificate,)
        self.desk = self.new_desk()
        self.book = CertificateBook(lambda: self.trusted, now=self.clock)

    def new_desk(self) -> Desk:
        """A freshly started vault over the same file."""
        return Desk(
            backend=FileBackend(self.store),
            audit=self.audit,
            book=CertificateBook(lambda: self.trusted, now=self.clock),
            signer=lambda: Signer(self.vault.key, self.vault.der),
            policy=DEFAULT,
            replay=ReplayCache(self.clock.now),
            now=self.clock,
            monotonic=self.clock,
        )

    def close(self) -> None:
        self.audit.close()
        self.store.close()

    def asking(self, party: Party, name: str | None, purpose: str, **more: object) -> Asking:
        options = {"op": "get", "now": self.clock.now, "send_certificate": True, "service": party.service, **more}
        service = str(options.pop("service"))
        return wire.ask(service, party.key, party.der, name=name, purpose=purpose, **options)  # type: ignore[arg-type]

    async def send(self, subject: str, headers: dict[str, str], asking: Asking) -> Answer:
        return wire.open_reply(await self.desk.answer(subject, headers, asking.data), asking, self.book)

    async def get(self, party: Party, name: str, purpose: str, **more: object) -> Answer:
        """What `party` gets when it asks as it should."""
        asking = self.asking(party, name, purpose, **more)
        subject = f"vault.req.{party.service}.{more.get('op', 'get')}"
        return await self.send(subject, broker_says(party.service), asking)

    def events(self) -> list[dict[str, object]]:
        """The audit's records."""
        return [json.loads(line) for line in self.audit_path.read_text().splitlines()]
