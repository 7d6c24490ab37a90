"""GET /v1/conversations, and one of them: what was said."""

from typing import Any

from aiohttp import web
from pydantic import AwareDatetime, BaseModel, TypeAdapter, ValidationError

from opencrust_gateway import frames
from opencrust_gateway.conversations import Conversation, ConversationName
from opencrust_gateway.errors import ApiError
from opencrust_gateway.http import documented, principal, told
from opencrust_gateway.hub import Hub
from opencrust_gateway.index import ConversationIndex

_NAME: TypeAdapter[str] = TypeAdapter(ConversationName)


class ListedConversation(BaseModel):
    """One conversation in the list. `title` is the beginning of its first message."""

    name: str
    title: str
    at: AwareDatetime


class Conversations(BaseModel):
    """The latest used first."""

    conversations: list[ListedConversation]


class History(BaseModel):
    """The last turns, oldest first; their fields are in docs/websocket.md."""

    conversation: str
    history: list[dict[str, Any]]


class Histories:
    """The handlers."""

    def __init__(self, hub: Hub, index: ConversationIndex) -> None:
        self._hub = hub
        self._index = index

    @documented(answer=Conversations)
    async def list(self, request: web.Request) -> web.StreamResponse:
        """GET /v1/conversations: the caller's own, the latest used first."""
        entries = await self._index.of(principal(request).owner)
        listed = [ListedConversation(name=entry.name, title=entry.title, at=entry.at) for entry in entries]
        return told(Conversations(conversations=listed))

    @documented(answer=History)
    async def show(self, request: web.Request) -> web.StreamResponse:
        """GET /v1/conversations/{name}: its last turns."""
        conversation = Conversation(principal(request).owner, conversation_name(request))
        view = await self._hub.history(conversation)
        return told(History(conversation=conversation.name, history=frames.history(conversation, view)))


def conversation_name(request: web.Request) -> str:
    """The conversation that the path names. Raises ApiError 400."""
    try:
        return _NAME.validate_python(request.match_info["name"])
    except ValidationError:
        raise ApiError(400, "invalid_name", "not a conversation's name: 1 to 128 printable characters") from None
