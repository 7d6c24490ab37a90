"""Reading messages back from a stream, by DIRECT.GET: one request each, no consumer."""

import json
from typing import TYPE_CHECKING

from opencrust.bus import errors
from opencrust.bus.grants import API, IMPORTED_API
from opencrust.bus.message import SEQUENCE, SUBJECT, Message, StoredMessage
from opencrust.bus.registry import BUS, identity

if TYPE_CHECKING:
    from opencrust.bus.connection import Bus


def api(service: str) -> str:
    """The prefix under which a service sees the JetStream API."""
    return API if identity(service).account == BUS else IMPORTED_API


class StreamReader:
    """Reads one stream. Needs ReadStream for :meth:`next`, ReadLast for :meth:`last`."""

    def __init__(self, bus: "Bus", stream: str) -> None:
        self._bus = bus
        self._subject = f"{api(bus.service)}.DIRECT.GET.{stream}"

    async def next(self, subject: str, *, after: int, timeout: float = 5.0) -> StoredMessage | None:
        """The first message of ``subject`` whose sequence is over ``after``; None if there is none yet."""
        query = json.dumps({"seq": after + 1, "next_by_subj": subject}).encode()
        return _stored_message(await self._bus.request(self._subject, query, timeout=timeout))

    async def exactly(self, seq: int, *, timeout: float = 5.0) -> StoredMessage | None:
        """The message of that sequence; None if there is none, or no longer. Needs ReadStream."""
        return _stored_message(
            await self._bus.request(self._subject, json.dumps({"seq": seq}).encode(), timeout=timeout)
        )

    async def last(self, subject: str, *, timeout: float = 5.0) -> StoredMessage | None:
        """The last message of ``subject``; None if there is none."""
        return _stored_message(await self._bus.request(f"{self._subject}.{subject}", b"", timeout=timeout))


def _stored_message(answer: Message) -> StoredMessage | None:
    if answer.status == "404":
        return None
    if answer.status:
        raise errors.ApiError(int(answer.status), answer.headers.get("Description", "refused"))
    return StoredMessage(answer.headers[SUBJECT], int(answer.headers[SEQUENCE]), answer.data, answer.headers)
