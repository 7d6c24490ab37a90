"""What is said on the bus: envelopes and payloads, as pydantic models.

Every message is one JSON object in UTF-8 with a ``v`` (version) field. The policy, the same for every model here:

* a message of a version that we do not know is refused by name (:class:`UnknownVersion`), never guessed at;
* unknown fields of a known version are *kept* and travel on, so that an older service passes on what a newer one said;
* sizes are bounded here, before anything else looks at the content;
* errors name the field and the rule, never the value (``hide_input_in_errors``).

``python -m opencrust.contracts`` writes the JSON Schemas and the AsyncAPI 3 document that are generated from these
models and from the subject registry into ``docs/contracts``; ``--check`` fails when the files there have drifted.
"""

from opencrust.contracts.approvals import Approval, ApprovalsReply, ApprovalState, Decision
from opencrust.contracts.base import ContractError, Malformed, TooLarge, UnknownVersion, decode, encode
from opencrust.contracts.conversation import conversation_key
from opencrust.contracts.events import EventType, TurnEvent
from opencrust.contracts.journal import CallState, Journal, JournalCall, Outcome, Step
from opencrust.contracts.messages import (
    ApprovalCard,
    Attachment,
    CardDecided,
    CardOutcome,
    ContextTurn,
    Delivery,
    Finish,
    InboundMessage,
    OutboundMessage,
    Receipt,
    ReplyAddress,
    Sender,
    Source,
    Trust,
    Usage,
)
from opencrust.contracts.plugins import PluginRecord, PluginRequest, PluginsReply
from opencrust.contracts.session import SessionView, Summary, Turn

__all__ = [
    "Approval",
    "ApprovalCard",
    "ApprovalState",
    "ApprovalsReply",
    "Attachment",
    "CallState",
    "CardDecided",
    "CardOutcome",
    "ContextTurn",
    "ContractError",
    "Decision",
    "Delivery",
    "EventType",
    "Finish",
    "InboundMessage",
    "Journal",
    "JournalCall",
    "Malformed",
    "OutboundMessage",
    "Outcome",
    "PluginRecord",
    "PluginRequest",
    "PluginsReply",
    "Receipt",
    "ReplyAddress",
    "Sender",
    "SessionView",
    "Source",
    "Step",
    "Summary",
    "TooLarge",
    "Trust",
    "Turn",
    "TurnEvent",
    "UnknownVersion",
    "Usage",
    "conversation_key",
    "decode",
    "encode",
]
