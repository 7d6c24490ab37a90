"""Answering ``ctl.approvals.<service>.<op>``: the gateway's and the command line's way to list and decide.

Whoever may publish on those subjects is the operator's tool: the subject's service vouches for who asked, and stands in
the record with the name that it gives.
"""

import logging

from opencrust.bus import Bus, BusError, Message, subjects
from opencrust.contracts import Approval, ApprovalsReply, ContractError, Decision, decode, encode
from opencrust_agent.approvals import Approvals, NotDecided

log = logging.getLogger(__name__)

PAGE = 200
PAGE_BYTES = 400 * 1024
"""Most questions in one answer, and their size: what the bus takes in one message."""


class ApprovalDesk:
    """Serves ``list`` and ``decide``; one replica answers each request."""

    def __init__(self, bus: Bus, approvals: Approvals) -> None:
        self._bus = bus
        self._approvals = approvals

    async def start(self) -> None:
        """Begin to answer."""
        await self._bus.subscribe(subjects.wildcard(subjects.CTL_APPROVALS), self._serve, queue="agent")

    async def _serve(self, message: Message) -> None:
        service, op = message.subject.split(".")[-2:]
        try:
            reply = await self._do(service, op, message.data)
        except (ContractError, NotDecided) as error:
            reply = ApprovalsReply(error=str(error)[:500])
        except BusError as error:
            log.warning("an approval request failed: %s", error)
            reply = ApprovalsReply(error=f"not done, the bus: {error}"[:500])
        await self._bus.respond(message, encode(reply))

    async def _do(self, service: str, op: str, data: bytes) -> ApprovalsReply:
        if op == "list":
            return ApprovalsReply(approvals=fitting(await self._approvals.pending()))
        if op == "decide":
            decision = decode(Decision, data)
            by = f"{service}:{decision.by}"[:255]
            return ApprovalsReply(approvals=[await self._approvals.decide(decision.id, decision.approve, by)])
        return ApprovalsReply(error=f"unknown operation {op!r}; there are list and decide")


def fitting(approvals: list[Approval]) -> list[Approval]:
    """As many, from the first on, as one message takes."""
    found: list[Approval] = []
    room = PAGE_BYTES
    for approval in approvals[:PAGE]:
        room -= len(encode(approval))
        if room < 0:
            break
        found.append(approval)
    return found
