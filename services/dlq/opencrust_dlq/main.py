"""Starting the dead-letter mover."""

import asyncio
import logging
from contextlib import suppress

from opencrust import service
from opencrust.bus import BusError
from opencrust.bus.registry import DLQ_DURABLE
from opencrust.service import Context
from opencrust_dlq.desk import Desk
from opencrust_dlq.mover import Mover

log = logging.getLogger(__name__)

RETRY_DELAY = 5.0


async def run(context: Context) -> None:
    """Move dead letters and answer the operator until told to stop."""
    mover = Mover(context.bus)
    context.facts = lambda: {"moved": mover.moved}
    await Desk(context.bus).start()
    context.ready()
    moving = context.spawn(_move(context, mover))
    await context.stopping.wait()
    moving.cancel()
    await asyncio.gather(moving, return_exceptions=True)


async def _move(context: Context, mover: Mover) -> None:
    consumer = context.bus.consumer(DLQ_DURABLE.stream, DLQ_DURABLE.name)
    while True:
        delivery = await consumer.next()
        if delivery is None:
            continue
        try:
            await mover.handle(delivery)
        except BusError as error:
            log.warning("dead letter not moved yet: %s", error)
            with suppress(BusError):  # its ack wait gives it back in any case
                await delivery.retry(RETRY_DELAY)


def main() -> int:
    """Console script; its exit codes are :mod:`opencrust.service`'s."""
    return service.main("dlq", run)
