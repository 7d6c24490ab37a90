"""What comes in: ``emit``, from an event to the stream's acknowledgement."""

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Final

from opencrust.access.directory import People
from opencrust.access.people import Admission, PersonId, Verdict
from opencrust.bus import Bus, BusError, Denied, PayloadTooLarge, subjects
from opencrust.channel import commands
from opencrust.channel.adapter import Fate, InEvent
from opencrust.channel.desk import PairingDesk
from opencrust.channel.link import Link
from opencrust.channel.media import Media
from opencrust.channel.seen import Before, Seen
from opencrust.channel.stops import Stops
from opencrust.contracts import Attachment, ContractError, InboundMessage, ReplyAddress, Sender, encode
from opencrust.contracts.messages import MAX_ATTACHMENTS, MAX_TEXT
from opencrust.telemetry import spans

log = logging.getLogger(__name__)

Tell = Callable[[ReplyAddress, str], Awaitable[None]]
"""Say something in a conversation that no agent said. Must not raise."""
Stored = Callable[[InboundMessage], None]
Bury = Callable[[str, str, object], Awaitable[None]]

MOST_TELLING: Final = 20
"""Answers of the pairing desk under way at once; a flood of strangers beyond it is answered nothing."""
PUBLISH_SECONDS: Final = 5.0


class Inbox:
    """One channel's way in.

    Args:
        tell: answers somebody without the agent.
        stored: told of every message that this replica stored, so that it shows the answer as it grows.
        bury: keeps what can be no message (:meth:`opencrust.channel.letters.Letters.bury`).
    """

    def __init__(
        self,
        bus: Bus,
        channel: str,
        people: People,
        media: Media,
        seen: Seen,
        stops: Stops,
        link: Link,
        tell: Tell,
        stored: Stored,
        bury: Bury,
    ) -> None:
        self._bus = bus
        self._channel = channel
        self._people = people
        self._media = media
        self._seen = seen
        self._stops = stops
        self._link = link
        self._tell = tell
        self._stored = stored
        self._bury = bury
        self._desk = PairingDesk(bus)
        self._telling: set[asyncio.Task[None]] = set()
        self.fates: Counter[Fate] = Counter()

    async def emit(self, event: InEvent) -> Fate:
        """Take an event over. Returns when the platform may be told that we have it.

        Raises:
            BusError: we do not have it; the platform must keep it.
        """
        self._link.event()
        with spans.internal("receive event"):  # the trace of this message begins here
            fate = await self._take(event)
        self.fates[fate] += 1
        return fate

    async def close(self) -> None:
        """End what is under way to strangers."""
        for task in self._telling:
            task.cancel()
        await asyncio.gather(*self._telling, return_exceptions=True)

    async def _take(self, event: InEvent) -> Fate:
        person = PersonId(channel=self._channel, account=event.account, user=event.user)
        admission = await self._people.admission(person, is_group=event.is_group, mentioned=event.mentioned)
        command = commands.parse(event.text)
        address = address_of(self._channel, event)
        if admission.verdict is Verdict.DROP:
            invited = isinstance(command, commands.Redeem) and not event.is_group and admission.reason == "a stranger"
            if invited:  # an allowlist still takes invitations; the desk says nothing to a wrong one
                return self._stranger(event, person, command, address)
            log.debug("an event was dropped: %s", admission.reason)
            return Fate.DROPPED
        if admission.verdict is Verdict.OFFER_PAIRING:
            return self._stranger(event, person, command, address)
        if command is not None:
            return await self._command(command, person, event, address)
        return await self._store(event, address, admission)

    def _stranger(
        self, event: InEvent, person: PersonId, command: commands.Command | None, address: ReplyAddress
    ) -> Fate:
        if len(self._telling) >= MOST_TELLING:
            return Fate.DROPPED
        asking = (
            self._desk.redeem(person, event.user_name, command.code)
            if isinstance(command, commands.Redeem)
            else self._desk.request(person, event.user_name)
        )
        self._say(asking, address)
        return Fate.STRANGER

    async def _command(
        self, command: commands.Command, person: PersonId, event: InEvent, address: ReplyAddress
    ) -> Fate:
        match command:
            case commands.Stop():
                await self._stops.stop(address.key)
            case commands.Redeem(code):
                self._say(self._desk.redeem(person, event.user_name, code), address)
            case commands.Decide(code, approve):
                self._say(self._desk.decide(person, code, approve=approve), address)
        return Fate.COMMAND

    async def _store(self, event: InEvent, address: ReplyAddress, admission: Admission) -> Fate:
        if not event.text.strip() and not event.files:
            return Fate.DROPPED  # nothing was said
        dedupe_id = f"{self._channel}:{event.account}:{event.id}"
        before = await self._seen.begin(dedupe_id)
        if before is Before.STORED:
            return Fate.DUPLICATE
        taken = [await self._media.take(file) for file in event.files[:MAX_ATTACHMENTS]]
        try:
            message = inbound(self._channel, event, address, admission, taken, again=before is Before.BEGUN)
            data = encode(message)
        except (ValueError, ContractError) as error:  # pydantic's is a ValueError; neither echoes what was written
            await self._bury(event.id, f"it is no message: {type(error).__name__}", _plain(event))
            return Fate.DROPPED
        try:
            stored = await self._bus.publish_stored(
                subjects.msg_in(self._channel, message.key), data, message_id=message.dedupe_id, timeout=PUBLISH_SECONDS
            )
        except (Denied, PayloadTooLarge) as error:  # it would be refused for ever, and hold up all others
            await self._bury(event.id, f"it cannot be stored: {error}", _plain(event))
            return Fate.DROPPED
        if not stored.duplicate:
            self._stored(message)  # first of all: the agent may be at work already
        await self._seen.stored(dedupe_id)
        return Fate.DUPLICATE if stored.duplicate else Fate.STORED

    def _say(self, asking: Awaitable[str], address: ReplyAddress) -> None:
        async def say() -> None:
            try:
                if text := await asking:
                    await self._tell(address, text)
            except BusError as error:
                log.warning("an answer of the pairing desk was not told: %s", error)

        task = asyncio.create_task(say())
        self._telling.add(task)
        task.add_done_callback(self._telling.discard)


def address_of(channel: str, event: InEvent) -> ReplyAddress:
    """Where the answer to an event goes: where it came from."""
    return ReplyAddress(
        channel=channel,
        account=event.account,
        conversation=event.conversation,
        thread=event.thread,
        message=event.message,
    )


def _plain(event: InEvent) -> dict[str, object]:
    """An event as plain values."""
    return {**asdict(event), "at": event.at.isoformat()}


def inbound(
    channel: str,
    event: InEvent,
    address: ReplyAddress,
    admission: Admission,
    taken: list[Attachment | str],
    *,
    again: bool = False,
) -> InboundMessage:
    """The envelope of an event. What could not be taken is named in the text.

    Args:
        again: it may be stored already.

    Raises:
        ValueError: neither text nor files, or an id that no platform has.
    """
    notes = [note for note in taken if isinstance(note, str)]
    if len(event.files) > len(taken):
        notes.append(
            f"[{len(event.files) - len(taken)} further files were not taken: a message holds {MAX_ATTACHMENTS}]"
        )
    text = "\n".join([*([event.text] if event.text else []), *notes])
    return InboundMessage(
        id=event.id,
        channel=channel,
        account=event.account,
        conversation=event.conversation,
        thread=event.thread,
        sender=Sender(channel=channel, account=event.account, user=event.user, display_name=event.user_name[:255]),
        reply_to=address,
        text=text[:MAX_TEXT],
        attachments=[attachment for attachment in taken if isinstance(attachment, Attachment)],
        mentions=[mention[:255] for mention in event.mentions[:64] if mention],
        quoted=event.quoted,
        edited=event.edited,
        again=again,
        is_group=event.is_group,
        platform_time=event.at,
        received_time=datetime.now(UTC),
        trust=admission.trust,
    )
