"""The second look at who wrote: what the adapter decided is decided again here, by the record.

Adapters gate their own platform; they also parse hostile bytes all day. So of every channel but ``web`` (whose
authority are the gateway's tokens) the sender is looked up again, and how far he is trusted is what his record says,
never what the message says. A message of somebody who is not on the list, or not any more, is not answered: no reply
goes to a stranger. It is no dead letter either, since nothing is wrong with it; the audit has it.

A turn that runs is watched as well: when its author is blocked, removed or expires meanwhile, or is less than he was,
it is stopped within a second, and who is out is told nothing more.

Whether a message of a group mentions the bot is the adapter's to see, and is not asked again.
"""

import asyncio
import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from opencrust.access.directory import People
from opencrust.access.people import Admission, PersonId, Verdict
from opencrust.bus import Bus, BusError, subjects
from opencrust.bus.drain import Work
from opencrust.contracts import InboundMessage, Trust
from opencrust.contracts.messages import now

log = logging.getLogger(__name__)

OWN_AUTHORITY = frozenset({"web"})
"""Channels whose adapter has records of its own."""
LOOK_AGAIN_SECONDS = 0.25
"""How often the author of a running turn is looked up; what the look-up hears of is not old."""
_RANK = {Trust.UNKNOWN: 0, Trust.GUEST: 1, Trust.USER: 2, Trust.OWNER: 3}


@dataclass(slots=True)
class Standing:
    """How the author of a running turn stands."""

    out: bool = False
    """Not on the list any more: he is to hear nothing more."""


def admitted(message: InboundMessage, admission: Admission) -> InboundMessage | None:
    """The message with the trust that its sender's record gives him; None where it is not to be answered."""
    if admission.verdict is not Verdict.ADMIT:
        return None
    return message.model_copy(update={"trust": admission.trust})


class Admissions:
    """The stage of a turn."""

    def __init__(self, bus: Bus, people: People) -> None:
        self._bus = bus
        self._people = people
        self.refused = 0

    async def check(self, message: InboundMessage, work: Work) -> InboundMessage | None:
        """The message as it may be answered; None where it may not.

        Raises:
            BusError: that cannot be known now; the message comes again.
        """
        if work.channel in OWN_AUTHORITY:
            return message
        admission = await self._admission(message)
        let_in = admitted(message, admission)
        if let_in is None:
            self.refused += 1
            log.warning(
                "message %d of conversation %s is not answered: %s", work.message.seq, work.conv, admission.reason
            )
            await self._audit(work, admission)
        return let_in

    @contextmanager
    def watch(self, message: InboundMessage, work: Work, stop: asyncio.Event) -> Iterator[Standing]:
        """While the block runs, set ``stop`` as soon as the author is out, or is less than ``message`` says."""
        standing = Standing()
        if work.channel in OWN_AUTHORITY:
            yield standing
            return
        watching = asyncio.create_task(self._watch(message, work, stop, standing))
        try:
            yield standing
        finally:
            watching.cancel()

    async def _watch(self, message: InboundMessage, work: Work, stop: asyncio.Event, standing: Standing) -> None:
        while not stop.is_set():
            await asyncio.sleep(LOOK_AGAIN_SECONDS)
            try:
                admission = await self._admission(message)
            except BusError:
                continue  # not known now; what the turn says cannot be stored meanwhile either
            standing.out = admission.verdict is not Verdict.ADMIT
            if standing.out or _RANK[admission.trust] < _RANK[message.trust]:
                log.warning("message %d of conversation %s: stopped, %s", work.message.seq, work.conv, admission.reason)
                stop.set()

    async def _admission(self, message: InboundMessage) -> Admission:
        sender = message.sender
        person = PersonId(channel=sender.channel, account=sender.account, user=sender.user)
        return await self._people.admission(person, is_group=message.is_group, mentioned=True)

    async def _audit(self, work: Work, admission: Admission) -> None:
        record = {
            "v": 1,
            "event": "refused",
            "at": now().isoformat(),
            "channel": work.channel,
            "conversation": work.conv,
            "seq": work.message.seq,
            "reason": admission.reason,
        }
        try:
            data = json.dumps(record).encode()
            await self._bus.publish_stored(subjects.audit("agent"), data, message_id=f"refused:{work.message.seq}")
        except BusError as error:
            log.error("message %d: the audit record could not be stored: %s", work.message.seq, error)
