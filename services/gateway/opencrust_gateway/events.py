"""GET /v1/conversations/{name}/events: a conversation's history, then its live events, as server-sent events."""

from typing import Any

from aiohttp import web

from opencrust.bus import BusError
from opencrust.contracts import SessionView
from opencrust_gateway import frames
from opencrust_gateway.authentication import LiveConnections
from opencrust_gateway.conversations import Conversation
from opencrust_gateway.errors import ApiError, bus_away
from opencrust_gateway.history import conversation_name
from opencrust_gateway.http import KEEP_ALIVE, EventStream, principal
from opencrust_gateway.hub import Hub
from opencrust_gateway.mailbox import Mailbox


def last_event_id(request: web.Request) -> int:
    """The `seq` with which a client comes back; 0 where it comes for the first time. Raises ApiError 400."""
    shown = request.headers.get("Last-Event-ID", "")
    if not shown:
        return 0
    if not (shown.isascii() and shown.isdigit() and len(shown) < 19):
        raise ApiError(400, "invalid_last_event_id", "Last-Event-ID: the id of the last event, a number")
    return int(shown)


class Events:
    """The handler."""

    def __init__(self, hub: Hub, live: LiveConnections) -> None:
        self._hub = hub
        self._live = live

    async def follow(self, request: web.Request) -> web.StreamResponse:
        """First `{"type": "history", …}`, then event frames as on the WebSocket.

        The id of a reply is its `seq`: who comes back with Last-Event-ID, as browsers do, gets what came after it. A
        client that does not keep up loses live pieces of text, which shows as a gap in `index`, but no
        reply.
        """
        caller = principal(request)
        conversation = Conversation(caller.owner, conversation_name(request))
        stream = EventStream()
        mailbox = Mailbox()
        try:
            async with self._live.hold(caller):
                with self._hub.watch(conversation, mailbox.put, everything=True) as watcher:
                    watcher.hold()
                    await self._live.recheck(caller.token_id)  # it may have been revoked before we began to watch it
                    view = await self._hub.history(conversation)
                    turns = await self._turns(conversation, view, last_event_id(request))
                    await stream.start(request)
                    await stream.data({"type": "history", "conversation": conversation.name, "history": turns})
                    watcher.resume(view)
                    await self._pass_on(stream, mailbox)
        except ApiError as error:
            if not stream.response.prepared:
                raise
            await stream.data({"type": "error", "error": error.frame()})
        except BusError:
            raise bus_away() from None
        except ConnectionError:
            pass  # the client left
        return stream.response

    async def _turns(self, conversation: Conversation, view: SessionView, after: int) -> list[dict[str, Any]]:
        """The last turns, or all of them that came after the client's last event."""
        older: list[dict[str, Any]] = []
        while after:
            passage = await self._hub.passage(conversation, view, older[-1]["seq"] if older else after)
            older += frames.passage(conversation, passage.replies)
            if not passage.more:
                break
        return older + frames.history(conversation, view, after=after)

    @staticmethod
    async def _pass_on(stream: EventStream, mailbox: Mailbox) -> None:
        while True:
            notice = await mailbox.get(KEEP_ALIVE)
            if notice is None:
                await stream.comment()
            else:
                await stream.data(notice.text, event_id=notice.data.get("seq"))
