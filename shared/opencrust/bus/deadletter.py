"""Dead letters: what could not be delivered or answered, kept with the reason until somebody looks at it."""

from typing import TYPE_CHECKING

from opencrust.bus import subjects

if TYPE_CHECKING:
    from opencrust.bus.connection import Bus

REASON = "OpenCrust-Reason"
SUBJECT = "OpenCrust-Subject"
SEQUENCE = "OpenCrust-Sequence"
"""Headers of a dead letter: why, from which subject, and its sequence in the stream that it came from."""


async def bury(bus: "Bus", *, stream: str, consumer: str, seq: int, subject: str, data: bytes, reason: str) -> None:
    """Store a copy under ``dlq.<stream>.<consumer>``; done twice, it is stored once. Settle the original afterwards.

    Raises:
        BusError: nothing is sure to be stored; do not settle the original.
    """
    await bus.publish_stored(
        subjects.dlq(stream, consumer),
        data,
        message_id=f"dlq:{stream}:{seq}",
        headers={REASON: reason, SUBJECT: subject, SEQUENCE: str(seq)},
    )
