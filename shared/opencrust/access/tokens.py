"""Tokens: minting, the record at rest, and the one check of a shown token against its record.

Text form: ``oc_<id>_<secret>``; id is 80 random bits (16 characters of lower-case base32, also the key in KV
bucket ``token``), secret is 160 random bits (32 characters). The record keeps SHA-256 of the whole text. A
slow hash such as argon2 protects secrets that people choose, where an attacker who stole the hashes can
guess; 2^160 random values cannot be guessed at any speed, and a slow hash before authentication would hand
strangers a way to burn our CPU. The hash covers the id too, so a record copied under another key verifies
nothing.
"""

import base64
import hashlib
import hmac
import re
import secrets
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Annotated, Final, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from opencrust.access.scopes import Scope, grant

TICKET_TTL: Final = timedelta(seconds=600)
SESSION_TTL: Final = timedelta(days=30)

OPERATOR: Final = "operator"
"""The owner id of the person who installed OpenCrust."""

_ID_BYTES: Final = 10
_SECRET_BYTES: Final = 20
_FORM: Final = re.compile(r"oc_([a-z2-7]{16})_([a-z2-7]{32})", re.ASCII)


class MalformedToken(ValueError):
    """The text cannot be a token. The message never repeats the text."""


class TokenKind(StrEnum):
    BEARER = "bearer"
    SESSION = "session"
    TICKET = "ticket"


class TokenRecord(BaseModel):
    """What the store knows of a token (JSON in KV bucket ``token`` under `id`). It cannot be used to log
    in.
    """

    model_config = ConfigDict(extra="allow", frozen=True, hide_input_in_errors=True)

    v: Literal[1] = 1
    id: Annotated[str, Field(pattern=r"^[a-z2-7]{16}$")]
    kind: TokenKind
    name: Annotated[str, Field(min_length=1, max_length=100)]
    """What the person calls it; shown in lists."""
    owner: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$")]
    """Whose conversations it opens. Two tokens of one owner see the same conversations."""
    scopes: Annotated[frozenset[Scope], Field(min_length=1)]
    digest: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$", repr=False)]
    created: AwareDatetime
    expires: AwareDatetime | None
    revoked: AwareDatetime | None = None
    parent: str | None = None
    """The id of the token that minted this one, if one did."""

    def usable(self, now: datetime) -> bool:
        """Neither revoked nor expired at `now` (aware)."""
        return self.revoked is None and (self.expires is None or now < self.expires)


def mint_bearer(
    name: str,
    scopes: Iterable[Scope],
    expires_at: datetime | None,
    *,
    held: Iterable[Scope],
    owner: str = OPERATOR,
    parent: str | None = None,
    now: datetime | None = None,
) -> tuple[str, TokenRecord]:
    """A token for a program: (its text, shown once and kept nowhere; its record).

    `held` are the minter's own scopes; whoever sits at the machine's keyboard holds ALL_SCOPES. `expires_at`
    is an aware time, or None for a token that lives until it is revoked.

    Raises ScopeError if `scopes` is not a part of `held`; ValueError if the name is empty or the time has
    passed.
    """
    return _mint(TokenKind.BEARER, name, grant(scopes, held), expires_at, owner, parent, now)


def mint_ticket(
    scopes: Iterable[Scope],
    *,
    held: Iterable[Scope],
    ttl: timedelta = TICKET_TTL,
    owner: str = OPERATOR,
    name: str = "login link",
    parent: str | None = None,
    now: datetime | None = None,
) -> tuple[str, TokenRecord]:
    """A one-time login ticket: (its text, for the link's fragment; its record). Whoever redeems it gets
    `scopes`.

    Store the record with a KV ttl of `ttl` and redeem it by delete(key, revision=…): of two racers one wins.
    """
    now = now or datetime.now(UTC)
    return _mint(TokenKind.TICKET, name, grant(scopes, held), now + ttl, owner, parent, now)


def mint_session(
    ticket: TokenRecord, *, ttl: timedelta = SESSION_TTL, name: str = "browser", now: datetime | None = None
) -> tuple[str, TokenRecord]:
    """A browser's session from a redeemed ticket, for the same owner and the same scopes: (cookie's text,
    record).

    Raises ValueError if `ticket` is of another kind.
    """
    if ticket.kind is not TokenKind.TICKET:
        raise ValueError(f"a session comes from a ticket, not from a {ticket.kind}")
    now = now or datetime.now(UTC)
    return _mint(TokenKind.SESSION, name, ticket.scopes, now + ttl, ticket.owner, ticket.id, now)


def is_token_id(text: str) -> bool:
    """Whether ``text`` could be a token's id (a key of the bucket)."""
    return re.fullmatch(r"[a-z2-7]{16}", text) is not None


def parse_id(text: str) -> str:
    """The id (KV key) inside a token's text. Raises MalformedToken."""
    match = _FORM.fullmatch(text)
    if match is None:
        raise MalformedToken("not a token: expected oc_<16 characters>_<32 characters>")
    return match.group(1)


def verify(text: str, record: TokenRecord | None, *, kind: TokenKind, now: datetime) -> bool:
    """Whether `text` is the token of `record`, of the wanted `kind`, and usable at `now` (aware).

    The one check that every way in uses. With no record it does the same work and says no, so that time tells
    nothing about which ids exist.
    """
    shown = _digest(text)
    known = bytes.fromhex(record.digest) if record is not None else bytes(32)
    same = hmac.compare_digest(shown, known)
    return same and record is not None and record.kind is kind and record.usable(now)


def revoke(record: TokenRecord, *, now: datetime | None = None) -> TokenRecord:
    """The record, revoked. Revoking twice keeps the first time."""
    return record if record.revoked else record.model_copy(update={"revoked": now or datetime.now(UTC)})


def lifetime(wanted: datetime | None, *, kind: TokenKind, ends: datetime | None) -> datetime | None:
    """When a token ends that a token of ``kind`` makes which itself ends at ``ends``.

    What a program's token makes does not outlive it. A person who logged in may make what outlives his session.
    """
    if kind is not TokenKind.BEARER or ends is None:
        return wanted
    return ends if wanted is None else min(wanted, ends)


def minted_by(parents: Iterable[TokenRecord], records: Iterable[TokenRecord]) -> list[TokenRecord]:
    """Those of ``records`` that programs' tokens among ``parents`` minted.

    What a browser's session minted is not among them: it was the person's own doing, and stays when he logs out.
    """
    ids = {parent.id for parent in parents if parent.kind is TokenKind.BEARER}
    return [record for record in records if record.parent in ids]


def _mint(
    kind: TokenKind,
    name: str,
    scopes: frozenset[Scope],
    expires: datetime | None,
    owner: str,
    parent: str | None,
    now: datetime | None,
) -> tuple[str, TokenRecord]:
    now = now or datetime.now(UTC)
    if expires is not None and expires <= now:
        raise ValueError("the expiry time has already passed")
    token_id = _random_base32(_ID_BYTES)
    text = f"oc_{token_id}_{_random_base32(_SECRET_BYTES)}"
    record = TokenRecord(
        id=token_id,
        kind=kind,
        name=name,
        owner=owner,
        scopes=scopes,
        digest=_digest(text).hex(),
        created=now,
        expires=expires,
        parent=parent,
    )
    return text, record


def _random_base32(count: int) -> str:
    """`count` random bytes as lower-case base32; `count` is a multiple of 5, so there is no padding."""
    return base64.b32encode(secrets.token_bytes(count)).decode().lower()


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
