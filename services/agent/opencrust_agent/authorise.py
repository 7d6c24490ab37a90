"""Before anything else: is this stored message what its subject says, and may it be answered?

The broker lets only a channel's own adapter publish on that channel's subjects, so the subject is the identity that
counts. A message that claims another channel or another conversation is refused, whatever else it says.
"""

import json
from dataclasses import dataclass

from pydantic import ValidationError

from opencrust.bus.drain import Work
from opencrust.contracts import ContractError, InboundMessage, ReplyAddress, decode


class Refused(Exception):
    """The message is not answered by the model. The text is for the operator; it quotes nothing of the message."""


@dataclass(frozen=True, slots=True)
class Sender:
    """Where to say so: what could be read of a message that as a whole could not."""

    message_id: str
    address: ReplyAddress


def authorise(work: Work) -> InboundMessage:
    """The message, if it stands on the subject where it belongs.

    Raises:
        Refused: it is malformed, of an unknown version, or claims to be of elsewhere.
    """
    try:
        message = decode(InboundMessage, work.message.data)
    except ContractError as error:
        raise Refused(f"not a message of this version: {error}") from None
    if message.channel != work.channel or message.key != work.conv:
        raise Refused("it claims another channel or conversation than the subject it was published on")
    return message


def salvage(work: Work) -> Sender | None:
    """The sender of a refused message, if its reply address reads well *and* leads back to the same conversation."""
    try:
        value = json.loads(work.message.data)
        address = ReplyAddress.model_validate(value["reply_to"])
        message_id = value["id"]
    except (ValueError, KeyError, TypeError, RecursionError, ValidationError):
        return None
    if not isinstance(message_id, str) or not 0 < len(message_id) <= 255:
        return None
    if address.channel != work.channel or address.key != work.conv:
        return None
    return Sender(message_id, address)
