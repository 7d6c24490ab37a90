"""Approvals: what a person was asked, as it lies in the bucket ``approvals``, and the questions about them."""

from enum import StrEnum
from typing import Annotated

from pydantic import AwareDatetime, Field, StringConstraints

from opencrust.contracts.base import Versioned
from opencrust.contracts.messages import ApprovalCard, PlatformId, ReplyAddress


class ApprovalState(StrEnum):
    """Where an approval stands. From ``pending`` it goes to one of the others, once."""

    PENDING = "pending"
    APPROVED = "approved"
    DENIED = "denied"
    EXPIRED = "expired"
    USED = "used"
    """It was approved, and what it allowed was begun: it allows nothing more."""


class Approval(Versioned):
    """One question to a person. Written by the agent alone; key: its id."""

    card: ApprovalCard
    address: ReplyAddress
    """The conversation that waits for it."""
    requester: PlatformId
    """The user whose message led to it."""
    digest: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
    """SHA-256 of the tool's name and its exact arguments, canonical: what is approved is this and nothing else."""
    state: ApprovalState = ApprovalState.PENDING
    created: AwareDatetime
    decided: AwareDatetime | None = None
    decided_by: Annotated[str, StringConstraints(max_length=255)] = ""
    used_by: Annotated[str, StringConstraints(max_length=255)] = ""
    """Of a used one: conversation and message whose turn took it, so that the same turn may go on after a crash."""


class Decision(Versioned):
    """To ``ctl.approvals.<service>.decide``. ``by`` is for the record: the subject says who vouches for it."""

    id: Annotated[str, StringConstraints(pattern=r"^[a-z2-7]{16}$")]
    approve: bool
    by: Annotated[str, StringConstraints(max_length=255)] = ""


class ApprovalsReply(Versioned):
    """The answer to ``list`` (all that are pending, newest first) and to ``decide`` (the one, as it stands now)."""

    approvals: list[Approval] = Field(default=[], max_length=200)
    error: Annotated[str, StringConstraints(max_length=500)] = ""
    """What was wrong, and what to do; empty where nothing was."""
