"""People on channels: who somebody is, what he may be, and whether a message of his is let in.

An identity is the triple (channel, account, user), never a bare id: user 123 of Telegram is not user 123 of Discord,
nor user 123 as another bot of ours sees him. Records lie in the bucket ``access`` under keys that begin with the
channel, so that an adapter reads its own channel's people and nobody else's; only the gateway's pairing desk writes
them. :func:`admit` is the one decision, made at the adapter and made again by the agent. Whatever cannot be read is
nobody: a fault here makes strangers, never owners.
"""

import base64
import hashlib
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Annotated

from pydantic import AwareDatetime, Field, StringConstraints

from opencrust.contracts.base import Contract, Versioned
from opencrust.contracts.messages import Channel, PlatformId, Trust

Name = Annotated[str, StringConstraints(max_length=255)]


class Role(StrEnum):
    """What a person is to this house."""

    OPERATOR = "operator"
    """The one whose house it is: approves, pairs, stops."""
    USER = "user"
    GUEST = "guest"
    """May chat; tools with effects are not for him."""


class DmPolicy(StrEnum):
    """Who may write to the bot in private."""

    PAIRING = "pairing"
    """People on the list; a stranger is offered a code that the operator can approve."""
    ALLOWLIST = "allowlist"
    """People on the list; a stranger is dropped in silence."""
    OPEN = "open"
    """Anybody, as a guest."""


class GroupPolicy(StrEnum):
    """Whether the bot answers in groups."""

    DISABLED = "disabled"
    MENTION = "mention"
    """People on the list, when they mention the bot or reply to it."""
    OPEN = "open"
    """Anybody who mentions the bot; strangers as guests."""


class ChannelPolicy(Versioned):
    """The policy of one channel: key ``<channel>.policy``; the defaults hold where there is none."""

    dm: DmPolicy = DmPolicy.PAIRING
    group: GroupPolicy = GroupPolicy.DISABLED


CLOSED = ChannelPolicy(dm=DmPolicy.ALLOWLIST, group=GroupPolicy.DISABLED)
"""What holds while a policy cannot be read."""


class PersonId(Contract):
    """One person on one channel, as seen by one account there."""

    channel: Channel
    account: PlatformId
    user: PlatformId

    @property
    def key(self) -> str:
        """The key in the bucket ``access``: a hash, as platform ids hold characters that keys may not hold."""
        digest = hashlib.sha256(b"opencrust person/1")
        for part in (self.channel, self.account, self.user):
            raw = part.encode()
            digest.update(len(raw).to_bytes(8, "big") + raw)
        return f"{self.channel}.person.{base64.b32encode(digest.digest()[:16]).decode().rstrip('=').lower()}"


class Person(Versioned):
    """What is known of a person who may speak, or may not any more."""

    id: PersonId
    role: Role
    name: Name = ""
    """What the operator calls him, else what he called himself; never to be trusted as text."""
    blocked: bool = False
    approved_by: Name = ""
    since: AwareDatetime
    expires: AwareDatetime | None = None

    def valid(self, now: datetime) -> bool:
        """On the list at ``now``: neither blocked nor expired."""
        return not self.blocked and (self.expires is None or now < self.expires)


def policy_key(channel: str) -> str:
    """The key of a channel's policy in the bucket ``access``."""
    return f"{channel}.policy"


class Verdict(StrEnum):
    """What becomes of a message."""

    ADMIT = "admit"
    OFFER_PAIRING = "offer_pairing"
    DROP = "drop"


@dataclass(frozen=True, slots=True)
class Admission:
    """The decision, and how far its author is trusted if it is let in."""

    verdict: Verdict
    trust: Trust = Trust.UNKNOWN
    reason: str = ""
    """For the log and the audit, in a word or two."""


_TRUST = {Role.OPERATOR: Trust.OWNER, Role.USER: Trust.USER, Role.GUEST: Trust.GUEST}


def admit(policy: ChannelPolicy, person: Person | None, *, is_group: bool, mentioned: bool, now: datetime) -> Admission:
    """Whether a message is let in.

    Args:
        person: the record of its sender; None where there is none.
        mentioned: in a group, whether the message mentions the bot or answers it.
    """
    if person is not None and person.blocked:
        return Admission(Verdict.DROP, reason="blocked")
    known = person if person is not None and person.valid(now) else None
    if is_group:
        if policy.group is GroupPolicy.DISABLED:
            return Admission(Verdict.DROP, reason="groups are disabled")
        if not mentioned:
            return Admission(Verdict.DROP, reason="not mentioned")
        if known is None and policy.group is not GroupPolicy.OPEN:
            return Admission(Verdict.DROP, reason="a stranger in a group")
    if known is not None:
        return Admission(Verdict.ADMIT, _TRUST[known.role], "on the list")
    if is_group or policy.dm is DmPolicy.OPEN:
        return Admission(Verdict.ADMIT, Trust.GUEST, "open to anybody")
    if policy.dm is DmPolicy.PAIRING:
        return Admission(Verdict.OFFER_PAIRING, reason="a stranger")
    return Admission(Verdict.DROP, reason="a stranger")


class PairingOutcome(StrEnum):
    """What the pairing desk says."""

    OFFERED = "offered"
    """``code`` is for the stranger to hand to the operator; ``request`` is under way."""
    PAIRED = "paired"
    WRONG = "wrong"
    """No such code, or no longer: one answer for both."""
    LOCKED = "locked"
    """Too many wrong tries; none is looked at for a while."""
    REFUSED = "refused"
    """Not for this asker: blocked, or no operator."""
    DONE = "done"
    """A decision (approve, block …) took effect."""
    UNAVAILABLE = "unavailable"
    """It cannot be known now, and nothing was changed: ask again later."""


class PairingRequest(Versioned):
    """To ``pair.req.<service>.<op>``.

    Ops of a channel: ``request`` (a stranger wrote), ``redeem`` (somebody sent ``code``), ``decide`` (``by``, an
    operator on this channel, approves or blocks ``code``).
    """

    person: PersonId | None = None
    name: Name = ""
    code: Annotated[str, StringConstraints(max_length=64)] = Field(default="", repr=False)
    by: PersonId | None = None
    approve: bool = True


class PairingReply(Versioned):
    """The desk's answer. ``text`` may be shown to the person as it is; where it is empty, say nothing."""

    outcome: PairingOutcome
    text: str = ""
    error: Annotated[str, StringConstraints(max_length=500)] = ""
    """What was wrong with the request itself: for the adapter's log."""
    code: Annotated[str, StringConstraints(max_length=64)] = Field(default="", repr=False)
    expires: AwareDatetime | None = None
