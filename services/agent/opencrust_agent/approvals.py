"""Approvals as they lie in the bucket ``approvals``: asked, decided, used. Once each, by compare-and-set.

The record is the authority. A message that says "approved" only wakes the conversation up; what was decided is read
here, and that the call is the one that was approved is checked by its digest. A decision is made by whoever may
(:func:`may_decide`), on any surface.
"""

import asyncio
import base64
import logging
import secrets
from collections.abc import AsyncIterator
from contextlib import suppress
from datetime import datetime, timedelta

from opencrust.bus import Bus, BusError, registry, subjects
from opencrust.bus.archive import Archive
from opencrust.bus.errors import KeyExists, WrongRevision
from opencrust.contracts import (
    Approval,
    ApprovalState,
    CardDecided,
    CardOutcome,
    ContractError,
    InboundMessage,
    OutboundMessage,
    Sender,
    Source,
    Trust,
    decode,
    encode,
)
from opencrust.contracts.messages import now

log = logging.getLogger(__name__)

KEPT_AFTER = 24 * 3600
"""Seconds that a record outlives its question: for the list, and for late presses of its buttons."""
SWEEP_SECONDS = 20.0
WOKEN_FOR = timedelta(minutes=5)
"""Wake-ups are repeated for so long after a decision: within the stream's ten minutes against duplicates."""
_TRIES = 5


CARD_FOR = timedelta(hours=6)
"""For so long the card's message is worth changing."""
PLATFORMS = frozenset(channel.name for channel in registry.CHANNELS) - {"web"}
_OUTCOMES = {
    ApprovalState.APPROVED: CardOutcome.APPROVED,
    ApprovalState.USED: CardOutcome.APPROVED,
    ApprovalState.DENIED: CardOutcome.DENIED,
    ApprovalState.EXPIRED: CardOutcome.EXPIRED,
}
_SURFACES = {"gateway": "on the web page", "cli": "on the command line"}


class NotDecided(Exception):
    """The decision was not taken. The text is for the person."""


def new_id() -> str:
    """80 random bits in 16 characters of lower-case base32."""
    return base64.b32encode(secrets.token_bytes(10)).decode().lower()


def may_decide(approval: Approval, by: Sender, trust: Trust, *, requester_may: bool) -> bool:
    """Whether a person on a channel may decide: the operator always; a user what his own message led to, by policy."""
    if trust is Trust.OWNER:
        return True
    own = (by.channel, by.account, by.user) == (
        approval.address.channel,
        approval.address.account,
        approval.requester,
    )
    return requester_may and trust is Trust.USER and own


def lapsed(approval: Approval, at: datetime) -> bool:
    """Nobody decided in time."""
    return approval.state is ApprovalState.PENDING and at >= approval.card.expires


def _to_be_woken(approval: Approval, at: datetime) -> bool:
    """Decided a moment ago, and not seen to be taken up."""
    return (
        approval.state is not ApprovalState.USED and approval.decided is not None and at - approval.decided < WOKEN_FOR
    )


def decided_where(approval: Approval) -> str:
    """The surface, where it was decided on another than the one that asked."""
    service, colon, _ = approval.decided_by.partition(":")
    if colon and service in _SURFACES:
        return _SURFACES[service]
    channel = approval.decided_by.partition("/")[0]
    return f"on {channel}"[:64] if channel and channel != approval.address.channel else ""


class Approvals:
    """The bucket, and waking those who wait."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._records = bus.kv("approvals")
        self._archive = Archive(bus, "KV_approvals")

    async def ask(self, approval: Approval) -> None:
        """Put the question. Doing it again after a crash changes nothing."""
        lives = int((approval.card.expires - now()).total_seconds()) + KEPT_AFTER
        with suppress(KeyExists):
            await self._records.create(approval.card.id, encode(approval), ttl=max(lives, KEPT_AFTER))

    async def get(self, id: str) -> Approval | None:
        """The record; None where there is none, or no readable one: then nothing is allowed."""
        return (await self._look(id))[0]

    async def pending(self) -> list[Approval]:
        """All questions that wait for an answer, newest first."""
        at = now()
        found = [a async for a in self._all() if a.state is ApprovalState.PENDING and not lapsed(a, at)]
        return sorted(found, key=lambda approval: approval.created, reverse=True)

    async def decide(self, id: str, approve: bool, by: str) -> Approval:
        """Decide, and wake the conversation. The same decision again only wakes again.

        Raises:
            NotDecided: no such question, too late, or decided otherwise before.
            BusError: not decided, or not sure to be; doing it again is safe.
        """
        wanted = ApprovalState.APPROVED if approve else ApprovalState.DENIED
        for _ in range(_TRIES):
            approval, revision = await self._look(id)
            if approval is None:
                raise NotDecided(
                    "there is no such question, or no longer: `opencrust approvals list` shows those that wait"
                )
            if lapsed(approval, now()):
                await self._turn_to(approval, revision, ApprovalState.EXPIRED, "")
                raise NotDecided("that question has expired; nothing was done. Ask for it again")
            if approval.state is not ApprovalState.PENDING:
                if approval.state is wanted or (approve and approval.state is ApprovalState.USED):
                    await self.wake(approval)
                    return approval
                raise NotDecided(f"that was decided before: {approval.state}")
            decided = await self._turn_to(approval, revision, wanted, by)
            if decided is not None:
                await self.wake(decided)
                return decided
        raise NotDecided("somebody else decided at the same moment: look again")

    async def use(self, id: str, digest: str, user: str) -> bool:
        """Take what was approved: True for exactly one ``user`` (conversation and message), and for him again.

        False: not approved, or for another call, or used by somebody else.
        """
        for _ in range(_TRIES):
            approval, revision = await self._look(id)
            if approval is None or approval.digest != digest:
                return False
            if approval.state is ApprovalState.USED:
                return approval.used_by == user
            if approval.state is not ApprovalState.APPROVED:
                return False
            update = {"state": ApprovalState.USED, "used_by": user}
            with suppress(WrongRevision):
                await self._records.update(
                    id, encode(approval.model_copy(update=update)), revision=revision, ttl=KEPT_AFTER
                )
                return True
        return False

    async def withdraw(self, id: str) -> None:
        """Nobody waits for it any more."""
        with suppress(NotDecided):
            approval, revision = await self._look(id)
            if approval is not None and approval.state is ApprovalState.PENDING:
                withdrawn = await self._turn_to(approval, revision, ApprovalState.EXPIRED, "")
                if withdrawn is not None:
                    await self._tell_card(withdrawn)

    async def wake(self, approval: Approval) -> None:
        """Have the conversation go on. Stored once, however often it is said."""
        address, at = approval.address, now()
        message = InboundMessage(
            id=f"approval:{approval.card.id}",
            channel=address.channel,
            account=address.account,
            conversation=address.conversation,
            thread=address.thread,
            sender=Sender(channel=address.channel, account=address.account, user=approval.requester),
            reply_to=address,
            text=f"({approval.state})",
            platform_time=at,
            received_time=at,
            source=Source.APPROVAL,
            approval=approval.card.id,
        )
        await self._bus.publish_stored(
            subjects.msg_in(address.channel, address.key), encode(message), message_id=message.dedupe_id
        )
        await self._tell_card(approval)

    async def _tell_card(self, approval: Approval) -> None:
        """Have the message that asked say what was decided, on platforms that show one. Stored once, too."""
        address = approval.address
        if address.channel not in PLATFORMS:
            return
        outcome = _OUTCOMES.get(approval.state)
        if outcome is None:
            return
        message = OutboundMessage(
            id=f"card:{approval.card.id}",
            in_reply_to=f"approval:{approval.card.id}",
            address=address,
            text="",
            decided=CardDecided(card=approval.card, outcome=outcome, where=decided_where(approval)),
            created_time=now(),
            expires_time=now() + CARD_FOR,
        )
        await self._bus.publish_stored(
            subjects.msg_out(address.channel, address.key), encode(message), message_id=f"{address.key}:{message.id}"
        )

    async def sweep(self) -> None:
        """For ever: expire what nobody answered, and repeat wake-ups that a crash may have swallowed."""
        while True:
            try:
                await self.sweep_once()
            except BusError as error:
                log.warning("approvals not looked through: %s", error)
            await asyncio.sleep(SWEEP_SECONDS)

    async def sweep_once(self) -> None:
        """One round of :meth:`sweep`."""
        at = now()
        async for approval in self._all():
            if lapsed(approval, at):
                current, revision = await self._look(approval.card.id)
                if current is not None and lapsed(current, at):
                    expired = await self._turn_to(current, revision, ApprovalState.EXPIRED, "")
                    if expired is not None:
                        await self.wake(expired)
            elif _to_be_woken(approval, at):
                await self.wake(approval)

    async def _turn_to(self, approval: Approval, revision: int, state: ApprovalState, by: str) -> Approval | None:
        changed = approval.model_copy(update={"state": state, "decided": now(), "decided_by": by})
        try:
            await self._records.update(approval.card.id, encode(changed), revision=revision, ttl=KEPT_AFTER)
        except WrongRevision:
            return None
        return changed

    async def _look(self, id: str) -> tuple[Approval | None, int]:
        try:
            entry, revision = await self._records.look(id)
        except ValueError:
            return None, 0
        if entry is None:
            return None, revision
        try:
            return decode(Approval, entry.value), revision
        except ContractError as error:
            log.error("approval %s cannot be read and allows nothing: %s", id, error)
            return None, revision

    async def _all(self) -> AsyncIterator[Approval]:
        prefix = "$KV.approvals."
        for subject in await self._archive.subjects(f"{prefix}>"):
            approval = await self.get(subject.removeprefix(prefix))
            if approval is not None:
                yield approval
