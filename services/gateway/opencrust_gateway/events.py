"""GET /v1/conversations/{name}/events: a conversation's history, then its live events, as server-sent events."""

from aiohttp import web

from opencrust.bus import BusError
from opencrust_gateway import frames
from opencrust_gateway.authentication import LiveConnections
from opencrust_gateway.conversations import Conversation
from opencrust_gateway.errors import ApiError, bus_away
from opencrust_gateway.history import conversation_name
from opencrust_gateway.http import KEEP_ALIVE, EventStream, principal
from opencrust_gateway.hub import Hub
from opencrust_gateway.mailbox import Mailbox


class Events:
    """The handler."""

    def __init__(self, hub: Hub, live: LiveConnections) -> None:
        self._hub = hub
        self._live = live

    async def follow(self, request: web.Request) -> web.StreamResponse:
        """First `{"type": "history", …}`, then event frames as on the WebSocket.

        A client that does not keep up loses live pieces of text, which shows as a gap in `index`, but no
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
                    await stream.start(request)
                    turns = frames.history(conversation, view)
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

    @staticmethod
    async def _pass_on(stream: EventStream, mailbox: Mailbox) -> None:
        seq = 0
        while True:
            notice = await mailbox.get(KEEP_ALIVE)
            if notice is None:
                await stream.comment()
            else:
                seq += 1
                await stream.data(frames.event(notice, seq), event_id=seq)
