"""GET /v1/audit: the record of all services, newest first, in pages."""

import asyncio
import json
from datetime import datetime
from typing import Annotated, Any

from aiohttp import web
from pydantic import AwareDatetime, BaseModel, Field, StringConstraints

from opencrust.bus import Bus, StoredMessage, StreamReader, subjects
from opencrust.bus.archive import Archive
from opencrust_gateway.http import Given, documented, read_query, told

AT_ONCE = 64
LOOKED_AT = 4_096
"""Most records that are read for one page: a filter that fits few of them must not hold up the gateway."""
STORED_AT = "Nats-Time-Stamp"


class AuditPage(Given):
    """Which page. `service`: only its records. `before`: older than this `seq`; the answer's `next` goes on."""

    service: Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9-]{0,40}$")] | None = None
    before: Annotated[int, Field(ge=1, le=2**53)] | None = None
    limit: Annotated[int, Field(ge=1, le=200)] = 50


class AuditRecord(BaseModel):
    """One record, as its service wrote it."""

    seq: int
    at: AwareDatetime
    service: str
    event: str
    record: dict[str, Any]


class AuditRecords(BaseModel):
    """Newest first. `next` is the `before` of the page after this one; null at the end."""

    records: list[AuditRecord]
    next: int | None


class AuditDesk:
    """The handler."""

    def __init__(self, bus: Bus) -> None:
        self._stream = Archive(bus, "AUDIT")
        self._reader = StreamReader(bus, "AUDIT")

    @documented(query=AuditPage, answer=AuditRecords)
    async def page(self, request: web.Request) -> web.StreamResponse:
        """GET /v1/audit: who did what, newest first."""
        wanted = read_query(request, AuditPage)
        first, last = await self._stream.bounds()
        seq = min(last, (wanted.before or last + 1) - 1)
        end = max(first, seq - LOOKED_AT + 1)
        records: list[AuditRecord] = []
        while seq >= end and len(records) < wanted.limit:
            numbers = range(seq, max(end, seq - AT_ONCE + 1) - 1, -1)
            for stored in await asyncio.gather(*(self._reader.exactly(number) for number in numbers)):
                seq -= 1
                if stored is not None and (record := read_record(stored, wanted.service)) is not None:
                    records.append(record)
                    if len(records) == wanted.limit:
                        break
        return told(AuditRecords(records=records, next=seq + 1 if seq >= first else None))


def read_record(stored: StoredMessage, service: str | None = None) -> AuditRecord | None:
    """The record in a message of the stream; None if it is another service's than `service`, where that is given.

    One that cannot be read is shown as such: a record must not be able to hide.
    """
    writer = subjects.last_token(stored.subject)
    if service is not None and writer != service:
        return None
    try:
        told_ = json.loads(stored.data)
        record = told_ if isinstance(told_, dict) else {"value": told_}
    except ValueError:
        record = {"unreadable": f"{len(stored.data)} bytes that are not JSON"}
    at = datetime.fromisoformat(stored.headers[STORED_AT])
    return AuditRecord(seq=stored.seq, at=at, service=writer, event=str(record.get("event", "")), record=record)
