"""What the model is asked: instructions, a summary of what is long past, as much of the history as fits, the message,
and what this turn's tools said so far.

What others wrote than the person who is answered stands between marks (:mod:`opencrust_agent.label`), never in the
instructions. All of it is made from the message, the session and the journal, so that a turn that is run again, on any
replica, asks the same.
"""

from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from types import MappingProxyType

from opencrust.contracts import Attachment, Finish, InboundMessage, SessionView, Turn
from opencrust_agent.commands import parse
from opencrust_agent.label import RULES, Label, marked, plain_name
from opencrust_agent.models import Image, Message, Request, Text, ToolSpec, assistant, user
from opencrust_agent.sanitise import sanitise

SUMMARY = Label("summary", origin="earlier turns of this conversation, told by a model")


def compose(
    message: InboundMessage,
    session: SessionView,
    *,
    instructions: str,
    max_tokens: int,
    history: int,
    boundary: str = "0" * 16,
    tools: tuple[ToolSpec, ...] = (),
    journal: Sequence[Message] = (),
    before: int | None = None,
    name: Callable[[str], str] = plain_name,
    pictures: Mapping[str, Image] = MappingProxyType({}),
) -> Request:
    """The request for one round of one turn.

    Args:
        history: most characters of earlier turns; the newest are kept, always in whole pairs. What we said in the
            model's place, when it failed, is left out.
        boundary: the turn's own.
        journal: this turn's answers and results so far.
        before: only turns of messages with a smaller sequence are history; None for all.
        name: makes a foreign name fit to be read.
        pictures: of this message, by SHA-256; other attachments are named.
    """
    turns = [turn for turn in session.turns if _told(turn, session) and (before is None or turn.seq < before)]
    past = _pairs([(_said(turn, message, boundary, name), turn.reply) for turn in turns], history)
    if session.summary is not None:
        past[:0] = [user(marked(session.summary.text, SUMMARY, boundary)), assistant("(I remember.)")]
    asked = Message("user", (Text(_asked(message, name, pictures)), *pictures.values()))
    messages = (*past, *_from_client(message), asked, *journal)
    if tools or any(f"<<{boundary} " in part.text for part in messages):
        instructions = f"{instructions}\n\n{RULES.format(boundary)}".lstrip()
    return Request(instructions, messages, tools=tools, max_tokens=max_tokens)


def in_summary(turn: Turn, session: SessionView) -> bool:
    """Whether the summary tells it already."""
    return session.summary is not None and turn.seq <= session.summary.upto


def _told(turn: Turn, session: SessionView) -> bool:
    return (
        bool(turn.text)
        and (turn.acted or turn.finish is not Finish.FAILED)
        and parse(turn.text) is None
        and not in_summary(turn, session)
    )


def _said(turn: Turn, message: InboundMessage, boundary: str, name: Callable[[str], str]) -> str:
    """An earlier message: as it is if its author asks now, or is trusted; of anybody else as quoted text."""
    text = f"{name(turn.name)}: {turn.text}" if message.is_group and turn.name else turn.text
    own = turn.trusted or (turn.user == message.sender.user and not message.is_group)
    return marked(text, Label("user", trusted=own, origin=turn.name), boundary)


def _asked(message: InboundMessage, name: Callable[[str], str], pictures: Container[str]) -> str:
    text = sanitise(message.text)
    if message.is_group and message.sender.display_name:
        text = f"{name(message.sender.display_name)}: {text}"
    lines = [text, *(named(a, name) for a in message.attachments if a.sha256 not in pictures)]
    return "\n".join(line for line in lines if line.strip()) or "(see the picture)"


def named(attachment: Attachment, name: Callable[[str], str]) -> str:
    """An attachment that the model does not see itself."""
    return f"(attached: {name(attachment.name)}, {plain_name(attachment.media_type)}, {attachment.size} bytes)"


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
