"""What the pairing desk is asked by the command line, and what it tells: ``pair.req.cli.<op>``.

What adapters ask is in :mod:`opencrust.access.people` (:class:`~opencrust.access.people.PairingRequest`). The gateway's
REST answers are made of the same entries.
"""

from typing import Annotated, Final

from pydantic import AwareDatetime, Field, StringConstraints

from opencrust.access.people import ChannelPolicy, Name, PersonId, Role
from opencrust.contracts.base import Contract, Versioned
from opencrust.contracts.messages import Channel, PlatformId

KEY_PATTERN: Final = r"^[a-z][a-z0-9]{0,30}\.person\.[a-z2-7]{26}$"
Key = Annotated[str, StringConstraints(pattern=KEY_PATTERN)]
"""A person's key (:attr:`~opencrust.access.people.PersonId.key`): what lists show and what is asked by."""


class PersonEntry(Contract):
    """A person in a list."""

    key: Key
    id: PersonId | None = None
    """None where the record is damaged; then nothing else of it is known, and it lets nobody in."""
    role: Role = Role.GUEST
    name: Name = ""
    blocked: bool = False
    active: bool = False
    """On the list now: neither blocked nor expired."""
    approved_by: Name = ""
    since: AwareDatetime | None = None
    expires: AwareDatetime | None = None


class RequestEntry(Contract):
    """A stranger who waits. Its id is his key."""

    id: Key
    person: PersonId
    name: Name = ""
    created: AwareDatetime
    expires: AwareDatetime


class InviteEntry(Contract):
    """An invitation that nobody has redeemed yet."""

    channel: Channel
    account: PlatformId | None = None
    role: Role
    name: Name = ""
    by: Name = ""
    created: AwareDatetime
    expires: AwareDatetime
    until: AwareDatetime | None = None


class ChannelEntry(Contract):
    """A channel: its policy, and whether somebody is guessing codes there."""

    channel: Channel
    policy: ChannelPolicy
    wrong_codes: int = 0
    """Within the last hour."""
    alarm: bool = False


class PersonChange(Contract):
    """What to change of a person; what is not given stays. Who is not on the list yet is put there, given ``id``."""

    id: PersonId | None = None
    role: Role | None = None
    name: Name | None = None
    blocked: bool | None = None
    expires: AwareDatetime | None = None
    """Until when."""
    forever: bool = False
    """Without an end, if there was one."""


class InviteWish(Contract):
    """An invitation to make."""

    channel: Channel
    account: PlatformId | None = None
    """Only for this account of ours there; None: for any of the channel."""
    role: Role = Role.USER
    name: Name = ""
    until: AwareDatetime | None = None


class DeskRequest(Versioned):
    """To ``pair.req.cli.<op>``; each op reads what it needs.

    ``list`` · ``people`` · ``invite`` (``invite``) · ``decide`` (``key`` or ``code``, ``approve``, ``role``) ·
    ``set`` (``key`` or ``change.id``, ``change``) · ``remove`` (``key``) · ``policy`` (``channel``; ``policy`` to set).
    """

    channel: Channel | None = None
    key: Key | None = None
    code: Annotated[str, StringConstraints(max_length=64)] = Field(default="", repr=False)
    approve: bool = True
    role: Role = Role.USER
    change: PersonChange | None = None
    invite: InviteWish | None = None
    policy: ChannelPolicy | None = None


class DeskReply(Versioned):
    """The answer: what was asked for, or an ``error`` that says what was wrong and what to do."""

    people: list[PersonEntry] = []
    requests: list[RequestEntry] = []
    invites: list[InviteEntry] = []
    channels: list[ChannelEntry] = []
    code: Annotated[str, StringConstraints(max_length=64)] = Field(default="", repr=False)
    """Of a fresh invitation; shown this once."""
    expires: AwareDatetime | None = None
    error: Annotated[str, StringConstraints(max_length=500)] = ""
