"""Slack's mrkdwn.

``&``, ``<`` and ``>`` are entities, which also makes ``<!channel>`` plain text. There is no escape for ``*``, ``_``,
``~`` and the backtick, so where they could pair up in text a look-alike is written. Slack cuts messages at 40,000
characters and advises 4,000.
"""

from opencrust.channel.text.dialect import SPACE, Dialect, addresses, percent, unfenced, unpaired
from opencrust.channel.text.flow import Kind, Mark

_DELIMITERS = {Kind.BOLD: "*", Kind.ITALIC: "_", Kind.STRIKE: "~", Kind.HEADING: "*"}


class Slack(Dialect):
    """Slack's mrkdwn."""

    name = "slack"
    limit = 4000

    def open(self, mark: Mark) -> str:
        match mark.kind:
            case Kind.FENCE:
                return "```\n"
            case Kind.LINK:
                return f"<{entities(percent(mark.value, '<>| '))}|"
        return _DELIMITERS.get(mark.kind, "")

    def close(self, mark: Mark) -> str:
        match mark.kind:
            case Kind.FENCE:
                return "\n```"
            case Kind.LINK:
                return ">"
        return _DELIMITERS.get(mark.kind, "")

    def escape(self, text: str, line_start: bool, marks: tuple[Mark, ...]) -> str:
        in_link = any(mark.kind == Kind.LINK for mark in marks)
        written = "".join(
            entities(percent(piece, "*~`|")) if is_address and not in_link else entities(unpaired(piece))
            for piece, is_address in addresses(text)
        )
        # Slack reads an escaped ">" at the start of a line as a quote all the same
        return f"{SPACE}{written}" if line_start and written.lstrip().startswith("&gt;") else written

    def code(self, text: str, mark: Mark) -> str:
        del mark
        return f"`{entities(text.replace('`', chr(0x02CB)))}`"

    def fenced(self, text: str) -> str:
        return entities(unfenced(text))

    def line_prefix(self, marks: tuple[Mark, ...]) -> str:
        return "> " if any(mark.kind == Kind.QUOTE for mark in marks) else ""

    def between(self, before: str, after: str) -> str:
        # a delimiter is one only at the border of a word
        return SPACE if _is_inside(before[-1:]) and _is_inside(after[:1]) else ""


def entities(text: str) -> str:
    """The three characters that Slack wants escaped."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _is_inside(char: str) -> bool:
    return char.isalnum() or char in "*_~`"


SLACK = Slack()
