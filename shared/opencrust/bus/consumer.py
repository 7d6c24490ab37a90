"""Pulling from a durable, one delivery at a time, and settling it."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from opencrust.bus import errors
from opencrust.bus.deadletter import bury
from opencrust.bus.message import Message
from opencrust.bus.reader import api

if TYPE_CHECKING:
    from opencrust.bus.connection import Bus, Subscription

NANOSECONDS = 1_000_000_000
MISSING_PAUSE = 1.0
"""Seconds to wait after the server said that there is no such consumer: it answers that at once, for ever."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """One delivered message that wants settling: :meth:`ack`, :meth:`retry` or :meth:`discard`."""

    message: Message
    stream: str
    durable: str
    seq: int
    """Its sequence in the stream."""
    deliveries: int
    """How often it was delivered, this time included."""
    bus: "Bus"

    async def ack(self, *, confirmed: bool = False) -> None:
        """Done with it. ``confirmed`` waits until the server took the ack.

        Raises:
            Disconnected: it may come again.
            Timeout: (confirmed only) it may come again.
        """
        if confirmed:
            await self.bus.request(self.message.reply, b"+ACK")
        else:
            await self._settle(b"+ACK")

    async def retry(self, delay: float) -> None:
        """Hand it back; it comes again after ``delay`` seconds, to any worker."""
        await self._settle(b"-NAK " + json.dumps({"delay": int(delay * NANOSECONDS)}).encode())

    async def discard(self, reason: str) -> None:
        """Give up: keep it as a dead letter, then be done with it.

        Not by NATS's own TERM: on a work queue that deletes the message before anybody could copy it.

        Raises:
            BusError: it is not settled and comes again.
        """
        await bury(
            self.bus,
            stream=self.stream,
            consumer=self.durable,
            seq=self.seq,
            subject=self.message.subject,
            data=self.message.data,
            reason=reason,
        )
        await self.ack(confirmed=True)

    async def working(self) -> None:
        """Start the ack wait anew."""
        await self._settle(b"+WPI")

    @asynccontextmanager
    async def heartbeat(self, interval: float) -> AsyncIterator[None]:
        """Keep the delivery while the block runs, telling the server every ``interval`` seconds."""
        task = asyncio.create_task(self._beat(interval))
        try:
            yield
        finally:
            task.cancel()

    async def _beat(self, interval: float) -> None:
        while True:
            await asyncio.sleep(interval)
            try:
                await self.working()
            except errors.Disconnected:
                continue

    async def _settle(self, verb: bytes) -> None:
        await self.bus.publish(self.message.reply, verb)


class Consumer:
    """One durable pull consumer, made by the provisioner. Any number of replicas pull from it.

    One pull at a time; use an instance for each worker. Deliveries keep their original subject, so what belongs to
    which pull shows only by the inbox: each instance has its own.
    """

    def __init__(self, bus: "Bus", stream: str, durable: str) -> None:
        self._bus = bus
        self._subject = f"{api(bus.service)}.CONSUMER.MSG.NEXT.{stream}.{durable}"
        self._inbox = bus.new_inbox()
        self._subscription: Subscription | None = None
        self._arrived: asyncio.Queue[Message] = asyncio.Queue()

    async def next(self, *, wait: float = 30.0) -> Delivery | None:
        """The next delivery; None if none came within ``wait`` seconds or the connection went down meanwhile.

        Raises:
            Denied: no right to this durable.
        """
        await self._bus.wait_connected()
        if self._subscription is None:
            self._subscription = await self._bus.subscribe(self._inbox, self._arrived.put)
        reply, failed = self._bus.expect_reply(
            self._subject
        )  # ends when the pull is denied or the connection goes down
        arriving = asyncio.create_task(self._arrived.get())
        try:
            if self._arrived.empty():
                # The server ends the pull a little before we do, so that hardly a delivery crosses our giving up.
                query = {"batch": 1, "expires": int(max(wait - 0.5, 0.5) * NANOSECONDS)}
                await self._bus.send_for_reply(self._subject, json.dumps(query).encode(), self._inbox)
            await asyncio.wait({arriving, failed}, timeout=wait + 2, return_when=asyncio.FIRST_COMPLETED)
            if not arriving.done():
                if failed.done():
                    failed.result()
                return None
            answer = arriving.result()
        except errors.Disconnected:
            return None
        finally:
            arriving.cancel()
            self._bus.forget_reply(reply)
        if not answer.reply.startswith("$JS.ACK."):
            if answer.status not in ("404", "408"):  # 409: the consumer went; 503: none such, or no JetStream yet
                await asyncio.sleep(MISSING_PAUSE)
            return None
        return _delivery(answer, self._bus)

    async def close(self) -> None:
        """Take no more. What has arrived meanwhile goes back at once, to other replicas."""
        if self._subscription is not None:
            await self._subscription.unsubscribe()
        while not self._arrived.empty():
            message = self._arrived.get_nowait()
            if message.reply.startswith("$JS.ACK."):
                with suppress(errors.BusError):
                    await _delivery(message, self._bus).retry(0)


def _delivery(message: Message, bus: "Bus") -> Delivery:
    # $JS.ACK.<stream>.<durable>.<deliveries>.<stream sequence>.<consumer sequence>.<time>.<pending>
    parts = message.reply.split(".")
    return Delivery(message, parts[2], parts[3], seq=int(parts[5]), deliveries=int(parts[4]), bus=bus)
