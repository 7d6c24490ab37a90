"""The bucket ``token`` as the person at the keyboard sees it."""

import logging
import math
from datetime import UTC, datetime

from pydantic import ValidationError

from opencrust.access import TokenRecord
from opencrust.bus import Bus
from opencrust.bus.archive import Archive

BUCKET = "token"
log = logging.getLogger(__name__)


class TokenStore:
    """Token records on the bus. Every method raises BusError when the bus is away."""

    def __init__(self, bus: Bus) -> None:
        self._bucket = bus.kv(BUCKET)
        self._stream = Archive(bus, f"KV_{BUCKET}")

    async def add(self, record: TokenRecord) -> None:
        """Store a freshly minted record; the bucket forgets it when it expires."""
        ttl = None
        if record.expires is not None:
            ttl = max(1, math.ceil((record.expires - datetime.now(UTC)).total_seconds()))
        await self._bucket.create(record.id, record.model_dump_json().encode(), ttl=ttl)

    async def list(self) -> list[TokenRecord]:
        """All records, oldest first; damaged ones are left out."""
        prefix = f"$KV.{BUCKET}."
        records = []
        for subject in await self._stream.subjects(f"{prefix}>"):
            entry = await self._bucket.get(subject.removeprefix(prefix))
            if entry is None:
                continue
            try:
                records.append(TokenRecord.model_validate_json(entry.value))
            except ValidationError:
                log.error("the record under %s is damaged and counts as none", subject)
        return sorted(records, key=lambda record: record.created)

    async def remove(self, token_id: str) -> None:
        """Forget a token; whoever uses it is out."""
        await self._bucket.delete(token_id)
