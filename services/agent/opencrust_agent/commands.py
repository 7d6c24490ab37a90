"""Commands in a message's text, answered without a model, the same on every channel.

``/new /status /help /approve ID /deny ID``. (``/stop`` and pairing are the channel adapters': they must work while a
turn runs. One that comes here all the same is answered so.) What begins with a slash and is no command of ours is an
ordinary message.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass

from opencrust.contracts import InboundMessage, SessionView, Trust
from opencrust_agent.admission import OWN_AUTHORITY
from opencrust_agent.approvals import Approvals, NotDecided, may_decide

HELP = """\
/new – begin a new conversation here: I forget what was said, and what strangers' text I read
/stop – stop what I am doing now
/status – what I am doing, and who answers
/approve ID, /deny ID – answer a question of mine
/help – this"""
NEW = "A new conversation. What was said before is forgotten here."
NOT_YOURS = "That is for the operator of this house to decide."
MAY_NOT_APPROVE = "Not done: this login or token may not approve (it lacks the scope 'approve')."
_COMMAND = re.compile(r"\s*/(new|status|help|approve|deny|stop)(?:@\w{1,64})?(?:\s+(.*))?", re.DOTALL | re.IGNORECASE)
_ID = re.compile(r"[a-z2-7]{16}")


@dataclass(frozen=True, slots=True)
class Command:
    """One command; ``argument`` as it was written, without spaces around it."""

    name: str
    argument: str = ""


@dataclass(frozen=True, slots=True)
class Answered:
    """What the person is told, and the session with what the command changed."""

    text: str
    session: SessionView


def parse(text: str) -> Command | None:
    """The command in ``text``; None where it is an ordinary message. ``/new@bot`` is how groups of Telegram say it."""
    match = _COMMAND.fullmatch(text)
    if match is None:
        return None
    name, argument = match[1].lower(), (match[2] or "").strip()
    if argument and name in ("new", "status", "help", "stop"):
        return None  # "/new ideas for dinner?" is a message
    return Command(name, argument)


class Commands:
    """Answers commands. ``state`` gives lines for /status."""

    def __init__(self, approvals: Approvals, requester_may: Callable[[], bool], state: Callable[[], str]) -> None:
        self._approvals = approvals
        self._requester_may = requester_may
        self._state = state

    async def answer(self, command: Command, message: InboundMessage, session: SessionView) -> Answered:
        """Do it.

        Raises:
            BusError: not done, or not sure to be; doing it again is safe.
        """
        match command.name:
            case "new":
                return await self._new(message, session)
            case "status":
                return Answered(self._status(session), session)
            case "approve" | "deny":
                return Answered(await self._decide(command, message), session)
            case "stop":
                return Answered("Nothing runs here now.", session)
            case _:
                return Answered(HELP, session)

    async def _new(self, message: InboundMessage, session: SessionView) -> Answered:
        if message.is_group and message.trust not in (Trust.OWNER, Trust.USER):
            return Answered(NOT_YOURS, session)
        for journal in session.suspended:
            for call in journal.waiting():
                await self._approvals.withdraw(call.approval)
        update = {"turns": [], "tainted": False, "vouched": [], "summary": None, "suspended": [], "progress": None}
        return Answered(NEW, session.model_copy(update=update))

    async def _decide(self, command: Command, message: InboundMessage) -> str:
        id = command.argument.lower()
        if not _ID.fullmatch(id):
            return f"Say which: /{command.name} and the 16 characters that stand in the question."
        if message.trust not in (Trust.OWNER, Trust.USER):
            return NOT_YOURS
        if message.channel in OWN_AUTHORITY and not message.may_approve:
            return MAY_NOT_APPROVE  # or a token that may only chat would approve, around its scopes
        approval = await self._approvals.get(id)
        if approval is None or not may_decide(
            approval, message.sender, message.trust, requester_may=self._requester_may()
        ):
            # One answer for both: nobody learns of questions that are not his.
            return "There is no question of that name for you to answer."
        by = f"{message.channel}/{message.sender.account}/{message.sender.user}"[:255]
        try:
            decided = await self._approvals.decide(id, command.name == "approve", by)
        except NotDecided as error:
            return f"Not done: {error}."
        return f"{'Approved' if command.name == 'approve' else 'Denied'}: {decided.card.tool}."

    def _status(self, session: SessionView) -> str:
        lines = [self._state(), f"{len(session.turns)} exchanges remembered here."]
        if session.tainted:
            lines.append("Text by strangers is in this conversation: I ask before I act on it. /new clears that.")
        waiting = [call for journal in session.suspended for call in journal.waiting()]
        lines += [f"Waiting for your word: {call.tool} (/approve {call.approval})" for call in waiting]
        return "\n".join(lines)
