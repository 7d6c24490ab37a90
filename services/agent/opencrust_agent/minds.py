"""Following the configuration: which model answers now."""

import logging

from pydantic import ValidationError

from opencrust.bus import Bus, Message, subjects
from opencrust.config import AgentSettings, Providers
from opencrust.contracts.base import explain
from opencrust_agent.models import Chain, Model, Transport
from opencrust_agent.providers import Lease, make_mind
from opencrust_agent.turn import Mind

log = logging.getLogger(__name__)


class Minds:
    """The present :class:`Mind`, made anew whenever the bucket ``cfg`` says something else for the agent."""

    def __init__(self, bus: Bus, transport: Transport, lease: Lease, demo: Model) -> None:
        self._bus = bus
        self._transport = transport
        self._lease = lease
        self._demo = demo
        self._seen: tuple[bytes, bytes] | None = None
        self._mind = self._make(Providers(), AgentSettings())

    @property
    def now(self) -> Mind:
        """The mind of this moment; a running turn keeps the one it began with."""
        return self._mind

    async def follow(self) -> None:
        """Read the configuration, and again at every change and reconnect."""
        await self._bus.subscribe(subjects.wildcard(subjects.EVT_CFG, service="agent"), self._changed)
        self._bus.on_reconnect(self.reload)
        await self.reload()

    async def reload(self) -> None:
        """Read it now. What cannot be read leaves things as they are, with an error in the log."""
        keys = self._bus.kv("cfg")
        providers, settings = await keys.get("agent.providers"), await keys.get("agent.settings")
        seen = (providers.value if providers else b"{}", settings.value if settings else b"{}")
        if seen == self._seen:
            return
        try:
            read = Providers.model_validate_json(seen[0]), AgentSettings.model_validate_json(seen[1])
        except ValidationError as error:
            log.error("configuration not taken over: %s", explain(error))
            return
        self._seen = seen
        self._mind = self._make(*read)
        log.info("answering with %s", ", ".join(p.name for p in read[0].providers) or "the demo model")

    def facts(self) -> dict[str, object]:
        """Providers and their circuit breakers, for status."""
        model = self._mind.model
        return {"providers": model.snapshot() if isinstance(model, Chain) else [{"provider": model.provider}]}

    async def _changed(self, message: Message) -> None:
        await self.reload()

    def _make(self, providers: Providers, settings: AgentSettings) -> Mind:
        return make_mind(providers, settings, transport=self._transport, lease=self._lease, demo=self._demo)
