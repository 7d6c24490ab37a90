"""What may be asked about who may speak. Called by the bus (``wire``) and by the gateway's own REST handlers."""

import asyncio
import contextlib
import logging
import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final

from opencrust.access.desk import (
    KEY_PATTERN,
    ChannelEntry,
    InviteEntry,
    InviteWish,
    PersonChange,
    PersonEntry,
    RequestEntry,
)
from opencrust.access.pairing import (
    CODE_TTL,
    LOCK,
    MAX_PENDING,
    MAX_TRIES,
    REISSUE_AFTER,
    Invite,
    Request,
    Stretched,
    blocked,
    joined,
    matching,
    new_code,
    parse_code,
    same,
    shown,
)
from opencrust.access.people import ChannelPolicy, DmPolicy, PairingOutcome, PairingReply, Person, PersonId, Role
from opencrust.bus import Bus, BusError
from opencrust.bus.registry import CHANNELS
from opencrust.contracts.base import ContractError
from opencrust_gateway.limits import Rate
from opencrust_gateway.pairing import waiting
from opencrust_gateway.pairing.people import Contended, PeopleStore
from opencrust_gateway.pairing.tries import RATE, TriesStore, alarmed
from opencrust_gateway.record import Record

log = logging.getLogger(__name__)

PLATFORMS: Final = tuple(channel.name for channel in CHANNELS if channel.name != "web")
_NOT_A_CODE: Final = "00000000"
"""Stretched in the place of what cannot be a code, so that a slip of the finger takes as long as a wrong code."""

OFFER = (
    "I only speak with people my operator knows. Give the operator this code: {code}\n"
    "It works for 10 minutes. If you were given an invitation code, send: /pair CODE"
)
WELCOME = "Welcome! You are on the list now: just write to me."
ALREADY = "You are on the list already: just write to me."
WRONG = "This code is not valid: wrong, used already, or expired. Ask for a new one."
LOCKED = "Too many codes were tried. Nothing is looked at for a while: try again in an hour."
NOT_YOURS = "Only an operator of this bot may do that."


class DeskError(Exception):
    """The operator asked for something that cannot be.

    Parameters:
        code: ``not_found``, ``invalid``, ``forbidden`` or ``busy``.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class Desk:
    """Every method raises BusError when the bus is away; then nothing was changed, or what was begun is finished later.

    ``by`` is who asks, as the record will show it.
    """

    def __init__(self, bus: Bus, *, rate: Rate = RATE) -> None:
        self._bus = bus
        self._people = PeopleStore(bus)
        self._requests = waiting.requests(bus)
        self._invites = waiting.invites(bus)
        self._tries = TriesStore(bus, rate)
        self._record = Record(bus)
        self._alarms: dict[str, datetime] = {}

    def facts(self) -> dict[str, object]:
        """Channels on which somebody guesses codes, as far as this replica has seen it: for the health answer."""
        now = _now()
        return {"pairing_alarms": sorted(name for name, seen in self._alarms.items() if now - seen < LOCK)}

    async def resume(self) -> None:
        """Carry out what a desk that died, or lost the bus, had claimed."""
        now = _now()
        with contextlib.suppress(Contended):  # then others are at it
            for request, revision in await self._requests.live("*", now):
                if request.approved is not None:
                    await self._carry_out(request, revision, now)
            for invite, revision in await self._invites.live("*", now):
                if invite.redeemed_by is not None:
                    await self._let_in(invite, invite.redeemed_by, "", revision, now)

    # -- for strangers, asked by the adapter of their channel

    async def request(self, person: PersonId, name: str) -> PairingReply:
        """A stranger wrote: a code for him, if his channel's policy is pairing."""
        now = _now()
        existing = await self._people.person(person)
        if existing is not None and existing.blocked:
            return PairingReply(outcome=PairingOutcome.REFUSED)
        if existing is not None and existing.valid(now):
            return PairingReply(outcome=PairingOutcome.PAIRED, text=ALREADY)
        if (await self._people.policy(person.channel)).dm is not DmPolicy.PAIRING:
            return PairingReply(outcome=PairingOutcome.REFUSED)
        name_of_request = waiting.request_name(person)
        before, revision = await self._requests.get(name_of_request, now)
        if before is not None and before.approved is not None:
            after = await self._carry_out(before, revision, now)
            return PairingReply(outcome=PairingOutcome.REFUSED if after.blocked else PairingOutcome.PAIRED)
        if before is not None and now - before.created < REISSUE_AFTER:
            return PairingReply(outcome=PairingOutcome.OFFERED, expires=before.expires)
        if before is None and len(await self._requests.live(person.channel, now)) >= MAX_PENDING:
            log.warning("more than %d strangers wait on %s: one more is not noted", MAX_PENDING, person.channel)
            return PairingReply(outcome=PairingOutcome.REFUSED)
        code = new_code()
        digest = (await self._stretch(code)).bound("request", person.channel, person.account)
        fresh = Request(person=person, name=name, digest=digest, created=now, expires=now + CODE_TTL)
        if before is None:
            await self._record.write("pairing.requested", {"name": name}, person=person)
        if not await self._requests.put(name_of_request, fresh, revision=revision, now=now):
            return PairingReply(outcome=PairingOutcome.OFFERED)  # another replica was faster, and has told him
        if before is None:
            await self._tell_operators(lambda operator: _request_notice(operator, fresh), now)
        text = OFFER.format(code=shown(code))
        return PairingReply(outcome=PairingOutcome.OFFERED, text=text, code=shown(code), expires=fresh.expires)

    async def redeem(self, person: PersonId, name: str, code: str) -> PairingReply:
        """Somebody sent a code: if it is a live invitation for here, he is on the list.

        Wrong, used, expired and made for elsewhere look the same; where the channel's policy is to drop strangers in
        silence, they are told nothing. Of two who redeem one code one gets in.
        """
        now = _now()
        existing = await self._people.person(person)
        if existing is not None and existing.blocked:
            return PairingReply(outcome=PairingOutcome.REFUSED)
        reply = await self._redeem(person, name, code, now)
        if reply.outcome is PairingOutcome.PAIRED:
            return reply
        if existing is not None and existing.valid(now):  # he sent it again, as he was not told that it had worked
            return PairingReply(outcome=PairingOutcome.PAIRED, text=ALREADY)
        silent = (await self._people.policy(person.channel)).dm is DmPolicy.ALLOWLIST
        return PairingReply(outcome=reply.outcome) if silent else reply

    async def _redeem(self, person: PersonId, name: str, code: str, now: datetime) -> PairingReply:
        nth = await self._tries.take(person, now)
        if nth is None:
            return PairingReply(outcome=PairingOutcome.LOCKED, text=LOCKED)
        stretched = await self._stretch(parse_code(code) or _NOT_A_CODE)
        for account in (person.account, None):
            digest = stretched.bound("invite", person.channel, account)
            shelf_name = waiting.invite_name(person.channel, digest)
            invite, revision = await self._invites.get(shelf_name, now)
            if invite is None or not same(invite.digest, digest) or invite.redeemed_by not in (None, person):
                continue
            if invite.redeemed_by is None:
                claimed = invite.model_copy(update={"redeemed_by": person})
                if not await self._invites.put(shelf_name, claimed, revision=revision, now=now):
                    continue
            await self._let_in(invite, person, name, None, now)
            await self._tries.forgive(person)
            return PairingReply(outcome=PairingOutcome.PAIRED, text=WELCOME)
        return await self._wrong(person, nth, now)

    async def decide_on_channel(self, by: PersonId, code: str, approve: bool) -> PairingReply:
        """Somebody on a channel approves or blocks a code: if he is an operator there, by our own records."""
        now = _now()
        operator = await self._people.person(by)
        if operator is None or not operator.valid(now) or operator.role is not Role.OPERATOR:
            return PairingReply(outcome=PairingOutcome.REFUSED, text=NOT_YOURS)
        nth = await self._tries.take(by, now)
        if nth is None:
            return PairingReply(outcome=PairingOutcome.LOCKED, text=LOCKED)
        request = await self._by_code(by.channel, by.account, code, now)
        if request is None:
            return await self._wrong(by, nth, now)
        await self._tries.forgive(by)
        after = await self._decide(request, approve, Role.USER, _called(operator), now)
        text = f"{printable(after.name) or 'This person'} {'is blocked' if after.blocked else 'may write to me now'}."
        return PairingReply(outcome=PairingOutcome.DONE, text=text)

    # -- for the operator, by command line and REST

    async def decide(
        self, *, key: str = "", channel: str = "*", code: str = "", approve: bool, role: Role = Role.USER, by: str
    ) -> PersonEntry:
        """Approve or block a stranger who waits, by his key or his code. Raises DeskError."""
        now = _now()
        live = [request for request, _ in await self._requests.live(channel, now)]
        if key:
            found = next((request for request in live if request.person.key == key), None)
        else:
            found = None
            for place in dict.fromkeys((request.person.channel, request.person.account) for request in live):
                found = found or await self._by_code(*place, code, now)
        if found is None:
            raise DeskError("not_found", "nobody waits under that code or id any more: a request lasts 10 minutes")
        return _entry(found.person.key, await self._decide(found, approve, role, by, now), now)

    async def invite(self, wish: InviteWish, *, by: str) -> tuple[str, InviteEntry]:
        """A fresh code for somebody, shown once. Raises DeskError."""
        now = _now()
        _check_channel(wish.channel)
        _check_time(wish.until, now)
        code = new_code()
        digest = (await self._stretch(code)).bound("invite", wish.channel, wish.account)
        invite = Invite(
            channel=wish.channel,
            account=wish.account,
            role=wish.role,
            name=wish.name,
            until=wish.until,
            by=by,
            digest=digest,
            created=now,
            expires=now + CODE_TTL,
        )
        told = {"channel": wish.channel, "account": wish.account, "role": wish.role}
        await self._record.write("pairing.invited", told, by=by)
        if not await self._invites.put(waiting.invite_name(wish.channel, digest), invite, revision=0, now=now):
            raise DeskError("busy", "this code exists already: try again")  # one in 2^40
        return shown(code), _invite_entry(invite)

    async def pending(self, channel: str = "*") -> tuple[list[RequestEntry], list[InviteEntry]]:
        """Who waits, and which invitations are out."""
        now = _now()
        asked = [request for request, _ in await self._requests.live(channel, now) if request.approved is None]
        invited = [invite for invite, _ in await self._invites.live(channel, now) if invite.redeemed_by is None]
        return [_request_entry(request) for request in asked], [_invite_entry(invite) for invite in invited]

    async def people(self, channel: str = "*") -> list[PersonEntry]:
        """Everybody who is or was on a list, damaged records too."""
        now = _now()
        entries = []
        for key in await self._people.keys(channel):
            try:
                person = await self._people.by_key(key)
            except ContractError:
                entries.append(PersonEntry(key=key, blocked=True))
                continue
            if person is not None:
                entries.append(_entry(key, person, now))
        return entries

    async def change(self, key: str, change: PersonChange, *, by: str, operators: bool) -> PersonEntry:
        """Change a person, or put one on the list (then ``change.id`` says whom).

        Parameters:
            operators: whether who asks may make operators, and change them.

        Raises DeskError.
        """
        now = _now()
        _check_key(key)
        if change.id is not None and change.id.key != key:
            raise DeskError("invalid", "the id is not the person of that key")
        _check_time(change.expires, now)
        person = change.id or await self._id_of(key)
        _check_channel(person.channel)
        if not operators:
            await self._check_no_operator(key, change.role)
        given = {field: value for field in _CHANGEABLE if (value := getattr(change, field)) is not None}
        if change.forever:
            given["expires"] = None
        told = {name: value.isoformat() if isinstance(value, datetime) else value for name, value in given.items()}
        await self._record.write("people.changed", told, by=by, person=person)

        def changed(before: Person | None) -> Person:
            if before is not None and before.role is Role.OPERATOR and not operators:
                raise DeskError("forbidden", _ADMIN_ONLY)
            start = before or Person(id=person, role=Role.USER, approved_by=by, since=now)
            return start.model_copy(update=given)

        return _entry(key, await self._people.change(person, changed), now)

    async def remove(self, key: str, *, by: str, operators: bool) -> None:
        """Take a person off the list: a stranger again, who may ask again. Raises DeskError."""
        _check_key(key)
        if not operators:
            await self._check_no_operator(key, None)
        channel = key.partition(".")[0]
        if key not in await self._people.keys(channel):
            raise DeskError("not_found", _NOBODY)
        await self._record.write("people.removed", {"channel": channel, "key": key}, by=by)
        if not await self._people.remove(key):
            raise DeskError("not_found", _NOBODY)

    async def channels(self) -> list[ChannelEntry]:
        """Every channel with its policy, and whether somebody guesses codes there."""
        return [await self.channel(name) for name in PLATFORMS]

    async def channel(self, name: str) -> ChannelEntry:
        """One of them. Raises DeskError."""
        _check_channel(name)
        wrongs = await self._tries.wrongs(name, _now())
        policy = await self._people.policy(name)
        return ChannelEntry(channel=name, policy=policy, wrong_codes=wrongs, alarm=alarmed(wrongs))

    async def set_policy(self, name: str, policy: ChannelPolicy, *, by: str) -> ChannelEntry:
        """Set a channel's policy. Raises DeskError."""
        _check_channel(name)
        await self._record.write("policy.changed", {"channel": name, "dm": policy.dm, "group": policy.group}, by=by)
        await self._people.set_policy(name, ChannelPolicy(dm=policy.dm, group=policy.group))
        return await self.channel(name)

    # -- steps that several share

    async def _stretch(self, code: str) -> Stretched:
        return await asyncio.to_thread(Stretched.of, code, await waiting.salt(self._bus))

    async def _by_code(self, channel: str, account: str, code: str, now: datetime) -> Request | None:
        stretched = await self._stretch(parse_code(code) or _NOT_A_CODE)
        live = [request for request, _ in await self._requests.live(channel, now)]
        return matching(live, stretched, channel, account)

    async def _decide(self, request: Request, approve: bool, role: Role, by: str, now: datetime) -> Person:
        """Claim the decision, then carry it out. Who comes second learns what was decided before him."""
        name = waiting.request_name(request.person)
        present, revision = await self._requests.get(name, now)
        if present is None or not same(present.digest, request.digest):
            raise DeskError("not_found", "this request was decided, or asked anew, just now: look again")
        if present.approved is None:
            decided = present.model_copy(update={"approved": approve, "decided_by": by, "role": role})
            if not await self._requests.put(name, decided, revision=revision, now=now):
                raise DeskError("busy", "somebody decided this at the same moment: look again")
            present, revision = await self._requests.get(name, now)
            if present is None:
                raise DeskError("busy", "somebody decided this at the same moment: look again")
        return await self._carry_out(present, revision, now)

    async def _carry_out(self, request: Request, revision: int, now: datetime) -> Person:
        person, by = request.person, request.decided_by
        event = "pairing.approved" if request.approved else "pairing.blocked"
        await self._record.write(event, by=by, person=person)

        def after(before: Person | None) -> Person:
            if request.approved:
                return joined(before, person, role=request.role, name=request.name, by=by, until=None, now=now)
            return blocked(before, person, name=request.name, by=by, now=now)

        record = await self._people.change(person, after)
        await self._requests.delete(waiting.request_name(person), revision)
        if request.approved:
            await self._tell(person, WELCOME, now)
        return record

    async def _let_in(self, invite: Invite, person: PersonId, name: str, revision: int | None, now: datetime) -> None:
        await self._record.write("pairing.redeemed", {"role": invite.role}, by=invite.by, person=person)

        def after(before: Person | None) -> Person:
            if before is not None and before.blocked:
                return before
            named = invite.name or name
            return joined(before, person, role=invite.role, name=named, by=invite.by, until=invite.until, now=now)

        await self._people.change(person, after)
        await self._invites.delete(waiting.invite_name(invite.channel, invite.digest), revision)

    async def _wrong(self, person: PersonId, nth: int, now: datetime) -> PairingReply:
        wrongs = await self._tries.wrong(person.channel, now)
        log.warning("a wrong pairing code on %s, %d within the hour", person.channel, wrongs)
        if alarmed(wrongs):
            self._alarms[person.channel] = now
        if alarmed(wrongs) and not alarmed(wrongs - 1):
            await self._record.write("pairing.alarm", {"channel": person.channel, "wrong_codes": wrongs})
            text = f"Somebody is guessing pairing codes on {person.channel}: {wrongs} wrong ones within an hour."
            await self._tell_operators(lambda _: text, now)
        elif not alarmed(wrongs) and nth == MAX_TRIES:
            await self._record.write("pairing.locked", person=person)
        return PairingReply(outcome=PairingOutcome.WRONG, text=WRONG)

    async def _tell_operators(self, text: Callable[[Person], str], now: datetime) -> None:
        try:
            operators = [p for p in await self._people.people() if p.role is Role.OPERATOR and p.valid(now)]
        except BusError as error:
            log.warning("the operators could not be told: %s", error)
            return
        for operator in operators:
            await self._tell(operator.id, text(operator), now)

    async def _tell(self, person: PersonId, text: str, now: datetime) -> None:
        try:
            await self._people.tell(person, text, now=now, until=now + CODE_TTL)
        except BusError as error:
            log.warning("a notice for %s could not be left: %s", person.channel, error)

    async def _id_of(self, key: str) -> PersonId:
        try:
            person = await self._people.by_key(key)
        except ContractError:
            raise DeskError(
                "invalid", "this record is damaged: remove it, or set it anew with channel and id"
            ) from None
        if person is None:
            raise DeskError("not_found", _NOBODY)
        return person.id

    async def _check_no_operator(self, key: str, role: Role | None) -> None:
        """Who may only pair neither makes operators nor changes them: that would be more than he holds himself."""
        try:
            person = await self._people.by_key(key)
        except ContractError:
            person = None
        if role is Role.OPERATOR or (person is not None and person.role is Role.OPERATOR):
            raise DeskError("forbidden", _ADMIN_ONLY)


_CHANGEABLE: Final = ("role", "name", "blocked", "expires")
_NOBODY: Final = "there is no such person: see the list of people"
_ADMIN_ONLY: Final = "operators are made and changed with the scope 'admin', or at the machine's own command line"


def printable(text: str) -> str:
    """A stranger's name as it may be shown: what is no visible character is left out."""
    return "".join(c for c in text if c.isprintable())[:64].strip()


def _now() -> datetime:
    return datetime.now(UTC)


def _called(person: Person) -> str:
    return f"{printable(person.name) or person.id.user} on {person.id.channel}"[:255]


def _check_key(key: str) -> None:
    if re.fullmatch(KEY_PATTERN, key) is None:
        raise DeskError("not_found", _NOBODY)


def _check_channel(name: str) -> None:
    if name not in PLATFORMS:
        raise DeskError("not_found", f"there is no channel {name!r} to pair on: choose from {', '.join(PLATFORMS)}")


def _check_time(until: datetime | None, now: datetime) -> None:
    if until is not None and until <= now:
        raise DeskError("invalid", "the time at which it should end has passed already")


def _request_notice(operator: Person, request: Request) -> str:
    person = request.person
    who = f"{printable(request.name) or 'somebody'} ({printable(person.user)}) on {person.channel}"
    here = (person.channel, person.account) == (operator.id.channel, operator.id.account)
    how = "here: /pair approve CODE (or /pair block CODE)" if here else "in the web app, or with `opencrust pair`"
    return f"A stranger asks to speak with me: {who}. If you know them, ask for their code and approve it {how}."


def _entry(key: str, person: Person, now: datetime) -> PersonEntry:
    return PersonEntry(
        key=key,
        id=person.id,
        role=person.role,
        name=person.name,
        blocked=person.blocked,
        active=person.valid(now),
        approved_by=person.approved_by,
        since=person.since,
        expires=person.expires,
    )


def _request_entry(request: Request) -> RequestEntry:
    return RequestEntry(
        id=request.person.key,
        person=request.person,
        name=request.name,
        created=request.created,
        expires=request.expires,
    )


def _invite_entry(invite: Invite) -> InviteEntry:
    return InviteEntry(
        channel=invite.channel,
        account=invite.account,
        role=invite.role,
        name=invite.name,
        by=invite.by,
        created=invite.created,
        expires=invite.expires,
        until=invite.until,
    )
