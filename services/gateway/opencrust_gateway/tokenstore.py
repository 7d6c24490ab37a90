"""The bucket ``token``: reading, adding, and burning what may be used once."""

import logging
import math
from datetime import datetime

from pydantic import ValidationError

from opencrust.access import TokenKind, TokenRecord, parse_id, verify
from opencrust.bus.errors import WrongRevision
from opencrust.bus.kv import KeyValue

log = logging.getLogger(__name__)


class TokenStore:
    """Token records on the bus. A record that cannot be read counts as none: closed, never open.

    Every method raises BusError when the bus is away.
    """

    def __init__(self, bucket: KeyValue) -> None:
        self._bucket = bucket

    async def get(self, token_id: str) -> TokenRecord | None:
        """The record under `token_id`, or None."""
        found = await self._read(token_id)
        return found[0] if found else None

    async def check(self, text: str, kind: TokenKind, now: datetime) -> TokenRecord | None:
        """The record of the token `text`, if it is valid as `kind` at `now`. Raises MalformedToken."""
        record = await self.get(parse_id(text))
        return record if verify(text, record, kind=kind, now=now) else None

    async def add(self, record: TokenRecord, now: datetime) -> None:
        """Store a freshly minted record; the bucket forgets it when it has expired."""
        ttl = None if record.expires is None else max(1, math.ceil((record.expires - now).total_seconds()))
        await self._bucket.create(record.id, record.model_dump_json().encode(), ttl=ttl)

    async def redeem(self, text: str, now: datetime) -> TokenRecord | None:
        """Burn a ticket: its record if `text` is valid and nobody was faster, else None. Raises
        MalformedToken.

        The delete compares the revision that was verified, so of two who show the same ticket one gets in.
        """
        found = await self._read(parse_id(text))
        if not verify(text, found[0] if found else None, kind=TokenKind.TICKET, now=now) or found is None:
            return None
        record, revision = found
        try:
            await self._bucket.delete(record.id, revision=revision)
        except WrongRevision:
            return None
        return record

    async def remove(self, token_id: str) -> None:
        """Forget a token; whoever uses it is out."""
        await self._bucket.delete(token_id)

    async def _read(self, token_id: str) -> tuple[TokenRecord, int] | None:
        entry = await self._bucket.get(token_id)
        if entry is None:
            return None
        try:
            record = TokenRecord.model_validate_json(entry.value)
        except ValidationError:
            log.error("the record of token %s is damaged and counts as none", token_id)
            return None
        return (record, entry.revision) if record.id == token_id else None
