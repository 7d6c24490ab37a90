"""Answering the questions of NATS micro (ADR-32): PING, INFO, STATS. Liveness by answering, readiness in STATS.

nats-py's own micro module hands the text of exceptions to whoever asks; this one knows nothing to hand out.
"""

import json
import time
from collections.abc import Callable
from datetime import UTC, datetime

from opencrust.bus.conf import health_subjects
from opencrust.bus.connection import Bus
from opencrust.bus.message import Message


class Health:
    """Health of one instance of a service.

    Args:
        instance: id of this process among the replicas.
        ready: asked at every STATS.
        facts: further plain numbers and strings for STATS, asked each time; never anything secret.
    """

    def __init__(
        self, bus: Bus, version: str, instance: str, ready: Callable[[], bool], facts: Callable[[], dict[str, object]]
    ) -> None:
        self._bus = bus
        self._identity = {"name": bus.service, "id": instance, "version": version, "metadata": {}}
        self._ready = ready
        self._facts = facts
        self._started = datetime.now(UTC).isoformat()
        self._since = time.monotonic()

    async def start(self) -> None:
        """Begin to answer."""
        for subject in health_subjects(self._bus.service):
            await self._bus.subscribe(subject, self._answer)

    async def _answer(self, message: Message) -> None:
        verb = message.subject.split(".")[1]
        body: dict[str, object] = {"type": f"io.nats.micro.v1.{verb.lower()}_response", **self._identity}
        if verb == "INFO":
            body |= {"description": f"OpenCrust {self._bus.service}", "endpoints": []}
        elif verb == "STATS":
            uptime = round(time.monotonic() - self._since, 1)
            facts = {"ready": self._ready(), "uptime": uptime, **self._facts()}
            body |= {"started": self._started, "endpoints": [], "data": facts}
        await self._bus.respond(message, json.dumps(body).encode())
