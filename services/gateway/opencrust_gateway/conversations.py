"""Conversations of channel "web": whose they are, what their ids on the bus are, and the envelope of a
message. Pure.

A client names its conversation and, if it wants to repeat a message safely, the message. On the bus the
conversation is a key made from the owner and the name, so nobody reaches another owner's; the message id is
prefixed by that key, since the stream compares ids over all conversations and two of them may well both hold
a message "1". The reply address is made here from the same parts; neither client nor model can choose it.
"""

import re
import secrets
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated

from pydantic import AfterValidator, StringConstraints

from opencrust.access.tokens import OPERATOR
from opencrust.contracts import (
    Attachment,
    ContextTurn,
    InboundMessage,
    ReplyAddress,
    Sender,
    Source,
    Trust,
    conversation_key,
)

CHANNEL = "web"
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


def _printable(name: str) -> str:
    if _CONTROL.search(name) or name != name.strip():
        raise ValueError("a name has no control characters and does not begin or end with a space")
    return name


ConversationName = Annotated[str, StringConstraints(min_length=1, max_length=128), AfterValidator(_printable)]
"""What a client calls its conversation."""

MessageId = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._:~-]{1,128}$")]
"""What a client calls its message; a UUID is a good choice."""


ONCE = "~once."
"""Names of conversations of clients that keep the conversation themselves begin so."""


def new_message_id() -> str:
    """A fresh message id, for a client that gave none."""
    return secrets.token_hex(16)


def is_stop(text: str) -> bool:
    """Whether a message is the command that ends the running turn: carried out at once, and passed on to nobody."""
    return text.strip().lower() == "/stop"


@dataclass(frozen=True, slots=True)
class Conversation:
    """One conversation of one owner."""

    owner: str
    name: str

    @property
    def key(self) -> str:
        """Its conversation key, the last token of its subjects."""
        return conversation_key(CHANNEL, self.owner, self.name)

    def bus_id(self, message_id: str) -> str:
        """The id on the bus of the message that the client calls `message_id`."""
        return f"{self.key}.{message_id}"

    def client_id(self, bus_id: str) -> str:
        """The way back. A message that no client sent (a schedule's) keeps its id."""
        return bus_id.removeprefix(f"{self.key}.")

    def inbound(
        self,
        message_id: str,
        text: str,
        now: datetime,
        *,
        context: list[ContextTurn] | None = None,
        attachments: list[Attachment] | None = None,
        source: Source = Source.USER,
        may_approve: bool = False,
    ) -> InboundMessage:
        """The envelope of a message that was written in this conversation. `may_approve`: its token holds that scope.

        Raises ValidationError (its text never repeats the value) if the text or the context breaks a bound.
        """
        trust = Trust.OWNER if self.owner == OPERATOR else Trust.USER
        bus_id = self.bus_id(message_id)
        return InboundMessage(
            id=bus_id,
            channel=CHANNEL,
            account=self.owner,
            conversation=self.name,
            sender=Sender(channel=CHANNEL, account=self.owner, user=self.owner),
            reply_to=ReplyAddress(channel=CHANNEL, account=self.owner, conversation=self.name, message=bus_id),
            text=text,
            context=context or [],
            attachments=attachments or [],
            platform_time=now,
            received_time=now,
            source=source,
            trust=trust,
            may_approve=may_approve,
            ephemeral=self.name.startswith(ONCE),
        )
