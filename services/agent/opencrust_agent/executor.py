"""Running tools. The one place where a call becomes an act, and where it is decided whether it does.

For each step of the model (some calls at once)::

    fits its schema? → not the same again and again? → policy (taint, provenance) → allow | ask | deny
    allowed and only reading: all at the same time
    allowed with an effect: one after the other, each *intended* in the journal before and *done* after

What the model was shown when it asked is what a call is judged by: results of the same step cannot have led to it. A
call that is found intended when a turn is run again was cut off by a crash. It may have been made: it is not repeated,
and that nobody knows is its result. Every result is sanitised, assessed, labelled and cut before the model sees it.
"""

import asyncio
import json
import logging
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import timedelta
from typing import Any

from opencrust.config import Answer
from opencrust.contracts import (
    CallState,
    EventType,
    JournalCall,
    Outcome,
    Step,
)
from opencrust.contracts.journal import MAX_RESULTS_BYTES
from opencrust.contracts.messages import now
from opencrust.contracts.session import cut
from opencrust.telemetry import genai
from opencrust_agent.approvals import new_id
from opencrust_agent.card import digest, make_card
from opencrust_agent.label import Label, marked
from opencrust_agent.models import ToolCall
from opencrust_agent.models import ToolSpec as Offered
from opencrust_agent.provenance import Wish, leaves, places_of, sink, wish
from opencrust_agent.sanitise import sanitise
from opencrust_agent.setting import Setting
from opencrust_agent.tools import Tool, ToolContext, ToolResult, ToolSpec
from opencrust_agent.tools.schema import faults
from opencrust_agent.vetting import Vetting

log = logging.getLogger(__name__)

MAX_RESULT_BYTES = 16 * 1024
"""Most that the model is shown of one result."""
MIN_RESULT_BYTES = 512
SAME_CALLS = 3
"""A call that was made so often with the same arguments is not made again in this turn."""
MAX_CALLS = 16
"""Most calls in one answer of the model."""
ABANDON_SECONDS = 0.3
"""How long a cancelled call may take to end before nobody waits for it any more."""
FOREIGN = ("plugin", "mcp")
"""Sources whose tools' descriptions strangers wrote."""
MAX_ARGUMENT_BYTES = 32 * 1024
SHOWN = 2_000
"""Characters of a call's arguments in its live event."""

UNKNOWN = (
    "It is not known whether this was done: it was cut off in the middle ({why}). It will not be tried again by itself."
    " Tell the person, and let him look before anything is repeated."
)

CallGuard = Callable[[str, Mapping[str, Any]], str]
"""From a tool's name and arguments to why they may not leave (a secret is in them); empty: they may."""


class Stopped(Exception):
    """Somebody stopped the turn."""


class Executor:
    """Runs the calls of a step."""

    def __init__(
        self, vetting: Vetting, guard: CallGuard | None = None, redact: Callable[[str], str] | None = None
    ) -> None:
        """``redact`` takes secrets out of what is shown of arguments; without it none are shown."""
        self._vetting = vetting
        self._guard = guard
        self._redact = redact
        self.calls: Counter[str] = Counter()
        """What came of all calls, by outcome: for status."""

    def plan(self, setting: Setting, message: dict[str, Any], calls: tuple[ToolCall, ...]) -> Step:
        """A step with each call judged: ``planned`` (go), ``waiting`` (with its card), or ``done``."""
        seen = Counter(call.digest for step in setting.journal.steps for call in step.calls)
        planned = []
        for number, call in enumerate(calls):
            entry = JournalCall(id=call.id, tool=call.name, arguments=dict(call.arguments))
            if number >= MAX_CALLS:
                planned.append(_refused(entry, f"more than {MAX_CALLS} calls at once: make the rest afterwards"))
                continue
            entry = self._judged(setting, entry, call.malformed, seen, planned)
            seen[entry.digest] += 1
            planned.append(entry)
        return Step(message=message, calls=planned)

    async def run(self, setting: Setting, step: Step) -> None:
        """Make every planned call of ``step``, in place; those that wait stay waiting.

        Raises:
            Stopped: somebody stopped it; what was under way is in the journal.
            Fenced: another worker went on with this conversation.
        """
        for at, call in enumerate(step.calls):
            if call.state is CallState.INTENDED:
                tool = setting.tools.get(call.tool)
                if tool is not None and tool.spec.repeatable:
                    step.calls[at] = call.model_copy(update={"state": CallState.PLANNED})
                else:
                    step.calls[at] = self._done(call, UNKNOWN.format(why="the house went down"), Outcome.UNKNOWN)
        todo = [at for at, call in enumerate(step.calls) if call.state is CallState.PLANNED]
        reading = [at for at in todo if self._repeatable(setting, step.calls[at])]
        await asyncio.gather(*(self._make(setting, step, at) for at in reading))
        if setting.stop.is_set():
            raise Stopped
        for at in todo:
            if at in reading:
                continue
            if setting.stop.is_set():
                raise Stopped
            step.calls[at] = step.calls[at].model_copy(update={"state": CallState.INTENDED})
            await setting.save()  # who cannot write this down has not begun it
            await self._make(setting, step, at)
            await setting.save()
        if setting.stop.is_set():
            raise Stopped

    def described(self, spec: ToolSpec) -> Offered:
        """A tool as the model is told of it. What others wrote about their tools is assessed like all they write."""
        if spec.source not in FOREIGN:
            return spec.offered()
        return self._vetting.described(spec)

    async def announce(self, setting: Setting, step: Step) -> None:
        """Show what of a step will not be run now: what waits for a person, and what is refused."""
        for call in step.calls:
            if call.state is CallState.WAITING:
                await self._tell(setting, call, "waiting")
            elif call.state is CallState.DONE:
                await self._tell(setting, call, "denied" if call.outcome is Outcome.DENIED else "failed")

    def approved(self, call: JournalCall) -> JournalCall:
        """The call, to be made."""
        return call.model_copy(update={"state": CallState.PLANNED, "card": None})

    def permits(self, setting: Setting, call: JournalCall) -> str:
        """Why a call that a person approved can still not be made; empty: it can."""
        tool = setting.tools.get(call.tool)
        if tool is None:
            return "there is no such tool any more"
        ruling = setting.policy.judge(tool.spec, setting.here, Wish(granted=False))
        return ruling.why if ruling.answer is Answer.DENY else ""

    def deny(self, call: JournalCall, why: str) -> JournalCall:
        """The call, settled without being made."""
        return self._done(call, f"Not done: {why}.", Outcome.DENIED)

    def _judged(
        self, setting: Setting, call: JournalCall, malformed: str, seen: Counter[str], before: list[JournalCall]
    ) -> JournalCall:
        tool = setting.tools.get(call.tool)
        if tool is None or not setting.policy.offers(tool.spec, setting.here):
            return self._done(call, "There is no tool of that name for you here.", Outcome.DENIED)
        spec = tool.spec
        wrong = [malformed] if malformed else faults(call.arguments, spec.parameters)
        if not wrong and len(_text_of(call.arguments)) > MAX_ARGUMENT_BYTES:
            wrong = [f"the arguments are over {MAX_ARGUMENT_BYTES} bytes"]
        if wrong:
            return self._done(
                call.model_copy(update={"arguments": {}}), f"Not done: {'; '.join(wrong[:3])}.", Outcome.FAILED
            )
        call = call.model_copy(update={"digest": digest(spec.name, call.arguments), "sink": sink(spec, call.arguments)})
        if self._guard is not None and (why := self._guard(spec.name, call.arguments)):
            return self._done(call.model_copy(update={"arguments": {}}), f"Not done: {why}.", Outcome.DENIED)
        if seen[call.digest] >= SAME_CALLS:
            return self._done(
                call, "Not done: you made this very call several times. Answer with what you have.", Outcome.DENIED
            )
        granted = self._wish(setting, spec, call, before)
        ruling = setting.policy.judge(spec, setting.here, granted)
        answer, why = ruling.answer, ruling.why
        if any(other.digest == call.digest for other in setting.journal.unknown()) and answer is Answer.ALLOW:
            answer, why = Answer.ASK, "it was begun before, and it is not known whether it was done"
        if answer is Answer.DENY:
            return self._done(call, f"Not allowed: {why or 'by policy'}.", Outcome.DENIED)
        if answer is Answer.ALLOW:
            return call
        if not setting.may_ask:
            return self._done(
                call, "Not done: it needs an approval, and too many questions wait already.", Outcome.DENIED
            )
        expires = now() + timedelta(minutes=setting.policy.settings.approval_minutes)
        card = make_card(new_id(), spec, call.arguments, why=why, strange=granted.strange, expires=expires)
        return call.model_copy(update={"state": CallState.WAITING, "approval": card.id, "card": card})

    def _wish(self, setting: Setting, spec: ToolSpec, call: JournalCall, before: list[JournalCall]) -> Wish:
        """Whose wish the call is, with what this turn did so far in view."""
        made = [c for step in setting.journal.steps for c in step.calls] + before
        read: set[str] = set()
        done: set[str] = set()
        for other in made:
            tool = setting.tools.get(other.tool)
            if tool is None or not other.digest:
                continue
            if tool.spec.repeatable:
                for name in places_of(tool.spec, other.arguments):
                    read |= set(leaves(other.arguments[name]))
            else:
                done.add(other.sink)
        found = wish(spec, call.arguments, setting.words, read=frozenset(read), done=frozenset(done))
        if found.granted and setting.tainted and not spec.repeatable and self._vetting.suspects(call.arguments):
            return Wish(granted=False, strange=("what it holds looks like an attempt to take somebody over",))
        return found

    def _repeatable(self, setting: Setting, call: JournalCall) -> bool:
        tool = setting.tools.get(call.tool)
        return tool is not None and tool.spec.repeatable

    async def _make(self, setting: Setting, step: Step, at: int) -> None:
        """Make one call; its result replaces it in ``step``."""
        call = step.calls[at]
        tool = setting.tools.get(call.tool)
        if tool is None:
            step.calls[at] = self._done(call, "Not done: there is no such tool any more.", Outcome.FAILED)
            return
        await self._tell(setting, call, "started")
        with genai.execute_tool(call.tool, call_id=call.id):
            result, outcome = await self._result(setting, tool, call)
        self.calls[outcome] += 1
        text, tainted = await self._shown(setting, tool.spec, result)
        setting.tainted = setting.tainted or tainted
        step.calls[at] = call.model_copy(
            update={"state": CallState.DONE, "outcome": outcome, "result": text, "tainted": tainted}
        )
        await self._tell(setting, step.calls[at], "done" if outcome is Outcome.OK else "failed", result.summary)

    async def _result(self, setting: Setting, tool: Tool, call: JournalCall) -> tuple[ToolResult, Outcome]:
        """Call the tool until it ends, its time is over, or somebody stops it."""
        loop = asyncio.get_running_loop()
        spec = tool.spec
        context = ToolContext(
            address=setting.message.reply_to,
            person=setting.message.sender,
            trust=setting.message.trust,
            call=f"{setting.key}:{call.id}",
            deadline=loop.time() + spec.timeout,
            stop=setting.stop,
            tainted=setting.tainted,
            is_group=setting.message.is_group,
        )
        calling = asyncio.create_task(tool.call(dict(call.arguments), context))
        stopping = asyncio.create_task(setting.stop.wait())
        try:
            await asyncio.wait({calling, stopping}, timeout=spec.timeout, return_when=asyncio.FIRST_COMPLETED)
            if calling.done():
                result = calling.result()
                return result, Outcome.FAILED if result.failed else Outcome.OK
            why = "it was stopped" if setting.stop.is_set() else f"it took over {spec.timeout:g} seconds"
            if spec.repeatable:
                return ToolResult(f"No result: {why}.", failed=True), Outcome.FAILED
            return ToolResult(UNKNOWN.format(why=why), failed=True), Outcome.UNKNOWN
        except Exception as error:  # noqa: BLE001  a tool may raise anything; what it says may hold anything
            log.warning("tool %s raised %s", spec.name, type(error).__name__)
            said = f"it failed ({type(error).__name__})"
            if spec.repeatable:
                return ToolResult(f"No result: {said}.", failed=True), Outcome.FAILED
            return ToolResult(UNKNOWN.format(why=said), failed=True), Outcome.UNKNOWN
        finally:
            stopping.cancel()
            calling.cancel()
            with suppress(asyncio.CancelledError):
                await asyncio.wait({calling}, timeout=ABANDON_SECONDS)

    async def _shown(self, setting: Setting, spec: ToolSpec, result: ToolResult) -> tuple[str, bool]:
        """A result as the model is shown it, and whether it taints the conversation."""
        text = sanitise(result.text)
        room = max(MIN_RESULT_BYTES, min(MAX_RESULT_BYTES, MAX_RESULTS_BYTES - setting.journal.results_size()))
        shown = cut(text, room)
        vetted = await self._vetting.vet(shown, spec.source, about=spec.name)
        taints = spec.taints or result.taint or vetted.suspicious
        label = Label(spec.source, trusted=not taints, origin=result.origin or spec.name, note=vetted.note)
        left = len(text.encode()) - len(shown.encode())
        more = f"\n(cut here: {left} more bytes)" if left else ""
        return marked(vetted.text or "(empty)", label, setting.journal.boundary) + more, taints

    def _done(self, call: JournalCall, result: str, outcome: Outcome) -> JournalCall:
        self.calls[outcome] += 1
        return call.model_copy(update={"state": CallState.DONE, "outcome": outcome, "result": result, "card": None})

    async def _tell(self, setting: Setting, call: JournalCall, state: str, summary: str = "") -> None:
        data: dict[str, Any] = {"call": call.id, "tool": call.tool, "state": state}
        if self._redact is not None and state in ("started", "waiting"):
            data["arguments"] = _excerpt(call.arguments, self._redact)
        if summary:
            data["summary"] = sanitise(summary)[:200]
        await setting.live.send(EventType.TOOL, data=data)


def _refused(call: JournalCall, why: str) -> JournalCall:
    update = {"arguments": {}, "state": CallState.DONE, "outcome": Outcome.DENIED, "result": f"Not done: {why}."}
    return call.model_copy(update=update)


def _excerpt(arguments: Mapping[str, Any], redact: Callable[[str], str]) -> dict[str, str]:
    """Arguments to be looked at: plain text, secrets taken out, :data:`SHOWN` characters in all."""
    found: dict[str, str] = {}
    room = SHOWN
    for name, value in arguments.items():
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        shown = redact(sanitise(text))
        found[sanitise(name)[:64]] = shown if len(shown) <= room else f"{shown[:room]}…"
        room = max(0, room - len(shown))
    return found


def _text_of(arguments: Mapping[str, Any]) -> str:
    return "".join(leaves(arguments, plain=False))
