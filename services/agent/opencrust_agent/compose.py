"""What the model is asked: instructions, as much of the history as fits, and the message."""

from collections.abc import Iterable

from opencrust.contracts import Finish, InboundMessage, SessionView
from opencrust_agent.models import Message, Request, assistant, user
from opencrust_agent.sanitise import sanitise


def compose(
    message: InboundMessage, session: SessionView, *, instructions: str, max_tokens: int, history: int
) -> Request:
    """The request for one turn.

    Args:
        history: most characters of earlier turns; the newest are kept, always in whole pairs. What we said in the
            model's place, when it failed, is left out.
    """
    exchanges = [(turn.text, turn.reply) for turn in session.turns if turn.text and turn.finish is not Finish.FAILED]
    past = [*_from_client(message), *_pairs(exchanges, history)]
    return Request(instructions, (*past, user(sanitise(message.text))), max_tokens=max_tokens)


def _from_client(message: InboundMessage) -> Iterable[Message]:
    """Turns that an API client brought along. Its "system" turns are the user's words, not our instructions."""
    for turn in message.context:
        text = sanitise(turn.text)
        if text.strip():
            yield assistant(text) if turn.role == "assistant" else user(text)


def _pairs(exchanges: list[tuple[str, str]], limit: int) -> list[Message]:
    kept: list[Message] = []
    for text, reply in reversed(exchanges):
        limit -= len(text) + len(reply)
        if limit < 0:
            break
        kept[:0] = [user(text), assistant(reply)]
    return kept
