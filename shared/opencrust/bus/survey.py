"""Asking every service how it is. For the identities in :data:`opencrust.bus.conf.HEALTH_ASKERS` alone."""

import asyncio
import json
from collections.abc import Iterable
from dataclasses import dataclass

from opencrust.bus.conf import health_subjects
from opencrust.bus.connection import Bus
from opencrust.bus.message import Message

WINDOW = 0.5
"""Seconds in which answers count: every healthy process on one machine answers within milliseconds."""


@dataclass(frozen=True, slots=True)
class Report:
    """What one process says of itself. ``uptime`` in seconds; ``facts`` are plain numbers and strings."""

    service: str
    instance: str
    version: str
    ready: bool
    uptime: float
    facts: dict[str, object]


async def survey(bus: Bus, services: Iterable[str], *, window: float = WINDOW) -> list[Report]:
    """The reports that come within ``window`` seconds, by service and instance. Who is silent is not in it.

    Raises:
        Denied: this identity may not ask.
        Disconnected: the bus is away.
    """
    reports: list[Report] = []

    async def take(message: Message) -> None:
        report = read_report(message.data)
        if report is not None:
            reports.append(report)

    inbox = bus.new_inbox()
    answers = await bus.subscribe(inbox, take)
    try:
        for service in services:
            stats = next(subject for subject in health_subjects(service) if subject.startswith("$SRV.STATS."))
            await bus.send_for_reply(stats, b"", inbox)
        await asyncio.sleep(window)
    finally:
        await answers.unsubscribe()
    return sorted(reports, key=lambda report: (report.service, report.instance))


def read_report(data: bytes) -> Report | None:
    """A STATS answer (ADR-32); None for what is none, such as the server's word that nobody answers."""
    try:
        told = json.loads(data)
        facts = dict(told["data"])
        ready, uptime = facts.pop("ready") is True, float(facts.pop("uptime", 0.0))
        return Report(str(told["name"]), str(told["id"]), str(told["version"]), ready, uptime, facts)
    except (ValueError, TypeError, KeyError, AttributeError):
        return None
