"""Replies of long ago, read back from the stream WEBLOG: the log of this channel's conversations, 90 days of it.

A client names the last reply that it has by its durable number. The stream is in the order in which replies were
stored, and numbers of one conversation only grow, so the place is found by bisection: some twenty direct reads, no
index, and the same on every replica.
"""

from dataclasses import dataclass

from opencrust.bus import Bus, StreamReader, subjects
from opencrust.bus.archive import Archive
from opencrust.contracts import ContractError, OutboundMessage, decode
from opencrust_gateway.conversations import CHANNEL, Conversation
from opencrust_gateway.notices import durable_seq

STREAM = "WEBLOG"
MOST = 200
"""Replies in one answer."""
MOST_BYTES = 256 * 1024


@dataclass(frozen=True, slots=True)
class Passage:
    """Replies in order. `more`: further ones follow after the last. `whole`: none that was asked for is lost."""

    replies: list[OutboundMessage]
    more: bool
    whole: bool


class WebLog:
    """The stream. Every method raises BusError when the bus is away."""

    def __init__(self, bus: Bus) -> None:
        self._reader = StreamReader(bus, STREAM)
        self._stream = Archive(bus, STREAM)

    async def between(self, conversation: Conversation, after: int, before: int) -> Passage:
        """The replies of a conversation whose durable numbers lie between the two, neither of them included."""
        subject = subjects.log(CHANNEL, conversation.key)
        first, last = await self._stream.bounds()
        low, high = first - 1, last  # the wanted one is the first of this conversation behind `low`
        while low < high:
            middle = (low + high) // 2
            found = await self._reader.next(subject, after=middle)
            if found is not None and _seq(found.data) <= after:
                low = found.seq
            else:
                high = middle
        replies: list[OutboundMessage] = []
        size, at = 0, low
        while (stored := await self._reader.next(subject, after=at)) is not None:
            at = stored.seq
            reply = _read(stored.data)
            if reply is None or (number := durable_seq(reply.id)) <= after or any(r.id == reply.id for r in replies):
                continue
            if number >= before:
                break
            if len(replies) >= MOST or size > MOST_BYTES:
                return Passage(replies, True, whole=await self._reaches(subject, first, after))
            replies.append(reply)
            size += len(stored.data)
        return Passage(replies, False, whole=await self._reaches(subject, first, after))

    async def _reaches(self, subject: str, first: int, after: int) -> bool:
        """Whether nothing behind `after` can have been dropped from the stream's beginning."""
        if first == 1:
            return True
        oldest = await self._reader.next(subject, after=first - 1)
        return oldest is not None and _seq(oldest.data) <= after


def _read(data: bytes) -> OutboundMessage | None:
    try:
        return decode(OutboundMessage, data)
    except ContractError:
        return None


def _seq(data: bytes) -> int:
    reply = _read(data)
    return 0 if reply is None else durable_seq(reply.id)
