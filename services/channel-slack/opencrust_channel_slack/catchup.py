"""What Slack did not bring: read by the Web API after every new connection, before anything live in the same place.

Slack brings an unacknowledged event again, but some seconds or minutes later, after what was written since; and after
some minutes not at all. Reading the conversation keeps the order and fills longer gaps. Places are private
conversations, channels and threads in which something was said to us lately.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

from opencrust.channel.adapter import InEvent, Runtime
from opencrust.channel.cursors import Cursors, later
from opencrust_channel_slack.api import Api, NoAnswer, Refusal
from opencrust_channel_slack.events import Me, message_event

log = logging.getLogger(__name__)

PAGE: Final = 200
MOST_PAGES: Final = 5
OVERLAP: Final = 5.0
"""Seconds before the cursor that are read again: events overtake each other within them."""
ATTEMPTS: Final = 4

Hand = Callable[[InEvent], Awaitable[object]]


class CatchUp:
    """The places of one workspace.

    Args:
        hand: hands an event on, and returns when it is stored.
    """

    def __init__(self, runtime: Runtime, api: Api, me: Me, hand: Hand) -> None:
        self.cursors = Cursors(runtime.cursor, runtime.keep)
        self._api = api
        self._me = me
        self._hand = hand
        self._session = 0
        self._done: dict[str, int] = {}
        self.allowed = True
        """Slack lets us read; else a scope is missing."""

    def begin(self) -> None:
        """A connection was made: what was said before it may be missing."""
        self._session += 1

    async def before(self, place: str, stamp: str) -> None:
        """An event of this place is at hand: first what came before it. Raises BusError."""
        await self.cursors.meet(place)
        # of a place that is new to us, nothing is read: this is its first message
        await self.cursors.get(place, _earlier(stamp))
        await self.read(place)

    async def read(self, place: str) -> None:
        """Read what is later than the cursor, once after each new connection. Raises BusError."""
        session = self._session
        if self._done.get(place) == session or not self.allowed:
            return
        cursor = await self.cursors.get(place, "0")
        if cursor != "0":
            for message in await self._messages(place, cursor):
                event = message_event({**message, "channel": place.partition(":")[0], "type": "message"}, self._me)
                if event is not None:
                    await self._hand(event)
                self.cursors.advance(place, str(message["ts"]))
        self._done[place] = session

    async def _messages(self, place: str, cursor: str) -> list[Mapping[str, Any]]:
        """Oldest first; none where we may not read."""
        channel, _, thread = place.partition(":")
        where: dict[str, Any] = {"channel": channel, "oldest": _earlier(cursor), "limit": PAGE}
        method = "conversations.history"
        if thread:
            method, where["ts"] = "conversations.replies", thread
        found: dict[str, Mapping[str, Any]] = {}
        for _ in range(MOST_PAGES):
            answer = await self._asked(method, where)
            messages = answer.get("messages")
            for message in messages if isinstance(messages, list) else []:
                stamp = message.get("ts") if isinstance(message, Mapping) else None
                if isinstance(stamp, str) and later(stamp, where["oldest"]):
                    found[stamp] = message
            more = answer.get("response_metadata")
            after = more.get("next_cursor") if isinstance(more, Mapping) else None
            if not after or not answer.get("has_more"):
                break
            where["cursor"] = after
        return [found[stamp] for stamp in sorted(found, key=_place_in_time)]

    async def _asked(self, method: str, where: Mapping[str, Any]) -> Mapping[str, Any]:
        for attempt in range(ATTEMPTS):
            try:
                return await self._api.call(method, **where)
            except Refusal as error:
                if error.status != 429:
                    if error.error == "missing_scope":
                        self.allowed = False
                        log.warning("Slack does not let us read what was missed: a scope ending in :history is missing")
                    return {}
                await asyncio.sleep(max(error.after, 1.0))
            except NoAnswer:
                await asyncio.sleep(0.3 * 2**attempt)
        return {}  # Slack brings what was not acknowledged by itself


def place_of(event: Mapping[str, Any]) -> str:
    """Where an event was written: a conversation, or a thread in it."""
    channel, thread = event.get("channel"), event.get("thread_ts")
    if isinstance(thread, str) and thread and thread != event.get("ts"):
        return f"{channel}:{thread}"
    return str(channel)


def _earlier(stamp: str) -> str:
    try:
        return f"{max(0.0, float(stamp) - OVERLAP):.6f}"
    except ValueError:
        return "0"


def _place_in_time(stamp: str) -> tuple[int, int]:
    whole, _, part = stamp.partition(".")
    return (int(whole), int(part)) if whole.isdigit() and part.isdigit() else (0, 0)
