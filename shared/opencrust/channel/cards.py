"""Questions with buttons after they were decided: their messages say what was, and lose the buttons.

The id of a card's message is kept when the platform has it. The agent tells of a decision, wherever it was made, by an
outbound message that only says so (:class:`~opencrust.contracts.CardDecided`); it travels behind the card on the same
lane. A card whose message nobody knows (the process died in the moment after it was sent) keeps its buttons; pressing
one is answered by the agent, which knows that it is too late.
"""

import logging
from datetime import UTC, datetime
from typing import Final

from opencrust.bus import Bus
from opencrust.channel.adapter import ChannelAdapter, OutPart, Refused, Retry, Unknown
from opencrust.channel.parts import question
from opencrust.channel.text import literal, render
from opencrust.contracts import ApprovalCard, CardDecided, CardOutcome, OutboundMessage

log = logging.getLogger(__name__)

KEPT: Final = 86_400
"""Seconds that a card's message is known after its question expired."""
AGAIN: Final = 2.0
_SAID: Final = {
    CardOutcome.APPROVED: "Approved",
    CardOutcome.DENIED: "Denied",
    CardOutcome.EXPIRED: "Not answered in time, or asked no longer: nothing was done",
}


class Cards:
    """The cards of one channel."""

    def __init__(self, bus: Bus, adapter: ChannelAdapter) -> None:
        self._keys = bus.kv("ledger")
        self._adapter = adapter

    async def sent(self, reply: OutboundMessage, number: int, parts: int, message: str) -> None:
        """A part is shown as this message; the last one of a question is its card. Raises BusError."""
        card = reply.approval
        if card is None or number != parts - 1:
            return
        lives = int((card.expires - datetime.now(UTC)).total_seconds())
        await self._keys.put(self._key(card), message.encode(), ttl=max(lives, 0) + KEPT)

    async def decided(self, told: OutboundMessage, decided: CardDecided) -> float | None:
        """Change the card's message. Returns None when nothing is left to do, or the seconds after which to try again.

        Raises:
            BusError: not done.
        """
        entry = await self._keys.get(self._key(decided.card))
        if entry is None or (told.expires_time is not None and datetime.now(UTC) > told.expires_time):
            return None
        text = render(literal(decided_text(decided)), self._adapter.dialect)[-1]
        part = OutPart(key="", address=told.address, number=0, text=text)
        try:
            result = await self._adapter.decided(told.address, entry.value.decode(), part)
        except Exception as error:  # noqa: BLE001 - an adapter's; a card that stays as it is does no harm
            log.error("a card was not changed: %s", type(error).__name__)
            return None
        match result:
            case Retry(after=after):
                return max(after, 0.05)
            case Unknown():
                return AGAIN
            case Refused(reason):
                log.warning("a card was not changed: %s", reason)
        await self._keys.delete(self._key(decided.card))
        return None

    def _key(self, card: ApprovalCard) -> str:
        return f"{self._adapter.name}.card.{card.id}"


def decided_text(decided: CardDecided) -> str:
    """What a card reads then."""
    said = f"{_SAID[decided.outcome]} {decided.where}".strip()
    return f"{question(decided.card)}\n\n{said}."
