"""The guard in a turn: what it is given to look at, and the record of what it found."""

import asyncio
import json
import logging
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from opencrust.bus import Bus, BusError, subjects
from opencrust.contracts import Finish
from opencrust.contracts.messages import now
from opencrust_agent.guard.guard import Finding, Guard
from opencrust_agent.guard.links import Named
from opencrust_agent.guard.stream import GuardedLive
from opencrust_agent.setting import Setting
from opencrust_agent.think import Answer

log = logging.getLogger(__name__)

IN_THREAD = 8_000
"""Characters from which a look is worth a thread."""
REFUSED = "its arguments hold a secret of this house, or parts of your instructions, which no tool may be given"


class GuardStage:
    """One per process.

    Args:
        longest: characters of the longest form of a secret, and of the longest that has spaces in it.
    """

    def __init__(self, bus: Bus, guard: Guard, longest: Callable[[], tuple[int, int]] = lambda: (0, 0)) -> None:
        self._bus = bus
        self._guard = guard
        self._longest = longest
        self._recording: set[asyncio.Task[None]] = set()

    def instructions(self, text: str) -> str:
        """The system prompt with a canary; an empty one stays empty (the demo model's)."""
        return f"{text}\n\n{self._guard.canary.line()}" if text else text

    def live(self, setting: Setting) -> GuardedLive:
        """The turn's live events, guarded."""
        return GuardedLive(setting.live, self._guard, lambda: named_in(setting), lambda: setting.tainted, self._longest)

    async def reply(self, answer: Answer, setting: Setting) -> Answer:
        """The answer as it may leave."""
        look = self._guard.reply
        if len(answer.text) > IN_THREAD:
            guarded = await asyncio.to_thread(look, answer.text, named_in(setting), tainted=setting.tainted)
        else:
            guarded = look(answer.text, named_in(setting), tainted=setting.tainted)
        if guarded.findings:
            answer.text = guarded.text
            if guarded.blocked:
                answer.finish = Finish.FAILED
            self._record("reply", guarded.findings, f"{setting.channel}.{setting.message.key}", setting.journal.seq)
        return answer

    def call(self, tool: str, arguments: Mapping[str, Any]) -> str:
        """Why a call may not be made; empty: it may."""
        found = self._guard.arguments(arguments)
        if not found:
            return ""
        self._record(f"arguments of {tool}", found)
        return REFUSED

    def _record(self, place: str, findings: Iterable[Finding], conversation: str = "", seq: int = 0) -> None:
        """Say so in log and audit: kinds and numbers, no word of it."""
        kinds = {finding.kind.value: finding.count for finding in findings}
        log.warning("guard: %s of conversation %s: %s", place, conversation or "?", kinds)
        record = {
            "v": 1,
            "event": "guard",
            "at": now().isoformat(),
            "place": place,
            "conversation": conversation,
            "seq": seq,
            "found": kinds,
        }
        task = asyncio.create_task(self._audit(json.dumps(record).encode()))
        self._recording.add(task)
        task.add_done_callback(self._recording.discard)

    async def _audit(self, data: bytes) -> None:
        try:
            await self._bus.publish_stored(subjects.audit("agent"), data)
        except BusError as error:
            log.error("an audit record of the guard could not be stored: %s", error)


def named_in(setting: Setting) -> Named:
    """What was named: by the person in his own messages, by tools and earlier answers."""
    message, turns = setting.message, setting.session.turns
    own = [turn.text for turn in turns if turn.trusted and turn.user == message.sender.user]
    own += [message.text] if setting.trusted else []
    others = [turn.reply for turn in turns]
    others += [call.result for step in setting.journal.steps for call in step.calls]
    return Named.of([*own, *setting.vouched], others)
