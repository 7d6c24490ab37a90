"""Listening: frames of the gateway, in order, handed on channel by channel; gaps filled before what is live."""

import asyncio
import contextlib
import json
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, Final

import aiohttp
import discord

from opencrust.bus import BusError
from opencrust.channel.adapter import Emit, Fate, LinkError, Runtime
from opencrust.channel.cursors import Cursors, later
from opencrust.channel.in_order import InOrder
from opencrust.credentials import CredentialError
from opencrust_channel_discord.catchup import Place, Places
from opencrust_channel_discord.client import DEFAULT_GATEWAY, Client
from opencrust_channel_discord.commands import COMMANDS, acknowledgement
from opencrust_channel_discord.events import EPOCH_MS, Me, interaction_event, message_event, moment
from opencrust_channel_discord.rest import NoAnswer, Refusal, Rest, link_error

log = logging.getLogger(__name__)

DOWN_SECONDS: Final = 8.0
"""A connection that is not back after this is begun anew: discord.py waits longer and longer."""
INTERACTION_SECONDS: Final = 2.5
"""Discord gives three."""
MOST_REFUSALS: Final = 3
REFUSAL_PAUSE: Final = 3.0
MOST_WAITING: Final = 20_000
"""More events than this in memory while the bus is away: listening ends, and a backfill brings them."""
PAGE: Final = 100
MOST_PAGES: Final = 50
STORE_PAUSES: Final = (0.1, 0.3, 1.0, 2.0)
BEFORE_FIRST: Final = timedelta(minutes=15)
"""What was written so long before we first ran is still answered."""
_FATAL: Final = {
    4004: "Discord does not know the token: reset it at the developer portal and set it anew",
    4010: "Discord refuses our shard",
    4011: "Discord wants more shards",
    4012: "Discord refuses our version of the gateway",
    4013: "Discord refuses our intents",
}
_CHANNELS: Final = frozenset({"CHANNEL_CREATE", "CHANNEL_UPDATE", "THREAD_CREATE", "THREAD_UPDATE"})


class Listener:
    """One ingest: from connecting until it breaks or is stopped.

    Args:
        me: who we are.
        content: ask for the text of messages that do not name us.
    """

    def __init__(self, runtime: Runtime, rest: Rest, me: Me, emit: Emit, *, content: bool) -> None:
        self._runtime = runtime
        self._link = runtime.link
        self._rest = rest
        self._me = me
        self._emit = emit
        self._content = content
        self._places = Places()
        self._cursors = Cursors(runtime.cursor, runtime.keep)
        self._broken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._work = InOrder(self._fail)
        self._session = 0
        self._down_since: float | None = time.monotonic()
        self._since = datetime.now(UTC)
        self._refusals = 0
        """Invalid sessions in a row: discord.py goes on resuming one that is said to be resumable, for ever."""
        self.sessions = 0

    async def run(self, stop: asyncio.Event) -> None:
        """Listen until ``stop``. Raises LinkError, BusError, CredentialError."""
        self._since = await self._first_run()
        client = await self._client()
        connected = asyncio.create_task(client.run_until_closed())
        watch = asyncio.create_task(self._watch())
        stopped = asyncio.create_task(stop.wait())
        flushing = asyncio.create_task(self._cursors.flushing())
        ends: list[asyncio.Future[Any]] = [connected, watch, stopped, self._broken]
        try:
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
            if stop.is_set():
                await self._work.drain(0.5)
            elif self._broken.done():
                self._broken.result()
            elif watch.done():
                watch.result()
            else:
                raise self._ended(connected)
        finally:
            await self._close(client, [connected, watch, stopped, flushing])

    async def _close(self, client: Client, tasks: list["asyncio.Task[Any]"]) -> None:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._work.close()
        with contextlib.suppress(BusError):
            await self._cursors.flush()
        with contextlib.suppress(Exception):  # a library's way to end must not hold up ours
            async with asyncio.timeout(3):
                await client.close()
        if self._broken.done():
            self._broken.exception()

    async def _first_run(self) -> datetime:
        """When this account was first listened to."""
        known = await self._runtime.cursor("since")
        if known is None:
            known = (datetime.now(UTC) - BEFORE_FIRST).isoformat()
            await self._runtime.keep("since", known)
        return datetime.fromisoformat(known)

    async def _client(self) -> Client:
        token = await self._runtime.secret("token")
        configured = self._runtime.settings.text("gateway_url")
        gateway, shards = configured or DEFAULT_GATEWAY, 1
        try:
            told = await self._rest.get("/gateway/bot")
        except NoAnswer as error:
            raise link_error(error) from None
        except Refusal as error:
            if error.status != 404 or not configured:
                raise link_error(error) from None
            told = {}
        if isinstance(told, Mapping):
            gateway = configured or str(told.get("url") or gateway)
            shards = wanted if isinstance(wanted := told.get("shards"), int) else 1
            limit = told.get("session_start_limit")
            if isinstance(limit, Mapping) and limit.get("remaining") == 0:
                wait = float(limit.get("reset_after") or 5000) / 1000
                raise LinkError("Discord lets us begin no further session today", after=wait)
        return Client(
            token.reveal_text(),
            gateway,
            max(1, shards),
            fixed=bool(configured),
            content=self._content,
            frame=self._frame,
            down=self._is_down,
        )

    def _ended(self, task: "asyncio.Task[None]") -> LinkError:
        """Why discord.py's client ended, in words without an address."""
        error = task.exception() if not task.cancelled() else None
        if isinstance(error, discord.PrivilegedIntentsRequired):
            return NoContent("Discord gives us no texts: switch on 'Message Content Intent' at the developer portal")
        if isinstance(error, discord.ConnectionClosed):
            if error.code == 4014:
                return NoContent(
                    "Discord gives us no texts: switch on 'Message Content Intent' at the developer portal"
                )
            return LinkError(
                _FATAL.get(error.code, f"Discord ended the session with {error.code}"), refused=error.code in _FATAL
            )
        if isinstance(error, (OSError, aiohttp.ClientError, TimeoutError)):
            return LinkError("Discord's gateway cannot be reached")
        return LinkError(f"Discord's link failed: {type(error).__name__}")

    def _fail(self, error: BaseException) -> None:
        if not self._broken.done():
            known = isinstance(error, (LinkError, BusError, CredentialError))
            self._broken.set_exception(error if known else LinkError(f"an event failed: {type(error).__name__}"))

    def _is_down(self) -> None:
        self._down_since = self._down_since or time.monotonic()

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(0.5)
            if self._down_since is not None and time.monotonic() - self._down_since > DOWN_SECONDS:
                raise LinkError("Discord's gateway does not answer")
            if len(self._work) > MOST_WAITING:
                raise LinkError("too many events wait for the bus; they are fetched again later")

    # -- frames

    def _frame(self, text: str) -> None:
        """One frame. Whatever is in it, the link goes on."""
        self._link.alive()
        self._down_since = None
        try:
            frame = json.loads(text)
            data = frame.get("d")
            if frame.get("op") == 10:
                self._link.pulse = max(0.2, float(data["heartbeat_interval"]) / 1000)
            elif frame.get("op") == 9:
                self._refusals += 1
                if self._refusals >= MOST_REFUSALS:
                    self._fail(LinkError("Discord takes up no session", after=REFUSAL_PAUSE))
            elif frame.get("op") == 0 and isinstance(data, Mapping):
                self._refusals = 0
                self._dispatched(str(frame.get("t")), data)
        except Exception as error:  # noqa: BLE001 - a malformed frame is counted and passed over
            log.warning("a frame of Discord's was not understood: %s", type(error).__name__)

    def _dispatched(self, event: str, data: Mapping[str, Any]) -> None:
        match event:
            case "READY":
                self.sessions += 1
                self._session += 1
                application = data.get("application")
                self._work.put("ready", lambda: self._ready(application if isinstance(application, Mapping) else {}))
                for channel in data.get("private_channels") or []:
                    self._announce(channel, None)
            case "GUILD_CREATE":
                self._guild(data)
            case "MESSAGE_CREATE":
                channel = str(data["channel_id"])
                place = self._places.seen(channel, _text(data.get("guild_id")))
                self._work.put(channel, lambda: self._message(place, data))
            case "INTERACTION_CREATE":
                channel = str(data.get("channel_id") or "")
                self._work.put(f"interaction-{channel}", lambda: self._interaction(data))
            case kind if kind in _CHANNELS:
                self._places.learn(data, _text(data.get("guild_id")), self._me.id)

    def _guild(self, data: Mapping[str, Any]) -> None:
        guild = str(data["id"])
        roles = [role for role in data.get("roles") or [] if isinstance(role, Mapping)]
        own = {str(role["id"]) for role in roles if _bot_of(role) == self._me.id}
        self._me = Me(self._me.id, self._me.roles | own)
        channels = [c for c in [*(data.get("channels") or []), *(data.get("threads") or [])] if isinstance(c, Mapping)]
        self._work.put(f"guild-{guild}", lambda: self._known_guild(guild, channels))

    def _announce(self, data: Any, guild: str | None) -> Place | None:
        place = self._places.learn(data, guild, self._me.id) if isinstance(data, Mapping) else None
        if place is not None:
            self._work.put(place.id, lambda: self._catch_up(place))
        return place

    # -- work, in order by channel

    async def _ready(self, application: Mapping[str, Any]) -> None:
        for channel in await self._cursors.met():
            self._work.put(channel, partial(self._catch_up, self._places.seen(channel, None)))
        if number := application.get("id"):
            try:
                await self._rest.call("PUT", f"/applications/{number}/commands", list(COMMANDS))
            except (Refusal, NoAnswer) as error:
                log.warning("slash commands were not registered: %s", error)

    async def _known_guild(self, guild: str, channels: list[Mapping[str, Any]]) -> None:
        """Give every channel of a server a cursor, and read what is later than that."""
        if await self._runtime.cursor(f"guild-{guild}") is None:
            for data in channels:
                if (place := self._places.learn(data, guild, self._me.id)) is not None:
                    await self._cursors.get(place.id, self._first_cursor(place.last))
            await self._runtime.keep(f"guild-{guild}", "1")
        for data in channels:
            self._announce(data, guild)

    async def _message(self, place: Place, data: Mapping[str, Any]) -> None:
        if place.guild is None:  # it cannot be found again but by its id
            await self._patiently(lambda: self._cursors.meet(place.id))
        await self._patiently(lambda: self._catch_up(place))
        await self._hand_on(place, data, backfill=False)

    async def _hand_on(self, place: Place, data: Mapping[str, Any], *, backfill: bool) -> None:
        event = None
        try:
            event = message_event(data, self._me, is_group=place.guild is not None, backfill=backfill)
        except Exception as error:  # noqa: BLE001 - one odd message must not hold up the others
            log.warning("a message of Discord's was not understood: %s", type(error).__name__)
        if event is not None:
            if place.ours and not event.mentioned:
                event = replace(event, mentioned=True)  # a thread that we opened
            await self._patiently(partial(self._emit, event))
        if message := _text(data.get("id")):
            self._cursors.advance(place.id, message)

    async def _patiently(self, work: Callable[[], Awaitable[object]]) -> None:
        """Do what needs the bus, however long that is away: Discord brings an event only once."""
        attempt = 0
        while True:
            try:
                await work()
                return
            except BusError as error:
                if attempt == 0:
                    log.warning("an event waits for the bus: %s", error)
                await asyncio.sleep(STORE_PAUSES[min(attempt, len(STORE_PAUSES) - 1)])
                attempt += 1

    async def _catch_up(self, place: Place) -> None:
        """Read what was missed in a channel, once in each session."""
        session = self._session
        if place.session == session:
            return
        begin = "0" if place.guild else self._first_id()
        cursor = await self._cursors.get(place.id, begin)
        if place.last is None or later(place.last, cursor):
            await self._backfill(place, cursor)
        place.session = session

    def _first_id(self) -> str:
        """The least id of what was written since this account was first listened to."""
        return str(max(0, int(self._since.timestamp() * 1000) - EPOCH_MS) << 22)

    def _first_cursor(self, last: str | None) -> str:
        """Where reading begins in a channel of a server that we never knew: at its last message, but not after the
        moment when this account was first listened to (we may have been killed just after it)."""
        if last is None:
            return "0"
        at = moment(last)
        return self._first_id() if at is not None and at > self._since else last

    async def _backfill(self, place: Place, cursor: str) -> None:
        for _ in range(MOST_PAGES):
            page = await self._page(place, cursor)
            for message in page:
                if _moment(message) >= self._since:
                    await self._hand_on(place, message, backfill=True)
                else:
                    self._cursors.advance(place.id, str(message["id"]))
            if len(page) < PAGE:
                return
            cursor = str(page[-1]["id"])

    async def _page(self, place: Place, cursor: str) -> list[Mapping[str, Any]]:
        """Messages after ``cursor``, oldest first; none where we may not read."""
        pause = 0.5
        while True:
            try:
                found = await self._rest.get(f"/channels/{place.id}/messages", after=cursor, limit=PAGE)
                messages = [m for m in found or [] if isinstance(m, Mapping) and _text(m.get("id"))]
                return sorted(
                    (m for m in messages if later(str(m["id"]), cursor)),
                    key=lambda m: (len(str(m["id"])), str(m["id"])),
                )
            except Refusal as error:
                if error.status in (400, 403, 404):
                    return []
                if error.status == 401:
                    raise link_error(error) from None
                pause = max(pause, error.after)
            except NoAnswer:
                pass
            await asyncio.sleep(pause)
            pause = min(pause * 2, 10.0)

    async def _interaction(self, data: Mapping[str, Any]) -> None:
        event = interaction_event(data, self._me)
        if event is None:
            return
        fate: Fate | None = None
        try:
            async with asyncio.timeout(INTERACTION_SECONDS):
                fate = await self._emit(event)
        except (BusError, TimeoutError) as error:
            log.warning("an interaction was not stored: %s", type(error).__name__)
        body = acknowledgement(int(data.get("type") or 0), event.text, fate)
        try:
            await self._rest.call("POST", f"/interactions/{data['id']}/{data['token']}/callback", body, signed=False)
        except (Refusal, NoAnswer) as error:
            if not (isinstance(error, Refusal) and error.code in (40060, 10062)):  # the twin was first; too late
                log.warning("an interaction was not acknowledged: %s", error)


class NoContent(LinkError):
    """The bot may not ask for the text of messages; it can go on without."""


def _bot_of(role: Mapping[str, Any]) -> str:
    tags = role.get("tags")
    return str(tags.get("bot_id")) if isinstance(tags, Mapping) else ""


def _moment(message: Mapping[str, Any]) -> datetime:
    try:
        read = datetime.fromisoformat(str(message.get("timestamp")))
        return read if read.tzinfo else read.replace(tzinfo=UTC)
    except ValueError:
        return datetime.now(UTC)


def _text(value: Any) -> str | None:
    return str(value) if isinstance(value, (str, int)) and not isinstance(value, bool) and value != "" else None
