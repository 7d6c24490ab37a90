"""Receipts: what became of each part of a reply, on ``receipt.<channel>.<conv>``."""

from opencrust.bus import Bus, subjects
from opencrust.channel.ledger import PartState, ReplyRecord
from opencrust.contracts import Delivery, OutboundMessage, Receipt, encode
from opencrust.contracts.messages import now

_STATES = {
    PartState.SENT: Delivery.SENT,
    PartState.FAILED: Delivery.FAILED,
    PartState.UNKNOWN: Delivery.UNKNOWN,
}


def receipt(reply: OutboundMessage, number: int, record: ReplyRecord) -> Receipt:
    """The receipt of a part in a final state. ``reason`` says how many of its attempts nobody knows the end of."""
    part = record.parts[number]
    reason = part.reason if part.state is not PartState.SENT else ""
    if part.unknown and part.state is PartState.SENT:
        reason = f"the end of {part.unknown} earlier attempt(s) is unknown: it may be there twice"
    return Receipt(
        reply_id=reply.id,
        part=number,
        parts=len(record.parts),
        state=_STATES[part.state],
        platform_id=part.id or None,
        attempts=max(part.attempts, 1),
        reason=reason,
        at=now(),
    )


async def publish_receipt(bus: Bus, reply: OutboundMessage, number: int, record: ReplyRecord) -> None:
    """Store it; done twice, it is stored once.

    Raises:
        BusError: it is not sure to be stored.
    """
    conv = reply.address.key
    await bus.publish_stored(
        subjects.receipt(reply.address.channel, conv),
        encode(receipt(reply, number, record)),
        message_id=f"receipt:{conv}:{reply.id}:{number}",
    )
