"""Going on with a turn that waited for a person's word.

The wake-up says only *which* question; what was decided is read from the bucket, and holds for exactly the call that
was shown (digest), in this conversation, once: it is marked used before anything is done, in the name of this turn, so
that the same turn may go on after a crash and no other ever can. What is forbidden by now stays undone, whoever
approved it.
"""

import logging
from functools import partial

from opencrust.bus import Bus, StreamReader
from opencrust.bus.drain import Work
from opencrust.contracts import (
    ApprovalState,
    CallState,
    ContractError,
    InboundMessage,
    Journal,
    JournalCall,
    SessionView,
    decode,
)
from opencrust.contracts.messages import now
from opencrust_agent.approvals import Approvals, lapsed
from opencrust_agent.executor import Executor
from opencrust_agent.provenance import leaves, places_of
from opencrust_agent.reply import Said
from opencrust_agent.setting import Setting

log = logging.getLogger(__name__)


class Resuming:
    """Finds suspended turns and settles their questions."""

    def __init__(self, bus: Bus, approvals: Approvals, executor: Executor) -> None:
        self._messages = StreamReader(bus, "MSG_IN")
        self._approvals = approvals
        self._executor = executor

    def find(self, wake: InboundMessage, session: SessionView) -> tuple[Journal, SessionView] | None:
        """The journal that waits for ``wake``, and the session without it; None where nothing waits (any more)."""
        if session.progress is not None:  # we were cut off while we went on with it
            return session.progress, session
        for journal in session.suspended:
            if any(call.approval == wake.approval for call in journal.waiting()):
                others = [other for other in session.suspended if other is not journal]
                return journal, session.model_copy(update={"suspended": others})
        return None

    async def original(self, work: Work, journal: Journal) -> InboundMessage | None:
        """The message that the turn answers, as it stands in the stream; None where it is gone.

        Raises:
            BusError: it cannot be read now.
        """
        stored = await self._messages.next(work.message.subject, after=journal.seq - 1)
        if stored is None or stored.seq != journal.seq:
            return None
        try:
            return decode(InboundMessage, stored.data)
        except ContractError:
            return None

    def said(self, wake: InboundMessage, original: InboundMessage, work: Work, journal: Journal) -> Said:
        """How the session remembers the approval's turn."""
        tool = next((c.tool for step in journal.steps for c in step.calls if c.approval == wake.approval), "a tool")
        text = f"(My question about {tool} was decided.)"
        return Said(work.message.seq, wake.id, original.sender.user, original.reply_to, text)

    async def prepare(self, setting: Setting) -> bool:
        """Settle what is decided by now; whether there is anything to go on with.

        Raises:
            BusError: it cannot be known now; nothing was done.
        """
        going = not setting.journal.waiting()
        for step in setting.journal.steps:
            for at, call in enumerate(step.calls):
                if call.state is CallState.WAITING:
                    step.calls[at] = await self._settled(setting, call)
                    going = going or step.calls[at].state is not CallState.WAITING
        return going

    async def _settled(self, setting: Setting, call: JournalCall) -> JournalCall:
        approval = await self._approvals.get(call.approval)
        deny = partial(self._executor.deny, call)
        if approval is None:
            return deny("the question is lost; ask again")
        if approval.digest != call.digest or approval.address.key != setting.message.key:
            log.error("approval %s is of another call and is not used", call.approval)
            return deny("the approval is for something else")
        match approval.state:
            case ApprovalState.PENDING if not lapsed(approval, now()):
                return call
            case ApprovalState.PENDING | ApprovalState.EXPIRED:
                return deny("nobody answered in time")
            case ApprovalState.DENIED:
                return deny("the person said no. Do not try it in another way")
        if not await self._approvals.use(call.approval, call.digest, setting.key):
            return deny("the approval was used before")
        if why := self._executor.permits(setting, call):
            return deny(f"approved, but {why}")
        spec = setting.tools[call.tool].spec
        setting.vouch([leaf for name in places_of(spec, call.arguments) for leaf in leaves(call.arguments[name])])
        return self._executor.approved(call)
