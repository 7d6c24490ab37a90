"""A reply cut into what the platform takes: pieces of text, then files, then the question with its buttons."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from opencrust.channel.text import literal, render
from opencrust.channel.text.dialect import Dialect
from opencrust.contracts import ApprovalCard, Attachment, OutboundMessage


@dataclass(frozen=True, slots=True)
class Planned:
    """One part before it is sent."""

    number: int
    text: str = ""
    attachment: Attachment | None = None
    card: ApprovalCard | None = None


def plan(reply: OutboundMessage, compose: Callable[[str], Sequence[str]], dialect: Dialect) -> list[Planned]:
    """The parts of a reply. The same whenever it is asked, so that a part's number means the same part.

    Args:
        compose: the adapter's, for the reply's text.
        dialect: the platform's, for the card: its lines are no Markdown, whatever they hold.
    """
    texts: list[str] = list(compose(reply.text)) if reply.text.strip() else []
    parts = [Planned(number, text=text) for number, text in enumerate(texts)]
    parts += [Planned(len(parts) + n, attachment=attachment) for n, attachment in enumerate(reply.attachments)]
    if reply.approval is not None:
        asked = render(literal(card_text(reply.approval)), dialect)
        parts += [Planned(len(parts) + n, text=text) for n, text in enumerate(asked[:-1])]
        parts.append(Planned(len(parts), text=asked[-1], card=reply.approval))
    return parts


def card_text(card: ApprovalCard) -> str:
    """What is asked, and how to answer it where there are no buttons."""
    return f"{question(card)}\n\nAnswer with /approve {card.id} or /deny {card.id}."


def question(card: ApprovalCard) -> str:
    """What is asked."""
    lines = "\n".join(card.lines)
    return f"May I do this?\n\n{lines}"
