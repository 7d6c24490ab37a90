"""Starting the agent: its parts, wired; and stopping it."""

import logging
from contextlib import AsyncExitStack
from pathlib import Path

from opencrust import service
from opencrust.access.directory import People
from opencrust.bus.drain import Drain
from opencrust.bus.registry import AGENT_DURABLE
from opencrust.credentials import Credentials, LeakDetector
from opencrust.service import Context
from opencrust_agent import assess
from opencrust_agent.admission import Admissions
from opencrust_agent.approval_desk import ApprovalDesk
from opencrust_agent.approvals import Approvals
from opencrust_agent.contacts import Contacts
from opencrust_agent.demo import DemoModel
from opencrust_agent.egress import Egress
from opencrust_agent.guard import Canary, Guard
from opencrust_agent.guard.stage import GuardStage
from opencrust_agent.leases import ProviderKeys
from opencrust_agent.ledger import Ledger, Metered, MeteredTools, payer_of
from opencrust_agent.minds import Minds
from opencrust_agent.models import Transport
from opencrust_agent.plugins.desk import PluginDesk
from opencrust_agent.plugins.plugins import Plugins
from opencrust_agent.screen import Screen
from opencrust_agent.stops import Stops
from opencrust_agent.tools import Tool
from opencrust_agent.tools.clock import Clock
from opencrust_agent.tools.files import file_tools
from opencrust_agent.tools.send_message import SendMessage
from opencrust_agent.tools.web_fetch import WebFetch
from opencrust_agent.turn import Turns
from opencrust_agent.vetting import Vetting

log = logging.getLogger(__name__)

DRAIN_GRACE = 6.0
"""Seconds that running turns may still take when the agent is told to stop; then other replicas take them over."""


async def run(context: Context) -> None:
    """Answer messages until told to stop. Any number of replicas may run."""
    bus = context.bus
    credentials = Credentials(bus, context.identity)
    await credentials.start()
    async with AsyncExitStack() as stack:
        stack.push_async_callback(credentials.close)
        detector = LeakDetector()
        guard = Guard(detector.spans, Canary())
        context.redactor.add_detector(guard.spans)
        stack.callback(context.spawn(detector.follow(credentials)).cancel)
        transport = await stack.enter_async_context(Transport())
        demo = DemoModel(transport)
        stack.push_async_callback(demo.close)
        minds = Minds(bus, transport, ProviderKeys(credentials).lease, demo)
        await minds.follow()
        stops = Stops()
        await stops.listen(bus)
        people = People(bus)
        await people.start()
        admissions = Admissions(bus, people)
        assessor = _assessor(context.settings.state_dir)
        screen = Screen(bus, assessor)
        vetting = Vetting(assessor, bus)
        approvals = Approvals(bus)
        await ApprovalDesk(bus, approvals).start()
        stack.callback(context.spawn(approvals.sweep()).cancel)
        egress = Egress(lambda: minds.now.allowed)
        plugins = Plugins(
            bus, context.settings.state_dir, egress, credentials, detector.spans, assessor, context.environment
        )
        stack.push_async_callback(plugins.close)
        await plugins.start()
        plugin_desk = PluginDesk(bus, plugins)
        stack.push_async_callback(plugin_desk.close)
        await plugin_desk.start()
        ledger = Ledger(bus, lambda: minds.now.settings.budgets)
        contacts = Contacts(bus)
        builtin: list[Tool] = [Clock(), WebFetch(egress), SendMessage(bus, contacts)]
        builtin += file_tools(_workspace(context), lambda: minds.now.settings.workspace)
        tools = MeteredTools(ledger)  # built-in tools add theirs before the plugins, which take no name of theirs
        tools.add(lambda: builtin)
        tools.add(plugins.tools)
        turns = Turns(
            bus,
            lambda: minds.now,
            stops,
            screen,
            admissions,
            tools=tools,
            approvals=approvals,
            vetting=vetting,
            redact=context.redactor.text,
            contacts=contacts,
            guard=GuardStage(bus, guard, lambda: (detector.longest, detector.longest_spaced)),
            meter=lambda model, message: Metered(model, ledger, lambda: minds.now.prices, payer_of(message)),
            news=ledger.news,
        )
        slots = minds.now.settings.slots
        drain = Drain(bus, AGENT_DURABLE, turns.run, slots=slots, owner=context.instance)
        context.facts = lambda: {
            "answered": turns.answered,
            "buried": turns.buried,
            "detector": assessor.version,
            "flagged": screen.flagged,
            "refused": admissions.refused,
            "withheld": vetting.held,
            "guarded": dict(guard.findings),
            "over_budget": ledger.refused,
            "tools": sorted(tools.now()),
            "plugins": plugins.facts(),
            "calls": dict(turns.executor.calls),
            **minds.facts(),
        }
        draining = context.spawn(drain.run())
        context.ready()
        await context.stopping.wait()
        context.not_ready("stopping")
        await drain.stop(DRAIN_GRACE)
        await draining


def _workspace(context: Context) -> Path:
    """Where files lie that the agent keeps for people: shared by all replicas, unlike their scratch."""
    given = context.environment.get("OPENCRUST_WORKSPACE")
    return Path(given) if given else context.settings.state_dir / "workspace"


def _assessor(state: Path) -> assess.Assessor:
    """With the rules in the state directory and the second opinion, where they can be used: an agent that checks
    nothing would be worse."""
    second = None
    try:
        second = assess.installed()
    except assess.SecondOpinionError as error:
        log.error("the second opinion on suspicious texts is not used: %s", error)
    try:
        return assess.load(state, second)
    except assess.RulesError as error:
        log.error("%s is not used, the shipped rules are: %s", assess.RULES_FILE, error)
        return assess.load(second=second)


def main() -> int:
    """Console script; its exit codes are :mod:`opencrust.service`'s."""
    return service.main("agent", run)
