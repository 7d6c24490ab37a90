"""People, pairing and policies over HTTP: the pairing desk for whoever holds the scope ``pairing``.

Operators are more than that scope: making one, changing one or inviting one takes ``admin`` as well, or a token that
may only pair could make its holder an operator on a channel.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

from aiohttp import web
from pydantic import AwareDatetime, BaseModel, ConfigDict

from opencrust.access import Scope
from opencrust.access.desk import ChannelEntry, InviteEntry, InviteWish, PersonChange, PersonEntry, RequestEntry
from opencrust.access.people import ChannelPolicy, DmPolicy, GroupPolicy, Name, PersonId, Role
from opencrust.bus.errors import BusError
from opencrust.contracts.messages import Channel, PlatformId
from opencrust_gateway.authentication import Principal
from opencrust_gateway.errors import ApiError, bus_away
from opencrust_gateway.http import principal, read_json
from opencrust_gateway.pairing import Desk, DeskError
from opencrust_gateway.pairing.people import Contended

_STATUS: Final = {"not_found": 404, "invalid": 400, "forbidden": 403, "busy": 409}


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class PersonBody(_Body):
    """``PUT /v1/people/{key}``: what is to change; ``"expires": null`` is for ever."""

    role: Role | None = None
    name: Name | None = None
    blocked: bool | None = None
    expires: AwareDatetime | None = None


class NewPersonBody(PersonBody):
    """``POST /v1/people``: somebody who is put on a list by his id, without a code."""

    channel: Channel
    account: PlatformId
    user: PlatformId


class ApprovalBody(_Body):
    """``POST /v1/pairing/{id}/approve``."""

    role: Role = Role.USER


class InviteBody(_Body):
    """``POST /v1/pairing/invites``."""

    channel: Channel
    account: PlatformId | None = None
    role: Role = Role.USER
    name: Name = ""
    until: AwareDatetime | None = None


class PolicyBody(_Body):
    """``PUT /v1/channels/{name}/policy``: what is not given stays."""

    dm: DmPolicy | None = None
    group: GroupPolicy | None = None


class People:
    """The handlers."""

    def __init__(self, desk: Desk, body_time: float) -> None:
        self._desk = desk
        self._body_time = body_time

    async def list(self, request: web.Request) -> web.StreamResponse:
        """GET /v1/people."""
        async with _answered():
            found = await self._desk.people()
        return web.json_response({"people": [person_view(entry) for entry in found]})

    async def add(self, request: web.Request) -> web.StreamResponse:
        """POST /v1/people."""
        caller, body = principal(request), await read_json(request, NewPersonBody, self._body_time)
        person = PersonId(channel=body.channel, account=body.account, user=body.user)
        entry = await self._change(caller, person.key, body, person)
        return web.json_response(person_view(entry), status=201)

    async def change(self, request: web.Request) -> web.StreamResponse:
        """PUT /v1/people/{key}."""
        caller, body = principal(request), await read_json(request, PersonBody, self._body_time)
        entry = await self._change(caller, request.match_info["key"], body, None)
        return web.json_response(person_view(entry))

    async def remove(self, request: web.Request) -> web.StreamResponse:
        """DELETE /v1/people/{key}."""
        caller = principal(request)
        async with _answered():
            await self._desk.remove(request.match_info["key"], by=called(caller), operators=_operators(caller))
        return web.Response(status=204)

    async def waiting(self, request: web.Request) -> web.StreamResponse:
        """GET /v1/pairing."""
        async with _answered():
            requests, invites = await self._desk.pending()
            channels = await self._desk.channels()
        return web.json_response(
            {
                "requests": [request_view(entry) for entry in requests],
                "invites": [invite_view(entry) for entry in invites],
                "alarms": [alarm_view(channel) for channel in channels if channel.alarm],
            }
        )

    async def approve(self, request: web.Request) -> web.StreamResponse:
        """POST /v1/pairing/{id}/approve."""
        body = await read_json(request, ApprovalBody, self._body_time)
        return await self._decide(request, approve=True, role=body.role)

    async def block(self, request: web.Request) -> web.StreamResponse:
        """POST /v1/pairing/{id}/block."""
        return await self._decide(request, approve=False, role=Role.GUEST)

    async def invite(self, request: web.Request) -> web.StreamResponse:
        """POST /v1/pairing/invites. The code is in this answer and nowhere else."""
        caller, body = principal(request), await read_json(request, InviteBody, self._body_time)
        _may_make(caller, body.role)
        async with _answered():
            code, entry = await self._desk.invite(InviteWish.model_validate(body.model_dump()), by=called(caller))
        return web.json_response({"code": code, **invite_view(entry)}, status=201)

    async def policy(self, request: web.Request) -> web.StreamResponse:
        """GET /v1/channels/{name}/policy."""
        async with _answered():
            entry = await self._desk.channel(request.match_info["name"])
        return web.json_response(policy_view(entry))

    async def set_policy(self, request: web.Request) -> web.StreamResponse:
        """PUT /v1/channels/{name}/policy."""
        caller, body = principal(request), await read_json(request, PolicyBody, self._body_time)
        name = request.match_info["name"]
        async with _answered():
            before = (await self._desk.channel(name)).policy
            after = ChannelPolicy(dm=body.dm or before.dm, group=body.group or before.group)
            entry = await self._desk.set_policy(name, after, by=called(caller))
        return web.json_response(policy_view(entry))

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
        return web.json_response(person_view(entry))


def called(caller: Principal) -> str:
    """A caller as records show him."""
    return f"{caller.owner} ({caller.kind.value} {caller.token_id})"


def person_view(entry: PersonEntry) -> dict[str, Any]:
    """A person in JSON. Of a damaged record only its key is known."""
    whole = entry.model_dump(mode="json", exclude={"id"})
    return {"damaged": entry.id is None, **_who(entry.key, entry.id), **whole}


def request_view(entry: RequestEntry) -> dict[str, Any]:
    """A stranger who waits, in JSON."""
    return {**_who(entry.id, entry.person), **entry.model_dump(mode="json", exclude={"person"})}


def invite_view(entry: InviteEntry) -> dict[str, Any]:
    """An invitation in JSON."""
    return entry.model_dump(mode="json")


def alarm_view(entry: ChannelEntry) -> dict[str, Any]:
    """A channel on which somebody guesses codes, in JSON."""
    text = f"{entry.wrong_codes} wrong codes on {entry.channel} within an hour: somebody may be guessing."
    return {"channel": entry.channel, "wrong_codes": entry.wrong_codes, "text": text}


def policy_view(entry: ChannelEntry) -> dict[str, Any]:
    """A channel's policy in JSON."""
    return {
        "channel": entry.channel,
        "dm": entry.policy.dm.value,
        "group": entry.policy.group.value,
        "wrong_codes": entry.wrong_codes,
        "alarm": entry.alarm,
    }


def _who(key: str, person: PersonId | None) -> dict[str, str]:
    if person is None:
        return {"channel": key.partition(".")[0], "account": "", "user": "(damaged record)"}
    return {"channel": person.channel, "account": person.account, "user": person.user}


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
