"""Moves messages that their consumers gave up from their work queue into DLQ."""

import logging

from pydantic import ValidationError

from opencrust.bus import Bus, Delivery
from opencrust.bus.archive import Archive
from opencrust.bus.deadletter import bury
from opencrust_dlq.letters import Advisory

log = logging.getLogger(__name__)

QUEUES = ("MSG_OUT",)
"""Streams in which a message that nobody wants any more would stay for ever."""


class Mover:
    """Handles one advisory at a time; safe to repeat at any step."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._queues = {name: Archive(bus, name) for name in QUEUES}
        self.moved = 0

    async def handle(self, delivery: Delivery) -> None:
        """Copy, then remove, then settle: a death in between repeats the copy under the same message id.

        Raises:
            BusError: not settled; the advisory comes again.
        """
        try:
            advisory = Advisory.model_validate_json(delivery.message.data)
        except ValidationError:
            log.error("an advisory that cannot be read is dropped")
            await delivery.ack(confirmed=True)
            return
        queue = self._queues.get(advisory.stream)
        if queue is not None:
            await self._move(queue, advisory)
        await delivery.ack(confirmed=True)

    async def _move(self, queue: Archive, advisory: Advisory) -> None:
        message = await queue.get(advisory.stream_seq)
        if message is None:  # moved by an earlier try, or settled after all
            return
        await bury(
            self._bus,
            stream=advisory.stream,
            consumer=advisory.consumer,
            seq=advisory.stream_seq,
            subject=message.subject,
            data=message.data,
            reason=advisory.why,
        )
        await queue.remove(advisory.stream_seq)
        self.moved += 1
        log.warning("dead letter from %s: %s", advisory.consumer, advisory.why)
