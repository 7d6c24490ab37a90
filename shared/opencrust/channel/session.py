"""One adapter at work with one set of settings: its parts wired; connected, listening and sending until it ends."""

import asyncio
import logging
import random
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import Any, Final

from opencrust.access.directory import People
from opencrust.access.people import PersonId
from opencrust.bus import Bus, BusError
from opencrust.channel.adapter import ChannelAdapter, Emit, Fate, LinkError, Runtime
from opencrust.channel.inbox import Inbox
from opencrust.channel.leader import Leader
from opencrust.channel.letters import Letters
from opencrust.channel.limits import Limits
from opencrust.channel.link import Link
from opencrust.channel.live import Live
from opencrust.channel.media import Media
from opencrust.channel.outbox import Outbox
from opencrust.channel.seen import Seen
from opencrust.channel.stops import Stops
from opencrust.channel.tell import Teller
from opencrust.channel.webhooks import served
from opencrust.config import ChannelSettings
from opencrust.credentials import CredentialError, Credentials, Secret
from opencrust.credentials.references import referenced

log = logging.getLogger(__name__)

PURPOSE: Final = "connect"
FIRST_PAUSE: Final = 0.5
LONGEST_PAUSE: Final = 30.0
REFUSED_PAUSE: Final = 30.0
"""After "we do not want you": until then only a new credential, or new settings, make a difference."""
OUTBOX_GRACE: Final = 5.0


class Session:
    """One adapter at work.

    Args:
        adapter: the class; it is made here, with its :class:`~opencrust.channel.adapter.Runtime`.
        owner: this replica.
        redact: hides secrets in what is kept as a dead letter.
    """

    def __init__(
        self,
        bus: Bus,
        adapter: type[ChannelAdapter],
        settings: ChannelSettings,
        credentials: Credentials,
        people: People,
        owner: str,
        redact: Callable[[Any], Any],
    ) -> None:
        self._bus = bus
        self._settings = settings
        self._credentials = credentials
        self._people = people
        self._channel = adapter.name
        self._keys = bus.kv("ledger")
        self._renewed = asyncio.Event()
        self.account = ""
        self.link = Link(pulse=60.0)
        self._letters = Letters(bus, f"channel-{self._channel}", redact)
        runtime = Runtime(settings, self._secret, self.link, self._cursor, self._keep, self._letters.bury)
        self.adapter = adapter(runtime)
        able = self.adapter.capabilities
        self.link.pulse = able.pulse
        limits = Limits(able.per_conversation, able.per_account)
        media = Media(bus, self._channel, self.adapter.fetch, able.file_in)
        stops = Stops(bus, self._channel)
        self._live = Live(bus, self._channel, self.adapter, limits)
        self._teller = Teller(self.adapter, limits)
        self._inbox = Inbox(
            bus,
            self._channel,
            people,
            media,
            Seen(bus, self._channel, able.seen_days),
            stops,
            self.link,
            self._teller.tell,
            self._live.expect,
            self._letters.bury,
        )
        self._outbox = Outbox(
            bus,
            self.adapter,
            owner,
            limits=limits,
            media=media,
            stops=stops,
            live=self._live,
            link=self.link,
            account=lambda: self.account,
            reply_hours=settings.reply_hours,
        )
        self._leader = Leader(bus, self._channel, owner, able.ingest)

    async def run(self, ending: asyncio.Event) -> None:
        """Work until ``ending`` is set.

        Raises:
            SettingsError: the webhook's address cannot be listened on.
        """
        async with AsyncExitStack() as stack:
            stack.push_async_callback(self.adapter.close)
            if not await self._connect(ending):
                return
            await self._live.start()
            stack.push_async_callback(self._live.close)
            stack.push_async_callback(self._inbox.close)
            self._outbox.start()
            stack.push_async_callback(self._outbox.stop, OUTBOX_GRACE)
            if (routes := self.adapter.routes()) and self._settings.webhook is not None:
                await stack.enter_async_context(served(routes, self._settings.webhook, lambda: self._inbox.emit))
            await self._leader.run(self._listen, ending)

    def facts(self) -> dict[str, object]:
        """For health: what this replica does, how its link is, and what it counted."""
        return {
            "role": self._leader.role.value,
            "account": self.account,
            "mode": self._settings.mode.value,
            **self.link.facts(),
            **{f"in_{fate.value}": self._inbox.fates[fate] for fate in Fate},
            **{f"out_{name}": count for name, count in sorted(self._outbox.counts.items())},
            "unknown": self._outbox.counts["unknown"],
            "in_buried": self._letters.counts["buried"],
            "in_passed_by": self._letters.counts["passed_by"],
            **self.adapter.facts(),
        }

    # -- connecting

    async def _connect(self, ending: asyncio.Event) -> bool:
        """Connect, however long it takes. False if it is to end meanwhile."""
        pause = FIRST_PAUSE
        while not ending.is_set():
            self._renewed.clear()
            self.link.begin()
            try:
                self.account = await self.adapter.connect()
                self.link.idle()
                log.info("connected as account %s", self.account)
                return True
            except LinkError as error:
                self.link.down(str(error), refused=error.refused)
                wait = REFUSED_PAUSE if error.refused else max(error.after, pause)
                log.warning("not connected: %s", error)
            except CredentialError as error:
                self.link.down(str(error))
                wait = pause
                log.warning("no credential to connect with: %s", error)
            except Exception as error:  # noqa: BLE001 - a library's; its text may hold an address with a token in it
                self.link.down(f"the adapter failed: {type(error).__name__}")
                wait = pause
                log.error("not connected: the adapter failed with %s", type(error).__name__)
            await first_of(wait * random.uniform(0.8, 1.2), ending, self._renewed)  # noqa: S311 - spread, no secret
            pause = min(2 * pause, LONGEST_PAUSE)
        return False

    def rotated(self, name: str) -> None:
        """A credential was replaced in the vault."""
        if f"vault:{name}" in self._settings.credentials.values():
            log.info("a credential was replaced: connecting anew")
            self._renewed.set()

    # -- listening

    async def _listen(self, end: asyncio.Event) -> None:
        """Keep one ingest running until ``end``: begun anew when it breaks, when its link counts as deaf, and when a
        credential was replaced."""
        pause = FIRST_PAUSE
        while not end.is_set():
            if self._renewed.is_set() and not await self._connect(end):
                break
            self.link.begin()
            broken, wait = await self._listen_once(end)
            if broken and not end.is_set():
                if self.link.answered:  # it stood meanwhile: this is a new trouble
                    pause = FIRST_PAUSE
                await first_of(max(wait, pause), end, self._renewed)
                pause = min(2 * pause, LONGEST_PAUSE)
            else:
                pause = FIRST_PAUSE
        self.link.idle()

    async def _listen_once(self, end: asyncio.Event) -> tuple[bool, float]:
        """Returns whether it broke, and for how many seconds the platform wants to be left alone."""
        emit: Emit = self._inbox.emit
        stop = asyncio.Event()
        ingest = asyncio.create_task(self.adapter.ingest(emit, stop))
        watches = [asyncio.create_task(w) for w in (end.wait(), self._renewed.wait(), self._deaf())]
        try:
            await asyncio.wait({ingest, *watches}, return_when=asyncio.FIRST_COMPLETED)
            if not ingest.done():
                deaf = watches[2].done()
                stop.set()
                if not deaf:
                    await asyncio.wait({ingest}, timeout=0.8)
                else:
                    log.error("the link is deaf (%s): beginning anew", self.link.reason)
                return deaf, 0.0
            ingest.result()
            return True, 0.0
        except LinkError as error:
            self.link.down(str(error), refused=error.refused)
            log.warning("the link broke: %s", error)
            return True, REFUSED_PAUSE if error.refused else error.after
        except BusError as error:
            log.warning("an event was not stored; the platform brings it again: %s", error)
            return True, 0.0
        except CredentialError as error:
            self.link.down(str(error))
            return True, 0.0
        except Exception as error:  # noqa: BLE001 - supervised: whatever a library does, it is begun anew
            self.link.down(f"the adapter failed: {type(error).__name__}")
            log.error("listening failed with %s; beginning anew", type(error).__name__)
            return True, 0.0
        finally:
            for task in (ingest, *watches):
                task.cancel()
            await asyncio.gather(ingest, *watches, return_exceptions=True)

    async def _deaf(self) -> bool:
        while True:
            await asyncio.sleep(min(max(self.link.pulse / 8, 0.05), 1.0))  # a platform may say its own pulse later
            if self.link.check():
                return True

    # -- what the adapter and the notices ask for

    async def _secret(self, key: str) -> Secret:
        name = referenced(self._settings.credentials.get(key, ""))
        if name is None:
            raise LinkError(
                f"no {key} is configured: `opencrust channels add {self._channel}` asks for it", refused=True
            )
        return await self._credentials.get(name, purpose=PURPOSE)

    async def _cursor(self, name: str) -> str | None:
        entry = await self._keys.get(f"{self._channel}.cursor.{name}")
        return None if entry is None else entry.value.decode()

    async def _keep(self, name: str, value: str) -> None:
        await self._keys.put(f"{self._channel}.cursor.{name}", value.encode())

    async def notify(self, person: PersonId, text: str) -> None:
        """Tell somebody something in private."""
        try:
            await self._teller.tell(await self.adapter.private(person.user), text)
        except LinkError as error:
            log.warning("a notice was not told: %s", error)


async def first_of(seconds: float, *events: asyncio.Event) -> None:
    """Return when one of the events is set, after ``seconds`` at the latest."""
    waiting = [asyncio.create_task(event.wait()) for event in events]
    try:
        await asyncio.wait(waiting, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in waiting:
            task.cancel()
