"""The bucket ``token``: reading, adding, listing, and burning what may be used once."""

import logging
import math
from datetime import datetime

from pydantic import ValidationError

from opencrust.access.tokens import TokenKind, TokenRecord, minted_by, parse_id, verify
from opencrust.bus import Bus, WrongRevision
from opencrust.bus.archive import Archive

_PREFIX = "$KV.token."
log = logging.getLogger(__name__)


class TokenStore:
    """Token records on the bus. A record that cannot be read counts as none: closed, never open.

    Every method raises BusError when the bus is away.
    """

    def __init__(self, bus: Bus) -> None:
        self._bucket = bus.kv("token")
        self._stream = Archive(bus, "KV_token")

    async def get(self, token_id: str) -> TokenRecord | None:
        """The record under `token_id`, or None."""
        found = await self._read(token_id)
        return found[0] if found else None

    async def check(self, text: str, kind: TokenKind, now: datetime) -> TokenRecord | None:
        """The record of the token `text`, if it is valid as `kind` at `now`. Raises MalformedToken."""
        record = await self.get(parse_id(text))
        return record if verify(text, record, kind=kind, now=now) else None

    async def add(self, record: TokenRecord) -> None:
        """Store a freshly minted record; the bucket forgets it when it has expired."""
        ttl = None if record.expires is None else max(1, math.ceil((record.expires - record.created).total_seconds()))
        await self._bucket.create(record.id, record.model_dump_json().encode(), ttl=ttl)

    async def records(self) -> list[TokenRecord]:
        """All records, oldest first; damaged ones are left out."""
        found = await self._stream.subjects(f"{_PREFIX}>")
        records = [await self.get(subject.removeprefix(_PREFIX)) for subject in found]
        return sorted((record for record in records if record is not None), key=lambda record: record.created)

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

    async def revoke(self, token_id: str) -> list[TokenRecord]:
        """Forget a token, and those that it minted, and theirs: who stole it may have made himself another.

        Returns what was forgotten, the token itself first; nothing if there is none.
        """
        record = await self.get(token_id)
        if record is None:
            return []
        fresh = gone = [record]
        while fresh:
            for one in fresh:
                await self.remove(one.id)
            fresh = minted_by(fresh, await self.records())
            gone = gone + fresh
        return gone

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
