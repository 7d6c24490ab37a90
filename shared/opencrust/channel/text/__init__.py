"""What a model writes, as each platform shows it.

Models write one Markdown dialect: headings, emphasis, code, fences, links, lists, quotes, tables. It is read once into
a small tree (:mod:`.tree`, by :mod:`.parse`), laid out as one run of text with marks on it (:mod:`.flow`), cut where
the platform's limit wants it (:mod:`.split`), and only then written in the platform's own dialect (:mod:`.telegram`,
:mod:`.discord`, :mod:`.slack`, :mod:`.whatsapp`, :mod:`.plain`)::

    for part in render(reply.text, TELEGRAM):
        await send(part)

Cutting comes before writing: each part opens and closes its own marks, so no part can end inside a tag, an escape or a
code fence; a fence that goes over two parts is closed and opened again with its language.

Two things hold for every text, whoever wrote it. What is text in the tree is text on the platform: nothing in it
becomes markup that the tree does not have. And it calls nobody: ``@everyone``, ``<@123>``, ``<!channel>`` and their
like are neutralised over the whole run, so also where formatting stands between the ``@`` and the name.

The parser is markdown-it-py: CommonMark's own test-suite passes with it, and emphasis alone has seventeen rules. It
costs 52 ms and 7 MB at the first message, not at import. Setext headings, indented code and reference definitions are
switched off: models do not write them, and people who paste text hit them by accident.
"""

from opencrust.channel.text.dialect import Dialect, Part
from opencrust.channel.text.discord import DISCORD
from opencrust.channel.text.flow import flow
from opencrust.channel.text.parse import literal, parse
from opencrust.channel.text.plain import PLAIN
from opencrust.channel.text.slack import SLACK
from opencrust.channel.text.split import split
from opencrust.channel.text.telegram import TELEGRAM
from opencrust.channel.text.tree import Document
from opencrust.channel.text.whatsapp import WHATSAPP

__all__ = ["DISCORD", "PLAIN", "SLACK", "TELEGRAM", "WHATSAPP", "Dialect", "Document", "literal", "parse", "render"]


def render(text: str | Document, dialect: Dialect, limit: int | None = None) -> list[str]:
    """``text`` in the platform's dialect, in parts that it takes.

    Args:
        text: Markdown, or a tree; :func:`literal` makes a tree of text that is no Markdown.
        limit: most units in a part, as the platform counts them; by default the platform's own limit. At least 64.

    Returns:
        The parts in order, none empty; no part at all for a text of white space.
    """
    return [part.text for part in parts(text, dialect, limit)]


def parts(text: str | Document, dialect: Dialect, limit: int | None = None) -> list[Part]:
    """As :func:`render`, with each part's size in the platform's units."""
    return split(flow(parse(text) if isinstance(text, str) else text), dialect, limit or dialect.limit)
