"""What Slack did not bring, or brings too late: read by the Web API, before anything live in the same place.

Slack brings an unacknowledged event again, but some seconds or minutes later, after what was written since; and after
some minutes not at all. Reading the conversation keeps the order and fills longer gaps. It is read

- once in every place after a **gap**: the start, and each connection that was lost;
- before each event while there is **doubt**: for a minute after that (Slack may still send events to a connection that
  it does not know to be dead), and while other replicas listen (one may die with an event in hand, or be slower). Slack
  takes some fifty such calls a minute, so there is a :class:`Budget`: beyond it, in a flood, the order is not promised.

Places are private conversations, channels and threads in which something was said to us lately.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

from opencrust.bus import BusError
from opencrust.channel.adapter import InEvent, Runtime
from opencrust.channel.cursors import Cursors, later
from opencrust_channel_slack.api import Api, NoAnswer, Refusal
from opencrust_channel_slack.events import Me, message_event
from opencrust_channel_slack.order import Stamp

log = logging.getLogger(__name__)

PAGE: Final = 200
MOST_PAGES: Final = 5
OVERLAP: Final = 5.0
"""Seconds before the cursor that are read again: events overtake each other within them."""
UNKNOWN: Final = 300.0
"""Seconds that are read of a place that has no cursor: Slack's last try to bring an event is after so long."""
ATTEMPTS: Final = 4
LONGEST_WAIT: Final = 3.0
"""A live event waits no longer for Slack to let us read; Slack would bring it again."""
DOUBT_SECONDS: Final = 60.0
AT_ONCE: Final = 3
"""Places that are read side by side after a gap."""
MOST_KNOWN: Final = 5_000
FUTURE: Final = 86_400.0
"""A time stamp so far ahead of our clock is none: it moves no cursor, or nothing would be read ever after."""

Hand = Callable[[InEvent], Awaitable[object]]
InTurn = Callable[[str, Callable[[], Awaitable[None]]], None]
"""Does something for a place before what waits there."""


class Budget:
    """How often something may be done.

    Args:
        burst: at once, after a rest.
        minute: in the long run.
    """

    def __init__(self, burst: int, minute: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._most = float(burst)
        self._rate = minute / 60
        self._clock = clock
        self._left = float(burst)
        self._at = clock()

    def wait(self) -> float:
        """Seconds until it may be done."""
        now = self._clock()
        self._left = min(self._most, self._left + (now - self._at) * self._rate)
        self._at = now
        return max(0.0, (1 - self._left) / self._rate)

    def take(self) -> bool:
        """Whether it may be done now; that then counts."""
        if self.wait() > 0:
            return False
        self._left -= 1
        return True

    async def turn(self) -> None:
        """Wait until it may be done; it then counts."""
        pause = self.wait()
        self._left -= 1  # at once: whoever comes meanwhile waits behind
        await asyncio.sleep(pause)


class CatchUp:
    """The places of one workspace.

    Args:
        hand: hands an event on, and returns when it is stored.
        crowded: whether other replicas listen, too.
    """

    def __init__(
        self, runtime: Runtime, api: Api, me: Me, hand: Hand, crowded: Callable[[], bool] = lambda: False
    ) -> None:
        self.cursors = Cursors(runtime.cursor, runtime.keep)
        self._api = api
        self._me = me
        self._hand = hand
        self._crowded = crowded
        self._session = 0
        self._done: dict[str, int] = {}
        self._known: dict[str, None] = {}
        """Ids of events that were handed on lately: a look shows them again."""
        self._newest: dict[str, str] = {}
        """By place: the latest message that a look showed; what is older was handed on by it."""
        self._gap = True
        self._doubted_until = time.monotonic() + DOUBT_SECONDS
        self._looks = Budget(burst=15, minute=20)
        self._pace = Budget(burst=20, minute=25)
        self._forbidden: set[str] = set()
        """First letters of the conversations that we may not read: a scope is missing."""

    def lost(self) -> None:
        """A connection broke, or a call was not answered in time: something may be missing."""
        self._gap = True
        self._session += 1
        self._doubted_until = time.monotonic() + DOUBT_SECONDS

    def doubt(self) -> None:
        """A connection is silent: it may have swallowed what is older than what is at hand."""
        self._session += 1

    def begin(self) -> bool:
        """We hear Slack (again). Returns whether there was a gap before: then every place wants to be read."""
        if not self._gap:
            return False
        self._gap = False
        self._session += 1
        return True

    def handed(self, place: str, stamp: str, id: str) -> None:
        """An event was handed on."""
        self._known[id] = None
        if len(self._known) > MOST_KNOWN:
            del self._known[next(iter(self._known))]
        self._advance(place, stamp)

    def _advance(self, place: str, stamp: str) -> None:
        if place_in_time(stamp)[0] < time.time() + FUTURE:
            self.cursors.advance(place, stamp)

    async def before(self, place: str, stamp: str) -> None:
        """An event of this place is at hand: first what came before it. Raises BusError."""
        # of a place that is new to us, little is read: this is its first message. The cursor is kept first: whoever
        # dies between the two leaves no place that is known by name and by nothing else
        await self.cursors.get(place, _earlier(stamp))
        await self.cursors.meet(place)
        if self._done.get(place) == self._session:
            doubtful = time.monotonic() < self._doubted_until or self._crowded()
            shown = place in self._newest and not later(stamp, self._newest[place])
            if not doubtful or shown or not self._looks.take():
                return
        await self.read(place)

    async def read(self, place: str) -> bool:
        """Read what is later than the cursor. False where Slack does not let us now. Raises BusError."""
        session = self._session
        if place[:1] in self._forbidden:
            return True
        cursor = await self.cursors.get(place, f"{time.time() - UNKNOWN:.6f}")
        messages = await self._messages(place, cursor)
        if messages is None:
            return False
        for message in messages:
            event = message_event({**message, "channel": place.partition(":")[0], "type": "message"}, self._me)
            if event is not None and event.id not in self._known:
                await self._hand(event)
                self.handed(place, str(message["ts"]), event.id)
            self._advance(place, str(message["ts"]))
        if messages:
            self._newest[place] = str(messages[-1]["ts"])
        self._done[place] = session
        return True

    async def read_again(self, in_turn: InTurn) -> None:
        """After a gap: read all places that we know, the latest first, a few at a time and no faster than Slack lets
        us. Ends early when there is another gap."""
        session = self._session
        places = iter(await self._met())

        async def some() -> None:
            for place in places:
                for _ in range(ATTEMPTS):
                    await self._pace.turn()
                    if self._session != session and self._gap:
                        return
                    if self._done.get(place) == self._session or await self._read_in_turn(place, in_turn):
                        break
                    await asyncio.sleep(10)  # Slack lets us wait

        await asyncio.gather(*(some() for _ in range(AT_ONCE)))

    async def _met(self) -> list[str]:
        while True:
            try:
                return await self.cursors.met()
            except BusError:
                await asyncio.sleep(1)

    async def _read_in_turn(self, place: str, in_turn: InTurn) -> bool:
        done: asyncio.Future[bool] = asyncio.get_running_loop().create_future()

        async def read() -> None:
            read = await self.read(place)
            if not done.done():
                done.set_result(read)

        in_turn(place, read)
        return await done

    async def _messages(self, place: str, cursor: str) -> list[Mapping[str, Any]] | None:
        """Oldest first; none where we may not read; None where we may not read now."""
        channel, _, thread = place.partition(":")
        where: dict[str, Any] = {"channel": channel, "oldest": _earlier(cursor), "limit": PAGE}
        method = "conversations.history"
        if thread:
            method, where["ts"] = "conversations.replies", thread
        found: dict[str, Mapping[str, Any]] = {}
        for _ in range(MOST_PAGES):
            answer = await self._asked(method, where)
            if answer is None:
                return None
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
        return [found[stamp] for stamp in sorted(found, key=place_in_time)]

    async def _asked(self, method: str, where: Mapping[str, Any]) -> Mapping[str, Any] | None:
        for attempt in range(ATTEMPTS):
            try:
                return await self._api.call(method, **where)
            except Refusal as error:
                if error.status != 429 and error.status < 500:
                    if error.error == "missing_scope":
                        self._forbidden.add(str(where["channel"])[:1])
                        log.warning("Slack does not let us read what was missed: a scope ending in :history is missing")
                    return {}
                if error.after > LONGEST_WAIT:
                    return None
                await asyncio.sleep(max(error.after, 1.0))
            except NoAnswer:
                await asyncio.sleep(0.3 * 2**attempt)
        return None  # Slack brings what was not acknowledged by itself


def place_of(event: Mapping[str, Any]) -> str:
    """Where an event was written: a conversation, or a thread in it."""
    channel, thread = event.get("channel"), event.get("thread_ts")
    if isinstance(thread, str) and thread and thread != event.get("ts"):
        return f"{channel}:{thread}"
    return str(channel)


def place_in_time(stamp: object) -> Stamp:
    """A message's ``ts`` as what can be sorted; what is none comes first."""
    whole, _, part = str(stamp).partition(".")
    if not (whole.isascii() and whole.isdigit() and len(whole) < 16):
        return (0, 0)
    return (int(whole), int(part[:9].ljust(9, "0")) if part.isascii() and part.isdigit() else 0)


def _earlier(stamp: str) -> str:
    try:
        return f"{max(0.0, float(stamp) - OVERLAP):.6f}"
    except ValueError:
        return "0"
