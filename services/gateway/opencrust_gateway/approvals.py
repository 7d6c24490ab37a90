"""Approvals: what waits for a person's word, and the word. The agent says what it does, and is asked over the bus.

The operator sees and decides all of them; another owner those of his own conversations on this channel.
"""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from aiohttp import web
from pydantic import BaseModel, Field

from opencrust.access.tokens import OPERATOR
from opencrust.bus import Bus, Message, NoResponders, subjects
from opencrust.contracts import Approval, ApprovalsReply, ContractError, Decision, decode, encode
from opencrust.contracts.base import Versioned
from opencrust_gateway.authentication import Principal
from opencrust_gateway.conversations import CHANNEL
from opencrust_gateway.errors import ApiError, nobody_serves
from opencrust_gateway.http import Given, documented, principal, read_json, told
from opencrust_gateway.settings import Limits

ASK_SECONDS = 5.0
_ID = re.compile(r"[a-z2-7]{16}")


class Approvals(BaseModel):
    """Newest first. What would be done stands in each card's lines."""

    approvals: list[Approval]


class Word(Given):
    """The person's word."""

    approve: bool = Field(strict=True)


class ApprovalDesk:
    """The handlers, and what the WebSocket asks as well."""

    def __init__(self, bus: Bus, limits: Limits) -> None:
        self._bus = bus
        self._bucket = bus.kv("approvals")
        self._limits = limits

    @documented(answer=Approvals)
    async def list(self, request: web.Request) -> web.StreamResponse:
        """GET /v1/approvals: what waits for a decision, newest first."""
        caller = principal(request)
        reply = await self._ask("list", Versioned())
        return told(Approvals(approvals=[one for one in reply.approvals if concerns(one, caller.owner)]))

    @documented(body=Word, answer=Approvals)
    async def decide(self, request: web.Request) -> web.StreamResponse:
        """POST /v1/approvals/{id}: approve it or deny it, once."""
        caller = principal(request)
        word = await read_json(request, Word, self._limits.body_time)
        return told(Approvals(approvals=[await self.say(caller, request.match_info["id"], approve=word.approve)]))

    async def say(self, caller: Principal, approval_id: str, *, approve: bool) -> Approval:
        """Tell the agent what `caller` decided; the approval as it stands then.

        Raises ApiError: 404 for one that does not exist or is not the caller's to decide, 409 where the agent
        does not take the word (it is decided or expired), 503 if nobody answers. Raises BusError.
        """
        if not _ID.fullmatch(approval_id):
            raise ApiError(404, "not_found", "there is no such approval")
        if caller.owner != OPERATOR:
            await self._check_own(approval_id, caller.owner)
        word = Decision(id=approval_id, approve=approve, by=f"{CHANNEL}:{caller.owner}")
        reply = await self._ask("decide", word)
        if not reply.approvals:
            raise ApiError(404, "not_found", reply.error or "there is no such approval")
        if reply.error:
            raise ApiError(409, "not_decided", reply.error)
        return reply.approvals[0]

    async def _check_own(self, approval_id: str, owner: str) -> None:
        entry = await self._bucket.get(approval_id)
        try:
            mine = entry is not None and concerns(decode(Approval, entry.value), owner)
        except ContractError:
            mine = False
        if not mine:
            raise ApiError(404, "not_found", "there is no such approval")

    async def _ask(self, op: str, question: Versioned) -> ApprovalsReply:
        try:
            subject = subjects.ctl_approvals("gateway", op)
            answer = await self._bus.request(subject, encode(question), timeout=ASK_SECONDS)
            return decode(ApprovalsReply, answer.data)
        except NoResponders:
            raise nobody_serves("approvals cannot be looked at now", "agent") from None


class ApprovalNews:
    """Tells who is connected of every approval that is asked for, decided or has expired, on every replica."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._sinks: dict[Callable[[Approval], None], str] = {}

    async def start(self) -> None:
        """Begin to listen. Raises BusError."""
        await self._bus.subscribe(subjects.wildcard(subjects.EVT_APPROVALS), self._changed)

    @contextmanager
    def told(self, owner: str, sink: Callable[[Approval], None]) -> Iterator[None]:
        """While the block runs, call `sink` (which must not block) for the approvals that concern `owner`."""
        self._sinks[sink] = owner
        try:
            yield
        finally:
            del self._sinks[sink]

    async def _changed(self, message: Message) -> None:
        if message.data and self._sinks:  # no data: the record was forgotten, a day after its end
            approval = decode(Approval, message.data)
            for sink, owner in list(self._sinks.items()):
                if concerns(approval, owner):
                    sink(approval)


def event(approval: Approval, owner: str) -> dict[str, object]:
    """The event frame that tells of an approval; `conversation` is null where it is not one of `owner`'s here."""
    address = approval.address
    mine = (address.channel, address.account) == (CHANNEL, owner)
    return {
        "type": "event",
        "event": "approval",
        "conversation": address.conversation if mine else None,
        "approval": approval.model_dump(mode="json", exclude_none=True),
    }


def concerns(approval: Approval, owner: str) -> bool:
    """Whether an approval is for this owner's eyes."""
    return owner == OPERATOR or (approval.address.channel, approval.address.account) == (CHANNEL, owner)
