"""``pair.req.<service>.<op>``: the bus lets only a service itself ask under its name, so the name is the authority.

An adapter may speak for the strangers and operators of its own channel, whatever a request claims; the command line,
which is whoever sits at this machine, about all channels, but for no stranger.
"""

import logging
from typing import Final

from opencrust.access.desk import DeskReply, DeskRequest
from opencrust.access.people import PairingOutcome, PairingReply, PairingRequest
from opencrust.bus import Bus, BusError, Message, subjects
from opencrust.bus.registry import CHANNELS
from opencrust.contracts.base import ContractError, decode, encode
from opencrust_gateway.pairing.desk import Desk, DeskError
from opencrust_gateway.pairing.people import Contended

log = logging.getLogger(__name__)

KEYBOARD: Final = "the command line"
COMMAND_LINE: Final = "cli"
AWAY = "I cannot look that up right now. Please try again in a minute."


class Wire:
    """Serves the desk over the bus; one replica answers each request."""

    def __init__(self, bus: Bus, desk: Desk) -> None:
        self._bus = bus
        self._desk = desk

    async def start(self) -> None:
        """Begin to answer. Raises BusError."""
        await self._bus.subscribe(subjects.wildcard(subjects.PAIR_REQ), self._asked, queue="pairing")

    async def _asked(self, message: Message) -> None:
        service, op = message.subject.split(".")[2:]
        if service == COMMAND_LINE:
            await self._bus.respond(message, encode(await self._operator(op, message.data)))
        else:
            await self._bus.respond(message, encode(await self._channel(service, op, message.data)))

    async def _channel(self, service: str, op: str, data: bytes) -> PairingReply:
        try:
            return await self.answer_channel(service, op, data)
        except ContractError as error:
            log.error("%s asked the pairing desk wrongly: %s", service, error)
            return PairingReply(outcome=PairingOutcome.REFUSED, error=str(error)[:500])
        except DeskError as error:
            return PairingReply(outcome=PairingOutcome.REFUSED, text=str(error))
        except (BusError, Contended) as error:
            log.warning("the pairing desk cannot answer %s now: %s", service, error)
            return PairingReply(outcome=PairingOutcome.UNAVAILABLE, text=AWAY)

    async def answer_channel(self, service: str, op: str, data: bytes) -> PairingReply:
        """The answer to an adapter. Raises ContractError for what it may not ask, DeskError and BusError."""
        asked = decode(PairingRequest, data)
        channel = next((c.name for c in CHANNELS if c.service == service and c.name != "web"), None)
        for person in (asked.person, asked.by):
            if person is not None and person.channel != channel:
                raise ContractError(f"{service} may not speak for people of channel {person.channel}")
        if op == "request" and asked.person is not None:
            return await self._desk.request(asked.person, asked.name)
        if op == "redeem" and asked.person is not None:
            return await self._desk.redeem(asked.person, asked.name, asked.code)
        if op == "decide" and asked.by is not None:
            return await self._desk.decide_on_channel(asked.by, asked.code, asked.approve)
        raise ContractError("a channel asks: request (person), redeem (person, code), decide (by, code, approve)")

    async def _operator(self, op: str, data: bytes) -> DeskReply:
        try:
            return await self.answer_operator(op, decode(DeskRequest, data))
        except (ContractError, DeskError) as error:
            return DeskReply(error=str(error)[:500])
        except (BusError, Contended) as error:
            log.warning("the pairing desk cannot answer the command line now: %s", error)
            return DeskReply(error="the pairing desk cannot reach its records now: try again")

    async def answer_operator(self, op: str, asked: DeskRequest) -> DeskReply:
        """The answer to the command line. Raises ContractError, DeskError and BusError."""
        desk, every = self._desk, asked.channel or "*"
        match op:
            case "list":
                requests, invites = await desk.pending(every)
                return DeskReply(requests=requests, invites=invites, channels=await desk.channels())
            case "people":
                return DeskReply(people=await desk.people(every))
            case "decide" if asked.key or asked.code:
                entry = await desk.decide(
                    key=asked.key or "",
                    channel=every,
                    code=asked.code,
                    approve=asked.approve,
                    role=asked.role,
                    by=KEYBOARD,
                )
                return DeskReply(people=[entry])
            case "invite" if asked.invite is not None:
                code, invite = await desk.invite(asked.invite, by=KEYBOARD)
                return DeskReply(code=code, expires=invite.expires, invites=[invite])
            case "set" if asked.change is not None and (key := _key(asked)) is not None:
                return DeskReply(people=[await desk.change(key, asked.change, by=KEYBOARD, operators=True)])
            case "remove" if asked.key:
                await desk.remove(asked.key, by=KEYBOARD, operators=True)
                return DeskReply()
            case "policy" if asked.channel and asked.policy is not None:
                return DeskReply(channels=[await desk.set_policy(asked.channel, asked.policy, by=KEYBOARD)])
            case "policy":
                return DeskReply(
                    channels=[await desk.channel(asked.channel)] if asked.channel else await desk.channels()
                )
        raise ContractError(f"{op}: no such operation, or what it needs is missing; see opencrust.access.desk")


def _key(asked: DeskRequest) -> str | None:
    if asked.key is not None or asked.change is None or asked.change.id is None:
        return asked.key
    return asked.change.id.key
