"""One turn: a stored message in, the session after it out. The stages, in order::

    authorise → again → admission → commands → sanitise → assess (``screen``) → label → compose → think ⇄ act → guard
    → reply

Each is a module of its own. A turn may be run again at any point after a crash: live events and dead letters do no harm
twice, and what tools do to the world is kept in the journal (:mod:`opencrust_agent.executor`). A turn that needs a
person's word ends with the question and is *suspended*; the answer wakes it up as a message of its own
(:mod:`opencrust_agent.resume`), and the conversation goes on meanwhile.
"""

import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial

from opencrust.bus import Bus, BusError
from opencrust.bus.deadletter import bury
from opencrust.bus.drain import Work
from opencrust.config import AgentSettings
from opencrust.config.budgets import BudgetSettings
from opencrust.contracts import EventType, Finish, InboundMessage, Journal, SessionView, Source, Trust
from opencrust.contracts.journal import MAX_SUSPENDED, MAX_SUSPENDED_BYTES
from opencrust.contracts.messages import now
from opencrust.contracts.session import MIN_KEEP_SECONDS
from opencrust.telemetry import genai
from opencrust_agent.admission import Admissions
from opencrust_agent.again import Again
from opencrust_agent.approvals import Approvals
from opencrust_agent.assess import Verdict
from opencrust_agent.authorise import Refused, authorise, salvage
from opencrust_agent.commands import Command, Commands, parse
from opencrust_agent.compose import compose
from opencrust_agent.contacts import Contacts
from opencrust_agent.egress import Allowed
from opencrust_agent.executor import Executor
from opencrust_agent.guard.stage import GuardStage
from opencrust_agent.label import new_boundary
from opencrust_agent.ledger.prices import Prices
from opencrust_agent.live import Live
from opencrust_agent.loop import Pause, loop
from opencrust_agent.models import Message, Model, Request, ToolSpec
from opencrust_agent.pictures import Pictures
from opencrust_agent.policy import Policy
from opencrust_agent.provenance import Words
from opencrust_agent.reply import Said, answered, suspended
from opencrust_agent.resume import Resuming
from opencrust_agent.sanitise import sanitise
from opencrust_agent.screen import BLOCKED, Screen
from opencrust_agent.setting import Setting
from opencrust_agent.stops import Stops, stored_at
from opencrust_agent.summarise import summarised
from opencrust_agent.think import Answer
from opencrust_agent.tools import ToolRegistry
from opencrust_agent.vetting import Vetting

log = logging.getLogger(__name__)

MAX_ATTEMPTS = 6
"""A message that was tried so often without an answer is a dead letter, and the conversation goes on."""
NOTHING_TO_READ = "I can read only text so far, and there is none in this message."
TRUSTED = (Trust.OWNER, Trust.USER)

Meter = Callable[[Model, InboundMessage], Model]
"""Puts a model on the account of a message's sender."""
News = Callable[[], Awaitable[list[str]]]
"""What the owner should hear of, once: sentences."""


@dataclass(frozen=True, slots=True)
class Mind:
    """What answers now: reloaded when the configuration changes."""

    model: Model
    settings: AgentSettings
    max_tokens: int
    history: int
    """Characters of earlier turns that the model is shown."""
    label: Callable[[str], str]
    """How a person is told which model answered."""
    allowed: Allowed = field(default_factory=Allowed)
    """Where tools may connect to besides the public internet."""
    prices: Prices = field(default_factory=lambda: Prices(BudgetSettings()))


class Turns:
    """Runs turns; the drain's handler."""

    def __init__(
        self,
        bus: Bus,
        mind: Callable[[], Mind],
        stops: Stops,
        screen: Screen,
        admissions: Admissions,
        *,
        tools: ToolRegistry,
        approvals: Approvals,
        vetting: Vetting,
        redact: Callable[[str], str] | None = None,
        contacts: Contacts | None = None,
        guard: GuardStage | None = None,
        meter: Meter | None = None,
        news: News | None = None,
    ) -> None:
        self._bus = bus
        self._admissions = admissions
        self._again = Again(bus)
        self._mind = mind
        self._stops = stops
        self._screen = screen
        self._tools = tools
        self._approvals = approvals
        self._vetting = vetting
        self._guard = guard
        self._contacts = contacts
        self._meter = meter
        self._news = news
        self.executor = Executor(vetting, guard.call if guard is not None else None, redact)
        self._resuming = Resuming(bus, approvals, self.executor)
        self._commands = Commands(
            approvals, lambda: mind().settings.policy.requester_may_approve, lambda: _state(mind())
        )
        self._pictures = Pictures(bus)
        self.answered = 0
        self.buried = 0

    async def run(self, work: Work) -> SessionView:
        """Answer one message.

        Raises:
            BusError: a dead letter could not be buried, a question not asked, or who wrote not looked up; the message
                comes again.
            Fenced: another worker went on with this conversation.
        """
        try:
            if work.session.attempts > MAX_ATTEMPTS:
                raise Refused(f"{MAX_ATTEMPTS} attempts to answer it failed")
            received = authorise(work)
        except Refused as refusal:
            return await self._bury(work, refusal)
        if received.source is Source.APPROVAL:
            return await self._resume(received, work)
        if await self._again.was_here(received, work):
            log.info("conversation %s: message %d was here before", work.conv, work.message.seq)
            return _passed_over(work.session, work)
        message = await self._admissions.check(received, work)
        if message is None:
            return _passed_over(work.session, work)
        if self._contacts is not None:
            await self._contacts.note(message)
        command = parse(sanitise(message.text))
        if command is not None:
            return await self._command(command, message, work)
        with genai.invoke_agent("opencrust", conversation=work.conv):
            after = await self._answer(message, work)
        self.answered += 1
        return after.model_copy(update={"keep_seconds": MIN_KEEP_SECONDS}) if message.ephemeral else after

    async def _command(self, command: Command, message: InboundMessage, work: Work) -> SessionView:
        done = await self._commands.answer(command, message, work.session)
        return answered(done.session, Said.of(message, work), Answer(text=done.text))

    async def _resume(self, wake: InboundMessage, work: Work) -> SessionView:
        """Go on with the turn that waited; nothing happens where none waits any more."""
        found = self._resuming.find(wake, work.session)
        if found is None:
            return _passed_over(work.session, work)
        journal, session = found
        original = await self._resuming.original(work, journal)
        message = await self._admissions.check(original, work) if original is not None else None
        if message is None:  # its author is not on the list any more, or it is gone from the stream
            log.warning("conversation %s: message %d waited for an approval, and is dropped", work.conv, journal.seq)
            return _passed_over(session, work)
        trusted = any(turn.seq == journal.seq and turn.trusted for turn in session.turns)
        said = self._resuming.said(wake, message, work, journal)
        with genai.invoke_agent("opencrust", conversation=work.conv):
            return await self._think(
                message, work, session, journal, said, trusted=trusted, prepare=self._resuming.prepare
            )

    async def _answer(self, message: InboundMessage, work: Work) -> SessionView:
        said = Said.of(message, work)
        if not sanitise(message.text).strip() and not message.attachments:
            return answered(work.session, said, Answer(text=NOTHING_TO_READ, finish=Finish.FAILED))
        verdict = await self._screen.judge(message, work)
        if verdict is Verdict.BLOCK:
            return answered(work.session, said, Answer(text=BLOCKED, finish=Finish.FAILED))
        trusted = message.trust in TRUSTED and verdict is Verdict.PASS
        said = said.by(trusted)
        brought = any(turn.role == "assistant" for turn in message.context)  # nobody knows what led to those
        waiting = [journal for journal in work.session.suspended if not journal.lapsed(now())]
        tainted = work.session.tainted or brought or not trusted
        session = work.session.model_copy(update={"tainted": tainted, "suspended": waiting})
        journal = work.session.progress
        if journal is None or journal.seq != work.message.seq:
            journal = Journal(seq=work.message.seq, boundary=new_boundary())
        return await self._think(message, work, session, journal, said, trusted=trusted)

    async def _think(
        self,
        message: InboundMessage,
        work: Work,
        session: SessionView,
        journal: Journal,
        said: Said,
        *,
        trusted: bool,
        prepare: Callable[[Setting], Awaitable[bool]] | None = None,
    ) -> SessionView:
        """Run the loop of a turn from where ``journal`` stands, and give the session after it.

        Args:
            message: the one that the turn answers.
            work: of the message that woke it up: the same one, or an approval's.
            session: without ``journal`` among its suspended turns.
            prepare: done first, with the turn's setting; False: nothing is to be run now, the turn goes on waiting.
        """
        mind = self._mind()
        live = Live(self._bus, work.channel, work.conv, message.id, work.session.attempts)
        stored = stored_at(work.message.headers, message.received_time)
        try:
            with (
                self._stops.watch(work.channel, work.conv, stored) as stop,
                self._admissions.watch(message, work, stop) as standing,
            ):
                setting = self._setting(message, work, session, journal, live, trusted=trusted)
                setting.stop = stop
                if self._guard is not None:
                    setting.live = self._guard.live(setting)
                if prepare is not None and not await prepare(setting):
                    return suspended(session, said, Answer(), setting)
                setting.words = self._words(setting, trusted=trusted)
                setting.pictures = await self._pictures.of(message, self._vetting.name)
                setting.tainted = setting.tainted or bool(setting.pictures)
                await setting.live.send(EventType.STARTED)
                model = self._meter(mind.model, message) if self._meter is not None else mind.model
                setting.session = await summarised(
                    model, session, history=mind.history, boundary=setting.journal.boundary, stop=stop
                )
                outcome = await loop(model, partial(self._compose, mind, message, setting), self.executor, setting)
                session = setting.session
                if standing.out:
                    return _passed_over(session, work)
                if isinstance(outcome, Pause):
                    return await self._pause(session, said, outcome.answer, setting)
                outcome.model = mind.label(outcome.model)
                if self._guard is not None:
                    outcome = await self._guard.reply(outcome, setting)
                outcome.text += await self._told(message)
                await setting.live.send(EventType.FINISHED, data={"finish": outcome.finish})
                return answered(
                    session.model_copy(update={"tainted": setting.tainted, "vouched": setting.vouched}), said, outcome
                )
        finally:
            live.close()

    async def _told(self, message: InboundMessage) -> str:
        """What the owner should hear of, below an answer to himself alone."""
        if self._news is None or message.trust is not Trust.OWNER or message.is_group:
            return ""
        try:
            return "".join(f"\n\n(Budget: {text}. `opencrust usage` shows more.)" for text in await self._news())
        except BusError as error:
            log.warning("the owner is not told of budgets now: %s", error)
            return ""

    def _setting(
        self,
        message: InboundMessage,
        work: Work,
        session: SessionView,
        journal: Journal,
        live: Live,
        *,
        trusted: bool,
    ) -> Setting:
        """What holds for the turn."""
        room = len(session.suspended) < MAX_SUSPENDED
        setting = Setting(
            tools=self._tools.now(),
            policy=Policy(self._mind().settings.policy),
            channel=work.channel,
            message=message,
            journal=journal.model_copy(deep=True),
            tainted=session.tainted,
            vouched=list(session.vouched),
            live=live,
            session=session,
            trusted=trusted,
            checkpoint=work.checkpoint,
            may_ask=room and sum(waiting.size() for waiting in session.suspended) < MAX_SUSPENDED_BYTES,
        )
        setting.words = self._words(setting, trusted=trusted)
        return setting

    def _words(self, setting: Setting, *, trusted: bool) -> Words:
        """What the person said himself, and what he vouched for."""
        if not trusted:
            return Words("", (), setting.vouched)
        message, turns = setting.message, setting.session.turns
        earlier = [turn.text for turn in turns if turn.trusted and turn.user == message.sender.user]
        return Words(sanitise(message.text), earlier, setting.vouched)

    def _compose(
        self,
        mind: Mind,
        message: InboundMessage,
        setting: Setting,
        journal: tuple[Message, ...],
        tools: tuple[ToolSpec, ...],
    ) -> Request:
        instructions = mind.settings.whole_instructions
        return compose(
            message,
            setting.session,
            instructions=instructions if self._guard is None else self._guard.instructions(instructions),
            max_tokens=mind.max_tokens,
            history=mind.history,
            boundary=setting.journal.boundary,
            tools=tools,
            journal=journal,
            before=setting.journal.seq,
            name=self._vetting.name,
            pictures=setting.pictures,
        )

    async def _pause(self, session: SessionView, said: Said, answer: Answer, setting: Setting) -> SessionView:
        """Put the questions, and end the turn until they are answered."""
        for approval in setting.questions():
            await self._approvals.ask(approval)
        await setting.live.send(EventType.FINISHED, data={"finish": Finish.COMPLETE})
        if self._guard is not None:
            answer = await self._guard.reply(answer, setting)
        answer.model = self._mind().label(answer.model)
        return suspended(session, said, answer, setting)

    async def _bury(self, work: Work, refusal: Refused) -> SessionView:
        """Keep the message as a dead letter and go on; tell its sender, where that can be read safely."""
        log.warning("dead letter %d of conversation %s: %s", work.message.seq, work.conv, refusal)
        await bury(
            self._bus,
            stream="MSG_IN",
            consumer="agent",
            seq=work.message.seq,
            subject=work.message.subject,
            data=work.message.data,
            reason=str(refusal),
        )
        self.buried += 1
        session = work.session.model_copy(update={"progress": None})
        sender = salvage(work)
        if sender is None:
            return _passed_over(session, work)
        text = "I could not read or answer this message. It is kept: `opencrust dlq list` shows it to the operator."
        said = Said(work.message.seq, sender.message_id, "unknown", sender.address)
        return answered(session, said, Answer(text=text, finish=Finish.FAILED))


def _passed_over(session: SessionView, work: Work) -> SessionView:
    """The session after a message that gets no reply."""
    return session.model_copy(update={"cursor": work.message.seq, "attempts": 0, "outbox": [], "progress": None})


def _state(mind: Mind) -> str:
    return f"Answering with {mind.label(mind.model.model)}."
