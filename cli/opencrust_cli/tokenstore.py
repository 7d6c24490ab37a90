"""The bucket ``token`` as the person at the keyboard sees it."""

import math
from datetime import UTC, datetime

from opencrust.access import TokenRecord
from opencrust.bus import Bus

BUCKET = "token"


class TokenStore:
    """Token records on the bus."""

    def __init__(self, bus: Bus) -> None:
        self._bucket = bus.kv(BUCKET)

    async def add(self, record: TokenRecord) -> None:
        """Store a freshly minted record; the bucket forgets it when it expires."""
        ttl = None
        if record.expires is not None:
            ttl = max(1, math.ceil((record.expires - datetime.now(UTC)).total_seconds()))
        await self._bucket.create(record.id, record.model_dump_json().encode(), ttl=ttl)

    async def remove(self, token_id: str) -> None:
        """Forget a token; whoever uses it is out."""
        await self._bucket.delete(token_id)
