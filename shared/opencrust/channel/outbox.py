"""What goes out: the lanes, and for each reply the way from the stream to the platform's receipt.

Of each lane one reply is in flight in the whole house. A replica pulls from all of them, so any number of replicas
share the work, and when one dies its reply comes to another after the lane's ack wait.
"""

import asyncio
import contextlib
import logging
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Final

from opencrust.bus import Bus, BusError, Consumer, Delivery, NotFound, subjects
from opencrust.bus.blobs import BlobError
from opencrust.bus.registry import Durable, outbound
from opencrust.channel.adapter import (
    ChannelAdapter,
    NotSent,
    Outcome,
    OutFile,
    OutPart,
    Refused,
    Retry,
    SendResult,
    Sent,
    Showing,
    Unknown,
)
from opencrust.channel.cards import Cards
from opencrust.channel.ledger import FINAL, Ledger, Overtaken, Page, PartRecord, PartState, part_key
from opencrust.channel.limits import Limits
from opencrust.channel.link import Link
from opencrust.channel.live import Live
from opencrust.channel.media import Media
from opencrust.channel.parts import Planned, plan
from opencrust.channel.receipts import publish_receipt
from opencrust.channel.stops import Stops
from opencrust.contracts import ContractError, OutboundMessage, decode
from opencrust.telemetry import spans

log = logging.getLogger(__name__)

SEND_SECONDS: Final = 60.0
"""Longest that one send may take; then it is unknown."""
BEAT: Final = 1.5
PULL_SECONDS: Final = 30.0
SHORT_WAIT: Final = 2.0
"""Waits up to this are waited out with the reply in hand; longer ones give the lane back meanwhile."""
DEAD_AFTER: Final = 2.0
"""A part that another replica is sending counts as left behind after so many seconds without a change; its lane only
came here because that replica gave no sign of life for the lane's ack wait."""
LOOK_AGAIN: Final = 1.0
UNKNOWN_PAUSES: Final = (1.0, 5.0, 20.0)
"""Seconds before a part goes out again of which nobody knows whether it arrived; after the last it is given up. Each
may have been shown: a doubled reply is told from a lost one at a glance, so it is tried, but not for ever."""
MOST_UNKNOWN_KEYED: Final = 20
"""Where a key keeps the platform from showing it twice, it may be tried more often."""
LONG_TEXT: Final = 8_000
LONGEST_RETRY: Final = 300.0
FAILED_PAUSE: Final = 1.0
MOST_FAULTS: Final = 3
"""After so many faults of our own code at one reply, it is a dead letter."""


class Outbox:
    """One replica's part in sending.

    Args:
        account: ours on the platform now; replies of another account cannot be sent by this one.
        reply_hours: how long a reply is worth sending, unless it says so itself.
    """

    def __init__(
        self,
        bus: Bus,
        adapter: ChannelAdapter,
        owner: str,
        *,
        limits: Limits,
        media: Media,
        stops: Stops,
        live: Live,
        link: Link,
        account: Callable[[], str],
        reply_hours: float,
    ) -> None:
        self._bus = bus
        self._adapter = adapter
        self._channel = adapter.name
        self._limits = limits
        self._media = media
        self._stops = stops
        self._live = live
        self._link = link
        self._account = account
        self._reply_age = timedelta(hours=reply_hours)
        self._ledger = Ledger(bus, adapter.name, owner)
        self._cards = Cards(bus, adapter)
        self._left: dict[str, tuple[int, float]] = {}
        """When parts of other replicas were first found attempting: key → (revision, the loop's clock)."""
        self._faults: Counter[int] = Counter()
        self._stopping = asyncio.Event()
        self._lanes: list[asyncio.Task[None]] = []
        self.counts: Counter[str] = Counter()

    def start(self) -> None:
        """Begin to take replies from all lanes."""
        self._lanes = [asyncio.create_task(self._lane(durable)) for durable in outbound(self._channel)]

    async def stop(self, grace: float) -> None:
        """Take no more, and finish within ``grace`` seconds what is in hand."""
        self._stopping.set()
        if self._lanes:
            await asyncio.wait(self._lanes, timeout=grace)
        for lane in self._lanes:
            lane.cancel()
        await asyncio.gather(*self._lanes, return_exceptions=True)

    async def _lane(self, durable: Durable) -> None:
        consumer = self._bus.consumer(durable.stream, durable.name)
        stopped = asyncio.create_task(self._stopping.wait())
        try:
            while not self._stopping.is_set():
                try:
                    delivery = await self._pull(consumer, stopped)
                    if delivery is not None:
                        async with delivery.heartbeat(BEAT):
                            await self._deliver_or_bury(delivery)
                except BusError as error:
                    log.warning("lane %s: %s", durable.name, error)
                    await asyncio.sleep(FAILED_PAUSE)
        finally:
            stopped.cancel()
            with contextlib.suppress(BusError):
                await consumer.close()

    async def _pull(self, consumer: Consumer, stopped: "asyncio.Task[bool]") -> Delivery | None:
        pulling = asyncio.ensure_future(consumer.next(wait=PULL_SECONDS))
        await asyncio.wait({pulling, stopped}, return_when=asyncio.FIRST_COMPLETED)
        if not pulling.done():
            pulling.cancel()
            await asyncio.gather(pulling, return_exceptions=True)
            return None
        return pulling.result()

    # -- one reply

    async def _deliver_or_bury(self, delivery: Delivery) -> None:
        """A reply that our own code cannot handle must neither end its lane nor hold it up for ever."""
        try:
            await self._deliver(delivery)
            self._faults.pop(delivery.seq, None)
        except BusError:
            raise
        except Exception as error:
            self._faults[delivery.seq] += 1
            log.exception("reply %d of %s was not handled", delivery.seq, delivery.durable)
            if self._faults[delivery.seq] < MOST_FAULTS:
                await delivery.retry(FAILED_PAUSE)
                return
            del self._faults[delivery.seq]
            self.counts["buried"] += 1
            await delivery.discard(f"this channel cannot handle it: {type(error).__name__}")

    async def _deliver(self, delivery: Delivery) -> None:
        message = delivery.message
        try:
            reply = decode(OutboundMessage, message.data)
            if reply.address.channel != self._channel:
                raise ContractError(f"it is addressed to {reply.address.channel}")
        except ContractError as error:
            self.counts["buried"] += 1
            await delivery.discard(f"not a reply of this channel: {error}")
            return
        template = subjects.MSG_OUT
        with spans.process(
            message.headers,
            template,
            message.subject,
            message_id=reply.id,
            consumer=delivery.durable,
            stream=delivery.stream,
            sequence=delivery.seq,
            deliveries=delivery.deliveries,
        ):
            await self._send_reply(delivery, reply)

    async def _send_reply(self, delivery: Delivery, reply: OutboundMessage) -> None:
        if reply.decided is not None:
            wait = await self._cards.decided(reply, reply.decided)
            await (delivery.ack(confirmed=True) if wait is None else delivery.retry(min(wait, LONGEST_RETRY)))
            return
        planning = (reply, self._adapter.compose, self._adapter.dialect)
        # 100 kB take a second or two: a lease and heartbeats must be renewed meanwhile
        parts = plan(*planning) if len(reply.text) <= LONG_TEXT else await asyncio.to_thread(plan, *planning)
        if not parts:
            await delivery.ack(confirmed=True)
            return
        page = await self._ledger.open(reply, len(parts))
        self._live.end(reply.address.key, reply.in_reply_to)
        refusal = ""
        try:
            for part in parts:
                if page.record.parts[part.number].state not in FINAL:
                    wait = await self._send_part(page, reply, part)
                    if wait is not None:
                        await delivery.retry(wait)
                        return
                await publish_receipt(self._bus, reply, part.number, page.record)
                if page.record.parts[part.number].state is PartState.FAILED:
                    refusal = page.record.parts[part.number].reason
                    await self._give_up(page, reply, part.number, refusal)
                    break
        except Overtaken:
            await delivery.retry(LOOK_AGAIN)
            return
        self._left.pop(self._ledger.key(reply), None)
        if refusal and not refusal.startswith(_DROPPED):
            self.counts["buried"] += 1
            await delivery.discard(refusal)
        else:
            await delivery.ack(confirmed=True)

    async def _give_up(self, page: Page, reply: OutboundMessage, failed: int, reason: str) -> None:
        """A part was refused: the ones after it make no sense alone."""
        for number in range(failed + 1, len(page.record.parts)):
            if page.record.parts[number].state not in FINAL:
                await page.settle(number, PartRecord(state=PartState.FAILED, reason=reason))
            await publish_receipt(self._bus, reply, number, page.record)

    async def _send_part(self, page: Page, reply: OutboundMessage, part: Planned) -> float | None:
        """Bring one part to a final state. Returns None when it is there, or the seconds after which to try again."""
        now = page.record.parts[part.number]
        prepared = await self._prepared(reply, part)
        if now.state is PartState.ATTEMPTING:
            wait = await self._left_behind(page, reply, part.number, prepared)
            if wait is not None or page.record.parts[part.number].state in FINAL:
                return wait
        if (reason := await self._dropped(reply)) is not None:
            await self._settle(page, part.number, PartState.FAILED, reason=reason)
            return None
        if isinstance(prepared, str):
            await self._settle(page, part.number, PartState.FAILED, reason=prepared)
            return None
        conv = reply.address.key
        if (wait := self._limits.wait(conv)) > SHORT_WAIT:
            return wait
        if (pause := self._limits.reserve(conv)) > 0:
            await asyncio.sleep(pause)
            if (reason := await self._dropped(reply)) is not None:  # stopped while we waited
                await self._settle(page, part.number, PartState.FAILED, reason=reason)
                return None
        shown = await self._shown(reply, part)
        await page.attempt(part.number)
        return await self._settle_result(page, reply, part.number, await self._call(prepared, shown))

    async def _call(self, part: OutPart, shown: str | None) -> SendResult:
        """The one call of the platform."""
        try:
            with spans.client(f"send {self._channel}"):
                async with asyncio.timeout(SEND_SECONDS):
                    if shown is not None:
                        result = await self._adapter.edit(part.address, shown, part)
                        if isinstance(result, Unknown):  # an edit may be made twice
                            return Retry(1.0, result.reason)
                        if not isinstance(result, Refused):
                            return result
                        # What showed the answer is gone: it comes as a message of its own.
                    return await self._adapter.send(part)
        except TimeoutError:
            return Unknown(f"no answer within {SEND_SECONDS:.0f} s")
        except Exception as error:  # noqa: BLE001 - a fault of an adapter's must not stop the lane
            log.error("sending failed unexpectedly: %s", type(error).__name__)
            return Unknown(f"the adapter failed: {type(error).__name__}")

    async def _settle_result(self, page: Page, reply: OutboundMessage, number: int, result: SendResult) -> float | None:
        now = page.record.parts[number]
        match result:
            case Sent(id):
                await self._settle(page, number, PartState.SENT, id=id)
                await self._cards.sent(reply, number, len(page.record.parts), id)
                return None
            case Refused(reason):
                await self._settle(page, number, PartState.FAILED, reason=reason)
                return None
            case Retry(after, reason, everywhere):
                self.counts["retried"] += 1
                after = min(max(after, 0.05), LONGEST_RETRY)
                self._limits.pause(reply.address.key, after, everywhere=everywhere)
                fresh = now.model_copy(update={"state": PartState.WAITING, "reason": reason[:300]})
                await page.settle(number, fresh)
                return after
            case Unknown(reason):
                return await self._unknown(page, number, reason)

    async def _unknown(self, page: Page, number: int, reason: str) -> float | None:
        """Nobody knows whether the platform has it. It goes out again, and is counted, and is given up in the end. A
        platform that knows keys shows it once however often it goes out."""
        now = page.record.parts[number]
        counted = now.unknown + 1
        keyed = self._adapter.capabilities.idempotent
        if not keyed:
            self.counts["unknown"] += 1
        if counted > (MOST_UNKNOWN_KEYED if keyed else len(UNKNOWN_PAUSES)):
            await self._settle(page, number, PartState.UNKNOWN, reason=reason, unknown=counted)
            return None
        update = {"state": PartState.WAITING, "unknown": counted, "reason": reason[:300]}
        await page.settle(number, now.model_copy(update=update))
        log.warning("a part was sent, and nobody knows whether it arrived: %s", reason)
        return UNKNOWN_PAUSES[min(counted, len(UNKNOWN_PAUSES)) - 1]

    async def _left_behind(self, page: Page, reply: OutboundMessage, number: int, part: OutPart | str) -> float | None:
        """A part that was being sent. None when it may be sent again, or is settled; else when to look again."""
        key = self._ledger.key(reply)
        clock = asyncio.get_running_loop().time()
        revision, since = self._left.get(key, (0, clock))
        if revision != page.revision:
            if len(self._left) > 10_000:
                self._left.clear()
            self._left[key] = (page.revision, clock)
            return LOOK_AGAIN
        if clock - since < DEAD_AFTER:
            return LOOK_AGAIN
        if isinstance(part, str):  # its file is gone
            await self._settle(page, number, PartState.UNKNOWN, reason=part)
            return None
        match await self._ask_platform(part):
            case Sent(id):
                await self._settle(page, part.number, PartState.SENT, id=id)
                await self._cards.sent(reply, number, len(page.record.parts), id)
                return None
            case NotSent():
                return None
            case Unknown(reason):
                return await self._unknown(page, part.number, reason)

    async def _ask_platform(self, part: OutPart) -> Outcome:
        """Whether the platform has it."""
        try:
            async with asyncio.timeout(SEND_SECONDS):
                return await self._adapter.reconcile(part)
        except TimeoutError:
            return Unknown("the platform gave no answer to whether it has it")
        except Exception as error:  # noqa: BLE001 - a library's; its text may hold a token
            log.error("reconciling failed: %s", type(error).__name__)
            return Unknown(f"the adapter failed: {type(error).__name__}")

    async def _settle(
        self, page: Page, number: int, state: PartState, *, id: str = "", reason: str = "", unknown: int | None = None
    ) -> None:
        now = page.record.parts[number]
        update = {
            "state": state,
            "id": id[:255],
            "reason": reason[:300],
            "unknown": now.unknown if unknown is None else unknown,
        }
        await page.settle(number, now.model_copy(update=update))
        self.counts[state.value] += 1

    async def _dropped(self, reply: OutboundMessage) -> str | None:
        """Why a reply is not worth sending any more."""
        until = reply.expires_time or reply.created_time + self._reply_age
        if datetime.now(UTC) > until:
            return f"{_DROPPED}: it is stale, its time was up at {until:%Y-%m-%d %H:%M} UTC"
        if await self._stops.stopped_after(reply.address.key, reply.created_time):
            return f"{_DROPPED}: the conversation was stopped"
        account = self._account()
        if account and reply.address.account != account:
            return f"it was for the account {reply.address.account}, and this channel is {account} now"
        return None

    async def _prepared(self, reply: OutboundMessage, part: Planned) -> OutPart | str:
        """The part with its file's bytes; a text says why it can never be sent."""
        file = None
        if part.attachment is not None:
            limit = self._adapter.capabilities.file_out
            if part.attachment.size > limit:
                return f"{part.attachment.name} is too large for this channel"
            try:
                data = await self._media.load(part.attachment, limit)
            except (BlobError, NotFound) as error:
                return f"{part.attachment.name} cannot be sent: {error}"
            file = OutFile(part.attachment.name, part.attachment.media_type, data)
        return OutPart(
            key=part_key(reply, part.number),
            address=reply.address,
            number=part.number,
            text=part.text,
            file=file,
            card=part.card,
        )

    async def _shown(self, reply: OutboundMessage, part: Planned) -> str | None:
        """The message that showed the answer as it grew, to be edited instead of sending another."""
        if part.number or part.card or part.attachment or self._adapter.shows(reply.address) is not Showing.EDIT:
            return None
        return await self._live.take_over(reply.address.key, reply.in_reply_to, reply.id)


_DROPPED: Final = "dropped"
"""Begins the reason of what nobody needs to look at: it is no dead letter."""
