"""Asking the gateway's pairing desk about somebody who may not speak yet."""

import logging
from typing import Final

from opencrust.access.people import PairingReply, PairingRequest, PersonId
from opencrust.bus import Bus, BusError, subjects
from opencrust.contracts import ContractError, decode, encode

log = logging.getLogger(__name__)

ANSWER_SECONDS: Final = 6.0
"""It stretches codes with scrypt."""


class PairingDesk:
    """The desk as one adapter asks it."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus

    async def request(self, person: PersonId, name: str) -> str:
        """A stranger wrote; what to tell him, empty for nothing."""
        return await self._ask("request", PairingRequest(person=person, name=name[:255]))

    async def redeem(self, person: PersonId, name: str, code: str) -> str:
        """He sent a code."""
        return await self._ask("redeem", PairingRequest(person=person, name=name[:255], code=code))

    async def decide(self, by: PersonId, code: str, *, approve: bool) -> str:
        """Somebody on the list decides about a code; the desk knows whether he may."""
        return await self._ask("decide", PairingRequest(by=by, code=code, approve=approve))

    async def _ask(self, op: str, request: PairingRequest) -> str:
        """The desk's text. Where it cannot be reached, words that say so."""
        try:
            subject = subjects.pair_req(self._bus.service, op)
            reply = decode(
                PairingReply, (await self._bus.request(subject, encode(request), timeout=ANSWER_SECONDS)).data
            )
        except (BusError, ContractError) as error:
            log.warning("the pairing desk gave no answer to %s: %s", op, error)
            return "I cannot look that up just now. Please try again in a minute."
        if reply.error:
            log.error("the pairing desk did not understand %s: %s", op, reply.error)
        return reply.text
