"""A channel's service: ``async def run(context): await serve(context, TheAdapter)``.

It serves from its start on, also while the platform is away or the token is wrong: how the link is, its health says.
When the settings change, the session ends and another begins with the new ones.
"""

import asyncio
import logging

from opencrust.access.directory import People
from opencrust.access.notices import Notices
from opencrust.access.people import PersonId
from opencrust.channel.adapter import ChannelAdapter
from opencrust.channel.session import Session, first_of
from opencrust.channel.settings import SettingsFollower
from opencrust.credentials import Credentials
from opencrust.service import Context

log = logging.getLogger(__name__)


async def serve(context: Context, adapter: type[ChannelAdapter]) -> None:
    """Run one channel until the service is told to stop.

    Raises:
        SettingsError: its settings can never work.
        BusError: the bus refuses this service.
    """
    credentials = Credentials(context.bus, context.identity)
    await credentials.start()
    try:
        await _Channel(context, adapter, credentials).run()
    finally:
        await credentials.close()


class _Channel:
    """One channel in one process: a session after another, as the settings change."""

    def __init__(self, context: Context, adapter: type[ChannelAdapter], credentials: Credentials) -> None:
        self._context = context
        self._adapter = adapter
        self._credentials = credentials
        self._session: Session | None = None

    async def run(self) -> None:
        context = self._context
        people = People(context.bus)
        await people.start()
        follower = SettingsFollower(context.bus)
        await follower.follow()
        self._credentials.on_change(self._rotated)
        await Notices(context.bus, self._notify).start()
        context.facts = self._facts
        context.ready()
        while not context.stopping.is_set():
            follower.changed.clear()
            if follower.now is None:
                await first_of(3600, follower.changed, context.stopping)
                continue
            self._session = Session(
                context.bus,
                self._adapter,
                follower.now,
                self._credentials,
                people,
                context.instance,
                context.redactor.value,
            )
            await _until(self._session, follower.changed, context.stopping)
            self._session = None
        context.not_ready("stopping")

    def _facts(self) -> dict[str, object]:
        return {"role": "sender", "link": "not configured"} if self._session is None else self._session.facts()

    async def _rotated(self, name: str) -> None:
        if self._session is not None:
            self._session.rotated(name)

    async def _notify(self, person: PersonId, text: str) -> None:
        if self._session is not None:
            await self._session.notify(person, text)


async def _until(session: Session, changed: asyncio.Event, stopping: asyncio.Event) -> None:
    """Run a session until the settings change or the service stops."""
    ending = asyncio.Event()
    running = asyncio.create_task(session.run(ending))
    watches = [asyncio.create_task(event.wait()) for event in (changed, stopping)]
    try:
        await asyncio.wait({running, *watches}, return_when=asyncio.FIRST_COMPLETED)
        ending.set()
        await running
    finally:
        for task in (running, *watches):
            task.cancel()
        await asyncio.gather(running, *watches, return_exceptions=True)
