"""Pairing: how a stranger comes onto a channel's list. Codes, the records behind them, and what follows from them.

Two ways, both through a code that works once, for ten minutes, on the channel and account that it was made for:

* *request → approve*: a stranger writes, is told a code, and hands it to the operator, who approves or blocks it;
* *invite → redeem*: the operator makes a code and gives it to somebody, who sends it.

**The code** has eight symbols of Crockford's base32 (https://www.crockford.com/base32.html): 40 random bits, shown as
``K7QM-2XPA``. Read back, case, hyphens and spaces do not count, I and L are 1, O is 0.

**At rest** there is only a hash of it. 40 bits are few: a plain hash in a stolen copy of the disk is tried through in
minutes, while the code still works. A key would not help, as it would lie on the same disk. So the hash is scrypt (RFC
7914) with 8 MiB and a salt of this house, which costs an attacker some 700 core-years for one code; and since guessing
over a channel is counted (:class:`Tries`), online it is hopeless as well. The salt is the same for all codes of the
house, so that one computation finds the record by its key, however many there are; channel and account are bound in
afterwards, so that a code is looked for nowhere else.
"""

import base64
import hashlib
import hmac
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Annotated, Final, Self

from pydantic import AwareDatetime, Field, StringConstraints

from opencrust.access.people import Name, Person, PersonId, Role
from opencrust.contracts.base import Versioned
from opencrust.contracts.messages import Channel, PlatformId

CODE_TTL: Final = timedelta(minutes=10)
REISSUE_AFTER: Final = timedelta(minutes=1)
"""Who asks again sooner is told nothing; later, he gets a fresh code in the place of the old one."""
MAX_TRIES: Final = 5
"""So many wrong codes, and the sender is locked."""
LOCK: Final = timedelta(hours=1)
MAX_PENDING: Final = 20
"""Most requests of one channel at a time: a flood of strangers fills neither the list nor the audit."""
ALARM_AT: Final = 50
"""So many wrong codes on one channel within an hour, and the operator is told."""

_ALPHABET: Final = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_READ: Final = str.maketrans({"I": "1", "L": "1", "O": "0", "-": "", "\u2010": "", "\u2011": "", "\u2013": ""})
_LENGTH: Final = 8
_SCRYPT_COST: Final = 2**13

Digest = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]


def new_code() -> str:
    """A fresh code, without its hyphen."""
    return "".join(secrets.choice(_ALPHABET) for _ in range(_LENGTH))


def shown(code: str) -> str:
    """The code as a person reads it."""
    return f"{code[:4]}-{code[4:]}"


def parse_code(text: str) -> str | None:
    """The code in what somebody typed; None where it cannot be one."""
    code = "".join(text.upper().split()).translate(_READ)
    return code if len(code) == _LENGTH and set(code) <= set(_ALPHABET) else None


@dataclass(frozen=True, slots=True)
class Stretched:
    """A code after scrypt. :meth:`bound` makes the digest of it that stands in a record."""

    secret: bytes

    @classmethod
    def of(cls, code: str, salt: bytes) -> Self:
        """Some 20 ms of work: in a thread, please."""
        return cls(hashlib.scrypt(code.encode(), salt=salt, n=_SCRYPT_COST, r=8, p=1, maxmem=2**26, dklen=32))

    def bound(self, purpose: str, channel: str, account: str | None) -> str:
        """The digest of the code for one purpose, channel and account (None: any account of the channel)."""
        parts = (purpose.encode(), channel.encode(), b"" if account is None else b"=" + account.encode())
        message = b"".join(len(part).to_bytes(8, "big") + part for part in parts)
        return hmac.digest(self.secret, message, "sha256").hex()

    def __repr__(self) -> str:
        return "Stretched(…)"


def same(one: str, other: str) -> bool:
    """Whether two digests are the same, in a time that tells nothing."""
    return hmac.compare_digest(one.encode(), other.encode())


def locator(digest: str) -> str:
    """A key token for the record of a digest: its first 128 bits."""
    return base64.b32encode(bytes.fromhex(digest)[:16]).decode().rstrip("=").lower()


class Request(Versioned):
    """A stranger who waits. Key: ``request.<key of the person>``; so there is one of each."""

    person: PersonId
    name: Name = ""
    digest: Annotated[Digest, Field(repr=False)]
    created: AwareDatetime
    expires: AwareDatetime
    approved: bool | None = None
    """What was decided; the record stays until it is carried out, so that a desk that died in between is no loss."""
    decided_by: Name = ""
    role: Role = Role.USER
    """What he becomes if he is approved."""


class Invite(Versioned):
    """An invitation. Key: ``invite.<channel>.<locator of its digest>``."""

    channel: Channel
    account: PlatformId | None = None
    role: Role = Role.USER
    name: Name = ""
    until: AwareDatetime | None = None
    """When the person who redeems it is out again."""
    by: Name = ""
    digest: Annotated[Digest, Field(repr=False)]
    created: AwareDatetime
    expires: AwareDatetime
    redeemed_by: PersonId | None = None
    """Who was first. Only he can finish it, should the desk have died in between."""


class Tries(Versioned):
    """Codes that a sender tried, or wrong ones that a channel saw, since ``since``."""

    count: Annotated[int, Field(ge=0)]
    since: AwareDatetime

    def one_more(self, now: datetime) -> "Tries":
        """After one more; it begins anew when the hour is over."""
        if now - self.since >= LOCK:
            return Tries(count=1, since=now)
        return Tries(count=self.count + 1, since=self.since)

    def counted(self, now: datetime) -> int:
        """How many within the hour."""
        return self.count if now - self.since < LOCK else 0


_RANK: Final = {Role.GUEST: 0, Role.USER: 1, Role.OPERATOR: 2}


def joined(existing: Person | None, person: PersonId, *, role: Role, name: str, by: str,
           until: datetime | None, now: datetime) -> Person:  # fmt: skip
    """The record of somebody who was approved or redeemed an invitation.

    Who is on the list already keeps what he has if it is more; his name stays as the operator wrote it.
    """
    if existing is not None and existing.valid(now) and _RANK[existing.role] >= _RANK[role]:
        return existing
    kept = existing.name if existing is not None and existing.name else name
    return Person(id=person, role=role, name=kept, approved_by=by, since=now, expires=until)


def blocked(existing: Person | None, person: PersonId, *, name: str, by: str, now: datetime) -> Person:
    """The record of somebody who may not speak, whatever the channel's policy."""
    if existing is not None:
        return existing.model_copy(update={"blocked": True, "approved_by": by})
    return Person(id=person, role=Role.GUEST, name=name, blocked=True, approved_by=by, since=now)


def matching(requests: Iterable[Request], stretched: Stretched, channel: str, account: str) -> Request | None:
    """The live request whose code it is. Every one is compared, so that time tells nothing."""
    digest = stretched.bound("request", channel, account)
    found = None
    for request in requests:
        if same(request.digest, digest) and (request.person.channel, request.person.account) == (channel, account):
            found = request
    return found
