"""People, pairing and policies over HTTP: the pairing desk for whoever holds the scope ``pairing``.

Operators are more than that scope: making one, changing one or inviting one takes ``admin`` as well, or a token that
may only pair could make its holder an operator on a channel.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Final

from aiohttp import web
from pydantic import AwareDatetime, BaseModel

from opencrust.access import Scope
from opencrust.access.desk import ChannelEntry, InviteEntry, InviteWish, PersonChange, PersonEntry, RequestEntry
from opencrust.access.people import ChannelPolicy, DmPolicy, GroupPolicy, Name, PersonId, Role
from opencrust.bus.errors import BusError
from opencrust.contracts.messages import Channel, PlatformId
from opencrust_gateway.authentication import Principal
from opencrust_gateway.errors import ApiError, bus_away
from opencrust_gateway.http import Given, documented, principal, read_json, told
from opencrust_gateway.pairing import Desk, DeskError
from opencrust_gateway.pairing.people import Contended

_STATUS: Final = {"not_found": 404, "invalid": 400, "forbidden": 403, "busy": 409}


class PersonBody(Given):
    """What is to change of a person; ``"expires": null`` is for ever."""

    role: Role | None = None
    name: Name | None = None
    blocked: bool | None = None
    expires: AwareDatetime | None = None


class NewPersonBody(PersonBody):
    """Somebody who is put on a list by his id, without a code."""

    channel: Channel
    account: PlatformId
    user: PlatformId


class ApprovalBody(Given):
    """What the stranger becomes."""

    role: Role = Role.USER


class InviteBody(Given):
    """An invitation to make. ``until`` is when the person who redeems it is out again."""

    channel: Channel
    account: PlatformId | None = None
    role: Role = Role.USER
    name: Name = ""
    until: AwareDatetime | None = None


class PolicyBody(Given):
    """A channel's policy; what is not given stays."""

    dm: DmPolicy | None = None
    group: GroupPolicy | None = None


class PersonTold(BaseModel):
    """A person. Of a ``damaged`` record only key and channel are known; it lets nobody in."""

    key: str
    channel: str
    account: str
    user: str
    role: Role
    name: str
    blocked: bool
    active: bool
    damaged: bool
    approved_by: str
    since: datetime | None
    expires: datetime | None


class PeopleTold(BaseModel):
    """Everybody who is or was on a list."""

    people: list[PersonTold]


class RequestTold(BaseModel):
    """A stranger who waits."""

    id: str
    channel: str
    account: str
    user: str
    name: str
    created: datetime
    expires: datetime


class AlarmTold(BaseModel):
    """A channel on which somebody guesses codes."""

    channel: str
    wrong_codes: int
    text: str


class WaitingTold(BaseModel):
    """Strangers who wait, invitations that are out, and channels on which codes are guessed."""

    requests: list[RequestTold]
    invites: list[InviteEntry]
    alarms: list[AlarmTold]


class InviteTold(InviteEntry):
    """A fresh invitation, with its code, which is told this once."""

    code: str


class PolicyTold(BaseModel):
    """A channel's policy, and how many wrong codes it saw within the hour."""

    channel: str
    dm: DmPolicy
    group: GroupPolicy
    wrong_codes: int
    alarm: bool


class People:
    """The handlers."""

    def __init__(self, desk: Desk, body_time: float) -> None:
        self._desk = desk
        self._body_time = body_time

    @documented(answer=PeopleTold)
    async def list(self, request: web.Request) -> web.StreamResponse:
        """GET /v1/people: everybody who is or was on a channel's list."""
        async with _answered():
            found = await self._desk.people()
        return told(PeopleTold(people=[person_told(entry) for entry in found]))

    @documented(body=NewPersonBody, answer=PersonTold, status=201)
    async def add(self, request: web.Request) -> web.StreamResponse:
        """POST /v1/people: put somebody on a channel's list by his id there."""
        caller, body = principal(request), await read_json(request, NewPersonBody, self._body_time)
        person = PersonId(channel=body.channel, account=body.account, user=body.user)
        entry = await self._change(caller, person.key, body, person)
        return told(person_told(entry), status=201)

    @documented(body=PersonBody, answer=PersonTold)
    async def change(self, request: web.Request) -> web.StreamResponse:
        """PUT /v1/people/{key}: change a person; what is not given stays."""
        caller, body = principal(request), await read_json(request, PersonBody, self._body_time)
        entry = await self._change(caller, request.match_info["key"], body, None)
        return told(person_told(entry))

    @documented(status=204)
    async def remove(self, request: web.Request) -> web.StreamResponse:
        """DELETE /v1/people/{key}: a stranger again, who may ask again."""
        caller = principal(request)
        async with _answered():
            await self._desk.remove(request.match_info["key"], by=called(caller), operators=_operators(caller))
        return web.Response(status=204)

    @documented(answer=WaitingTold)
    async def waiting(self, request: web.Request) -> web.StreamResponse:
        """GET /v1/pairing: who waits to be let in."""
        async with _answered():
            requests, invites = await self._desk.pending()
            channels = await self._desk.channels()
        return told(
            WaitingTold(
                requests=[request_told(entry) for entry in requests],
                invites=invites,
                alarms=[alarm_told(channel) for channel in channels if channel.alarm],
            )
        )

    @documented(body=ApprovalBody, answer=PersonTold)
    async def approve(self, request: web.Request) -> web.StreamResponse:
        """POST /v1/pairing/{id}/approve: let a stranger in who waits."""
        body = await read_json(request, ApprovalBody, self._body_time)
        return await self._decide(request, approve=True, role=body.role)

    @documented(answer=PersonTold)
    async def block(self, request: web.Request) -> web.StreamResponse:
        """POST /v1/pairing/{id}/block: drop everything from a stranger who waits."""
        return await self._decide(request, approve=False, role=Role.GUEST)

    @documented(body=InviteBody, answer=InviteTold, status=201)
    async def invite(self, request: web.Request) -> web.StreamResponse:
        """POST /v1/pairing/invites: a code for somebody; it is in this answer and nowhere else."""
        caller, body = principal(request), await read_json(request, InviteBody, self._body_time)
        _may_make(caller, body.role)
        async with _answered():
            code, entry = await self._desk.invite(InviteWish.model_validate(body.model_dump()), by=called(caller))
        return told(InviteTold(code=code, **dict(entry)), status=201)

    @documented(answer=PolicyTold)
    async def policy(self, request: web.Request) -> web.StreamResponse:
        """GET /v1/channels/{name}/policy: who is answered there."""
        async with _answered():
            entry = await self._desk.channel(request.match_info["name"])
        return told(policy_told(entry))

    @documented(body=PolicyBody, answer=PolicyTold)
    async def set_policy(self, request: web.Request) -> web.StreamResponse:
        """PUT /v1/channels/{name}/policy: set who is answered there."""
        caller, body = principal(request), await read_json(request, PolicyBody, self._body_time)
        name = request.match_info["name"]
        async with _answered():
            before = (await self._desk.channel(name)).policy
            after = ChannelPolicy(dm=body.dm or before.dm, group=body.group or before.group)
            entry = await self._desk.set_policy(name, after, by=called(caller))
        return told(policy_told(entry))

    async def _change(self, caller: Principal, key: str, body: PersonBody, person: PersonId | None) -> PersonEntry:
        change = PersonChange(
            id=person,
            role=body.role,
            name=body.name,
            blocked=body.blocked,
            expires=body.expires,
            forever="expires" in body.model_fields_set and body.expires is None,
        )
        async with _answered():
            return await self._desk.change(key, change, by=called(caller), operators=_operators(caller))

    async def _decide(self, request: web.Request, *, approve: bool, role: Role) -> web.StreamResponse:
        caller = principal(request)
        _may_make(caller, role)
        async with _answered():
            key = request.match_info["id"]
            entry = await self._desk.decide(key=key, approve=approve, role=role, by=called(caller))
        return told(person_told(entry))


def called(caller: Principal) -> str:
    """A caller as records show him."""
    return f"{caller.owner} ({caller.kind.value} {caller.token_id})"


def person_told(entry: PersonEntry) -> PersonTold:
    """A person as a client sees him."""
    return PersonTold(
        key=entry.key,
        channel=entry.key.partition(".")[0],
        account=entry.id.account if entry.id else "",
        user=entry.id.user if entry.id else "(damaged record)",
        role=entry.role,
        name=entry.name,
        blocked=entry.blocked,
        active=entry.active,
        damaged=entry.id is None,
        approved_by=entry.approved_by,
        since=entry.since,
        expires=entry.expires,
    )


def request_told(entry: RequestEntry) -> RequestTold:
    """A stranger who waits, as a client sees him."""
    return RequestTold(
        id=entry.id,
        channel=entry.person.channel,
        account=entry.person.account,
        user=entry.person.user,
        name=entry.name,
        created=entry.created,
        expires=entry.expires,
    )


def alarm_told(entry: ChannelEntry) -> AlarmTold:
    """A channel on which codes are guessed, as a client sees it."""
    text = f"{entry.wrong_codes} wrong codes on {entry.channel} within an hour: somebody may be guessing."
    return AlarmTold(channel=entry.channel, wrong_codes=entry.wrong_codes, text=text)


def policy_told(entry: ChannelEntry) -> PolicyTold:
    """A channel's policy as a client sees it."""
    return PolicyTold(
        channel=entry.channel,
        dm=entry.policy.dm,
        group=entry.policy.group,
        wrong_codes=entry.wrong_codes,
        alarm=entry.alarm,
    )


def _operators(caller: Principal) -> bool:
    return Scope.ADMIN in caller.scopes


def _may_make(caller: Principal, role: Role) -> None:
    if role is Role.OPERATOR and not _operators(caller):
        raise ApiError(403, "scope_missing", "to make somebody an operator this needs a token with the scope 'admin'")


@asynccontextmanager
async def _answered() -> AsyncIterator[None]:
    """Errors of the desk, as a client sees them."""
    try:
        yield
    except DeskError as error:
        raise ApiError(_STATUS[error.code], error.code, str(error)) from None
    except Contended:
        raise ApiError(409, "busy", "somebody else changes this at the same moment: try again") from None
    except BusError:
        raise bus_away() from None
