"""One turn: a stored message in, the session after it out. The stages, in order::

    authorise → admission → sanitise → assess (``screen``) → compose → think → reply

Each is a module of its own. What a turn may do besides its return value: show live events, and bury a dead letter
(both are harmless when the turn runs a second time).
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass

from opencrust.bus import Bus
from opencrust.bus.deadletter import bury
from opencrust.bus.drain import Work
from opencrust.config import AgentSettings
from opencrust.contracts import (
    EventType,
    Finish,
    InboundMessage,
    OutboundMessage,
    ReplyAddress,
    SessionView,
    Turn,
)
from opencrust.contracts.messages import now
from opencrust.contracts.session import MAX_TURN_BYTES, MIN_KEEP_SECONDS, cut
from opencrust.telemetry import genai
from opencrust_agent.admission import Admissions
from opencrust_agent.authorise import Refused, authorise, salvage
from opencrust_agent.compose import compose
from opencrust_agent.live import Live
from opencrust_agent.models import Model
from opencrust_agent.sanitise import sanitise
from opencrust_agent.screen import BLOCKED, Screen
from opencrust_agent.stops import Stops
from opencrust_agent.think import Answer, think

log = logging.getLogger(__name__)

MAX_ATTEMPTS = 6
"""A message that was tried so often without an answer is a dead letter, and the conversation goes on."""
NOTHING_TO_READ = "I can read only text so far, and there is none in this message."
TOO_LONG = "\n\n(cut here: too long)"


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


class Turns:
    """Runs turns; the drain's handler."""

    def __init__(
        self, bus: Bus, mind: Callable[[], Mind], stops: Stops, screen: Screen, admissions: Admissions
    ) -> None:
        self._bus = bus
        self._admissions = admissions
        self._mind = mind
        self._stops = stops
        self._screen = screen
        self.answered = 0
        self.buried = 0

    async def run(self, work: Work) -> SessionView:
        """Answer one message.

        Raises:
            BusError: a dead letter could not be buried, or who wrote could not be looked up; the message comes again.
        """
        try:
            if work.session.attempts > MAX_ATTEMPTS:
                raise Refused(f"{MAX_ATTEMPTS} attempts to answer it failed")
            message = await self._admissions.check(authorise(work), work)
        except Refused as refusal:
            return await self._bury(work, refusal)
        if message is None:
            return _passed_over(work)
        with genai.invoke_agent("opencrust", conversation=work.conv):
            if not sanitise(message.text).strip():
                answer = Answer(text=NOTHING_TO_READ, finish=Finish.FAILED)
            elif await self._screen.admits(message, work):
                answer = await self._think(message, work)
            else:
                answer = Answer(text=BLOCKED, finish=Finish.FAILED)
        self.answered += 1
        after = _answered(work, message.id, message.sender.user, message.reply_to, sanitise(message.text), answer)
        return after.model_copy(update={"keep_seconds": MIN_KEEP_SECONDS}) if message.ephemeral else after

    async def _think(self, message: InboundMessage, work: Work) -> Answer:
        mind = self._mind()
        live = Live(self._bus, work.channel, work.conv, message.id, work.session.attempts)
        request = compose(
            message,
            work.session,
            instructions=mind.settings.instructions,
            max_tokens=mind.max_tokens,
            history=mind.history,
        )
        try:
            with self._stops.watch(work.channel, work.conv) as stop:
                await live.send(EventType.STARTED)
                answer = await think(mind.model, request, live, stop)
                answer.model = mind.label(answer.model)
                await live.send(EventType.FINISHED, data={"finish": answer.finish})
                return answer
        finally:
            live.close()

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
        sender = salvage(work)
        if sender is None:
            return _passed_over(work)
        text = "I could not read or answer this message. It is kept: `opencrust dlq list` shows it to the operator."
        answer = Answer(text=text, finish=Finish.FAILED)
        return _answered(work, sender.message_id, "unknown", sender.address, "", answer)


def _passed_over(work: Work) -> SessionView:
    """The session after a message that gets no reply."""
    return work.session.model_copy(update={"cursor": work.message.seq, "attempts": 0, "outbox": []})


def _answered(work: Work, message_id: str, user: str, address: ReplyAddress, text: str, answer: Answer) -> SessionView:
    """The session after the turn, with its reply in the outbox. The address is the ingress's, unchanged."""
    seq = work.message.seq
    said = sanitise(answer.text)  # what a model says can hold what no person sees, too
    body = cut(said)
    if body != said:
        body = cut(body, MAX_TURN_BYTES - len(TOO_LONG)) + TOO_LONG
    reply = OutboundMessage(
        id=f"re:{seq}:0",
        in_reply_to=message_id,
        address=address,
        text=body or "(the model gave an empty answer)",
        finish=answer.finish,
        model=answer.model,
        usage=answer.usage,
        created_time=now(),
    )
    turn = Turn(
        seq=seq,
        message_id=message_id,
        user=user,
        text=cut(text),
        reply_id=reply.id,
        reply=reply.text,
        finish=answer.finish,
        model=answer.model,
        at=reply.created_time,
    )
    return work.session.with_turn(turn, [reply])
