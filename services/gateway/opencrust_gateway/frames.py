"""The frames of the WebSocket protocol, version 1: what clients send, read and bounded; docs/websocket.md
tells all.
"""

import json
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, TypeAdapter, ValidationError, model_validator

from opencrust.contracts import OutboundMessage, SessionView
from opencrust.contracts.base import explain
from opencrust.contracts.messages import MAX_ATTACHMENTS, MAX_TEXT
from opencrust_gateway.attachments import AttachmentRef
from opencrust_gateway.conversations import Conversation, ConversationName, MessageId
from opencrust_gateway.errors import ApiError
from opencrust_gateway.notices import durable_seq, notice_of_reply, notice_of_turn

VERSION = 1


class _Frame(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class Auth(_Frame):
    """First frame of a client that brought no credential when it connected."""

    type: Literal["auth"]
    v: Any = VERSION
    token: Annotated[str, StringConstraints(max_length=200)]


class Request(_Frame):
    """One operation; `id` comes back in its answer."""

    type: Literal["req"]
    v: Any = VERSION
    id: Annotated[str, StringConstraints(min_length=1, max_length=128)]
    op: Annotated[str, StringConstraints(min_length=1, max_length=32)]
    params: dict[str, Any] = {}


class ConversationParams(_Frame):
    """Parameters of `open`, `close` and `stop`."""

    conversation: ConversationName


class ResumeParams(_Frame):
    """Parameters of `resume`: the largest `seq` that the client has of this conversation, 0 for none."""

    conversation: ConversationName
    after: Annotated[int, Field(ge=0, lt=2**62, strict=True)]


class SendParams(_Frame):
    """Parameters of `send`. Files are uploaded before, to POST /v1/attachments."""

    conversation: ConversationName
    text: Annotated[str, StringConstraints(max_length=MAX_TEXT)] = ""
    message_id: MessageId | None = None
    attachments: Annotated[list[AttachmentRef], Field(max_length=MAX_ATTACHMENTS)] = []

    @model_validator(mode="after")
    def _says_something(self) -> "SendParams":
        if not self.text and not self.attachments:
            raise ValueError("a message needs a text or an attachment")
        return self


class ApproveParams(_Frame):
    """Parameters of `approve`: `approve` false denies."""

    id: Annotated[str, StringConstraints(pattern=r"^[a-z2-7]{16}$")]
    approve: Annotated[bool, Field(strict=True)]


class NoParams(_Frame):
    """Parameters of `ping`."""


_Params = TypeVar("_Params", bound=BaseModel)
_ANY: TypeAdapter[Auth | Request] = TypeAdapter(Annotated[Auth | Request, Field(discriminator="type")])


def parse(text: str) -> Auth | Request:
    """Read a client's frame. Raises ApiError 400."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        raise ApiError(400, "invalid_json", "a frame is one JSON object") from None
    try:
        frame = _ANY.validate_python(value)
    except ValidationError as error:
        raise ApiError(400, "invalid_frame", explain(error)) from None
    if frame.v != VERSION or isinstance(frame.v, bool):
        raise ApiError(400, "unsupported_version", f"this gateway speaks version {VERSION}")
    return frame


def parse_params(model: type[_Params], params: dict[str, Any]) -> _Params:
    """Read an operation's parameters. Raises ApiError 400."""
    try:
        return model.model_validate(params)
    except ValidationError as error:
        raise ApiError(400, "invalid_params", explain(error)) from None


def request_id(text: str) -> str | None:
    """The id of a frame that could not be read as a whole, so that its sender can tell which one failed."""
    try:
        value = json.loads(text)
        found = value.get("id") if isinstance(value, dict) else None
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, str) and 0 < len(found) <= 128 else None


def history(conversation: Conversation, view: SessionView, *, after: int = 0) -> list[dict[str, Any]]:
    """The turns of a conversation whose `seq` is over `after`, oldest first, as `open` and `resume` tell them. One that
    waits for a word carries the question, as its reply did.
    """
    asked = {
        journal.seq: call.card.model_dump(mode="json")
        for journal in view.suspended
        for call in reversed(journal.waiting())
        if call.card is not None
    }
    turns = []
    for turn in view.turns:
        notice = notice_of_turn(conversation, turn)
        if not after or notice.data["seq"] > after:
            told = {"message_id": notice.message_id, "user_text": turn.text, **notice.data}
            turns.append(told | {"approval": asked[turn.seq]} if turn.seq in asked else told)
    return turns


def passage(conversation: Conversation, replies: list[OutboundMessage]) -> list[dict[str, Any]]:
    """Replies from the log in the form of turns. What was asked is not in the log: `user_text` is null."""
    turns = []
    for reply in replies:
        notice = notice_of_reply(conversation, reply)
        turns.append({"message_id": notice.message_id, "user_text": None, **notice.data})
    return turns


def last_seq(view: SessionView) -> int:
    """The durable number of the last reply in a session; 0 where there is none."""
    return max((durable_seq(turn.reply_id) for turn in view.turns), default=0)
