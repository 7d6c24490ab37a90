"""Listening: frames of the gateway, in order, handed on channel by channel; gaps filled before what is live."""

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any, Final
from urllib.parse import quote

import aiohttp
import discord

from opencrust.bus import BusError
from opencrust.channel.adapter import Emit, Fate, LinkError, Runtime
from opencrust.channel.in_order import InOrder
from opencrust.credentials import CredentialError
from opencrust_channel_discord.backfill import Backfill
from opencrust_channel_discord.catchup import Place, Places
from opencrust_channel_discord.client import DEFAULT_GATEWAY, Client
from opencrust_channel_discord.commands import COMMANDS, acknowledgement
from opencrust_channel_discord.events import MalformedEvent, Me, interaction_event, message_event
from opencrust_channel_discord.rest import NoAnswer, Refusal, Rest, link_error
from opencrust_channel_discord.socket import DISPATCH, HELLO, interval

log = logging.getLogger(__name__)

DOWN_SECONDS: Final = 8.0
"""A connection that is not back after this is begun anew: discord.py waits longer and longer."""
INTERACTION_SECONDS: Final = 2.5
"""Discord gives three."""
MOST_BARREN: Final = 3
BARREN_PAUSE: Final = 3.0
KEPT_UNREADABLE: Final = 4096
"""Characters of what is no frame that go into a dead letter."""
MOST_WAITING: Final = 20_000
"""More events than this in memory while the bus is away: listening ends, and a backfill brings them."""
STORE_PAUSES: Final = (0.1, 0.3, 1.0, 2.0)
_FATAL: Final = {
    4004: "Discord does not know the token: reset it at the developer portal and set it anew",
    4010: "Discord refuses our shard",
    4011: "Discord wants more shards",
    4012: "Discord refuses our version of the gateway",
    4013: "Discord refuses our intents",
}
_WRITTEN: Final = frozenset({"MESSAGE_CREATE", "INTERACTION_CREATE"})
"""Events that a person made: one that cannot be read is kept, the others are only passed by."""
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
        self._broken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._work = InOrder(self._fail)
        self._gaps = Backfill(runtime, rest, self._places, self._work, partial(self._hand_on, backfill=True))
        self._down_since: float | None = time.monotonic()
        self._barren = 0
        """Connections in a row that ended before any event: discord.py goes on resuming, for ever."""
        self.sessions = 0

    async def run(self, stop: asyncio.Event) -> None:
        """Listen until ``stop``. Raises LinkError, BusError, CredentialError."""
        await self._gaps.start()
        client = await self._client()
        connected = asyncio.create_task(client.run_until_closed())
        watch = asyncio.create_task(self._watch())
        stopped = asyncio.create_task(stop.wait())
        flushing = asyncio.create_task(self._gaps.cursors.flushing())
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
            await self._gaps.cursors.flush()
        with contextlib.suppress(Exception):  # a library's way to end must not hold up ours
            async with asyncio.timeout(3):
                await client.close()
        if self._broken.done():
            self._broken.exception()

    async def _client(self) -> Client:
        token = await self._runtime.secret("token")
        configured = self._runtime.settings.text("gateway_url")
        gateway, shards, concurrency = configured or DEFAULT_GATEWAY, 1, 1
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
            limit = limit if isinstance(limit, Mapping) else {}
            if isinstance(at_once := limit.get("max_concurrency"), int):
                concurrency = at_once
            if limit.get("remaining") == 0:
                after = limit.get("reset_after")
                wait = after / 1000 if isinstance(after, (int, float)) and after > 0 else 5.0
                raise LinkError("Discord lets us begin no further session today", after=wait)
        return Client(
            token.reveal_text(),
            gateway,
            max(1, shards),
            concurrency=concurrency,
            fixed=bool(configured),
            content=self._content,
            listening=self,
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

    def frame(self, frame: Mapping[str, Any]) -> None:
        """One frame. Whatever is in it, the link goes on."""
        self._link.alive()
        self._down_since = None
        data, event = frame.get("d"), str(frame.get("t"))
        if frame["op"] == HELLO:
            given = data.get("heartbeat_interval") if isinstance(data, Mapping) else None
            self._link.pulse = max(0.2, interval(given) / 1000)
        elif frame["op"] == DISPATCH:
            self._barren = 0
            try:
                self._dispatched(event, data if isinstance(data, Mapping) else {})
            except MalformedEvent as error:
                if event in _WRITTEN:
                    self._bury(data, f"an event {event} of Discord's without a valid {error}")
            except Exception as error:  # noqa: BLE001 - whatever it is, the events behind it must come through
                log.warning("an event of Discord's was not understood: %s", type(error).__name__)
                if event in _WRITTEN:
                    self._bury(data, f"an event {event} of Discord's that is not understood")

    def unreadable(self, text: str, reason: str) -> None:
        """What is no frame at all."""
        self._link.alive()
        self._bury(text[:KEPT_UNREADABLE], reason)

    def ended(self, *, heard: bool) -> None:
        """A connection is over."""
        self._barren = 0 if heard else self._barren + 1
        if self._barren >= MOST_BARREN:
            self._fail(LinkError("Discord takes up no session", after=BARREN_PAUSE))

    def _bury(self, data: object, reason: str) -> None:
        id = (_text(data.get("id")) or "")[:64] if isinstance(data, Mapping) else ""
        plain = dict(data) if isinstance(data, Mapping) else data
        self._work.put("letters", lambda: self._patiently(lambda: self._runtime.bury(id, reason, plain)))

    def _dispatched(self, event: str, data: Mapping[str, Any]) -> None:
        match event:
            case "READY":
                self.sessions += 1
                self._gaps.begin_session()
                application = data.get("application")
                self._work.put("ready", lambda: self._ready(application if isinstance(application, Mapping) else {}))
                private = [c for c in _list(data.get("private_channels")) if isinstance(c, Mapping)]
                self._work.put("private", partial(self._gaps.look_at, self._learn(private, None)))
            case "RESUMED":  # what was missed should have come before it; it is not taken on trust
                self._gaps.begin_session()
                self._work.put("ready", self._gaps.look_at_met)
            case "GUILD_CREATE":
                self._guild(data)
            case "MESSAGE_CREATE":
                channel = _text(data.get("channel_id"))
                if channel is None:
                    raise MalformedEvent("channel_id")
                place = self._places.seen(channel, _text(data.get("guild_id")))
                self._work.put(channel, partial(self._message, place, data))
            case "INTERACTION_CREATE":
                channel = str(data.get("channel_id") or "")
                self._work.put(f"interaction-{channel}", lambda: self._interaction(data))
            case kind if kind in _CHANNELS:
                self._places.learn(data, _text(data.get("guild_id")), self._me.id)

    def _guild(self, data: Mapping[str, Any]) -> None:
        guild = _text(data.get("id"))
        if guild is None or data.get("unavailable") is True:  # it is announced again once it is there
            return
        roles = [role for role in _list(data.get("roles")) if isinstance(role, Mapping)]
        own = {str(role.get("id")) for role in roles if _bot_of(role) == self._me.id}
        self._me = Me(self._me.id, self._me.roles | own)
        announced = [*_list(data.get("channels")), *_list(data.get("threads"))]
        places = self._learn([channel for channel in announced if isinstance(channel, Mapping)], guild)
        self._work.put(f"guild-{guild}", partial(self._gaps.know_guild, guild, places))

    def _learn(self, channels: list[Mapping[str, Any]], guild: str | None) -> list[Place]:
        places = [self._places.learn(data, guild, self._me.id) for data in channels]
        return [place for place in places if place is not None]

    # -- work, in order by channel

    async def _ready(self, application: Mapping[str, Any]) -> None:
        await self._gaps.look_at_met()
        if number := application.get("id"):
            try:
                await self._rest.call("PUT", f"/applications/{number}/commands", list(COMMANDS))
            except (Refusal, NoAnswer) as error:
                log.warning("slash commands were not registered: %s", error)

    async def _message(self, place: Place, data: Mapping[str, Any]) -> None:
        await self._patiently(lambda: self._gaps.meet(place))
        await self._patiently(lambda: self._gaps.catch_up(place, _text(data.get("id"))))
        await self._hand_on(place, data, backfill=False)

    async def _hand_on(self, place: Place, data: Mapping[str, Any], *, backfill: bool) -> None:
        event = None
        try:
            event = message_event(
                data, self._me, is_group=place.guild is not None or "member" in data, backfill=backfill
            )
        except MalformedEvent as error:
            await self._keep_unread(data, f"a message of Discord's without a valid {error}")
        except Exception as error:  # noqa: BLE001 - one odd message must not hold up the others
            log.warning("a message of Discord's was not understood: %s", type(error).__name__)
            await self._keep_unread(data, "a message of Discord's that is not understood")
        if event is not None:
            if place.ours and not event.mentioned:
                event = replace(event, mentioned=True)  # a thread that we opened
            await self._patiently(partial(self._emit, event))
        if not backfill and (message := _text(data.get("id"))):
            self._gaps.handed_on(place, message)

    async def _keep_unread(self, data: Mapping[str, Any], reason: str) -> None:
        """As a dead letter."""
        id = (_text(data.get("id")) or "")[:64]
        await self._patiently(lambda: self._runtime.bury(id, reason, dict(data)))

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

    async def _interaction(self, data: Mapping[str, Any]) -> None:
        try:
            event = interaction_event(data, self._me)
        except MalformedEvent as error:
            await self._keep_unread(data, f"an interaction of Discord's without a valid {error}")
            return
        if event is None:
            return
        fate: Fate | None = None
        try:
            async with asyncio.timeout(INTERACTION_SECONDS):
                fate = await self._emit(event)
        except (BusError, TimeoutError) as error:
            log.warning("an interaction was not stored: %s", type(error).__name__)
        kind, token = data.get("type"), _text(data.get("token"))
        if token is None:
            return
        body = acknowledgement(kind if isinstance(kind, int) else 0, event.text, fate)
        try:
            await self._rest.call(
                "POST", f"/interactions/{quote(str(data['id']))}/{quote(token)}/callback", body, signed=False
            )
        except (Refusal, NoAnswer) as error:
            if not (isinstance(error, Refusal) and error.code in (40060, 10062)):  # the twin was first; too late
                log.warning("an interaction was not acknowledged: %s", error)


class NoContent(LinkError):
    """The bot may not ask for the text of messages; it can go on without."""


def _bot_of(role: Mapping[str, Any]) -> str:
    tags = role.get("tags")
    return str(tags.get("bot_id")) if isinstance(tags, Mapping) else ""


def _text(value: Any) -> str | None:
    return str(value) if isinstance(value, (str, int)) and not isinstance(value, bool) and value != "" else None


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
