"""The last step of a turn: the session after it, with its replies in the outbox. Pure.

The address is the ingress's, unchanged; nothing that a model says can change where a reply goes.
"""

from dataclasses import dataclass, replace

from opencrust.bus.drain import Work
from opencrust.contracts import ApprovalCard, InboundMessage, OutboundMessage, ReplyAddress, SessionView, Turn
from opencrust.contracts.messages import now
from opencrust.contracts.session import MAX_TURN_BYTES, cut
from opencrust_agent.card import card_text
from opencrust_agent.sanitise import sanitise
from opencrust_agent.setting import Setting
from opencrust_agent.think import Answer

TOO_LONG = "\n\n(cut here: too long)"
EMPTY = "(the model gave an empty answer)"


@dataclass(frozen=True, slots=True)
class Said:
    """What is answered, and to whom."""

    seq: int
    message_id: str
    user: str
    address: ReplyAddress
    text: str = ""
    name: str = ""
    trusted: bool = False

    @classmethod
    def of(cls, message: InboundMessage, work: Work) -> "Said":
        """A message as the session will remember it; not trusted unless :meth:`by` says so."""
        text = cut(sanitise(message.text))
        name = message.sender.display_name if message.is_group else ""
        return cls(work.message.seq, message.id, message.sender.user, message.reply_to, text, name)

    def by(self, trusted: bool) -> "Said":
        """The same, by somebody whose words count (or not)."""
        return replace(self, trusted=trusted)


def answered(session: SessionView, said: Said, answer: Answer) -> SessionView:
    """The session after an answer."""
    said_text = sanitise(answer.text)  # what a model says can hold what no person sees, too
    body = cut(said_text)
    if body != said_text:
        body = cut(body, MAX_TURN_BYTES - len(TOO_LONG)) + TOO_LONG
    reply = _reply(said, 0, body or EMPTY, answer)
    return session.with_turn(_turn(said, reply.id, reply.text, answer), [reply])


def suspended(session: SessionView, said: Said, answer: Answer, setting: Setting) -> SessionView:
    """The session after a turn that waits for a person: its new questions go out, each with its card."""
    cards = setting.cards()
    waiting = [*session.suspended, setting.asked()]
    session = session.model_copy(
        update={
            "suspended": waiting,
            "tainted": setting.tainted,
            "vouched": setting.vouched,
            "progress": None,
        }
    )
    if not cards:  # asked before; there is nothing new to say
        return session.model_copy(update={"cursor": said.seq, "attempts": 0, "outbox": []})
    replies = []
    for number, card in enumerate(cards):
        before = f"{cut(sanitise(answer.text))}\n\n" if number == 0 and answer.text.strip() else ""
        replies.append(_reply(said, number, before + card_text(card), answer, card))
    whole = cut("\n\n".join(reply.text for reply in replies))
    return session.with_turn(_turn(said, replies[-1].id, whole, answer), replies)


def _reply(said: Said, part: int, text: str, answer: Answer, card: ApprovalCard | None = None) -> OutboundMessage:
    return OutboundMessage(
        id=f"re:{said.seq}:{part}",
        in_reply_to=said.message_id,
        address=said.address,
        text=text,
        finish=answer.finish,
        model=answer.model,
        usage=answer.usage,
        approval=card,
        created_time=now(),
    )


def _turn(said: Said, reply_id: str, reply: str, answer: Answer) -> Turn:
    return Turn(
        seq=said.seq,
        message_id=said.message_id,
        user=said.user,
        name=said.name,
        text=said.text,
        reply_id=reply_id,
        reply=reply,
        finish=answer.finish,
        model=answer.model,
        at=now(),
        trusted=said.trusted,
        acted=answer.acted,
    )
