"""WhatsApp's formatting: ``*bold*``, ``_italic_``, ``~strike~``, code in backticks; links have no labels. 4,096 code
points."""

from opencrust.channel.text.dialect import SPACE, Dialect, addresses, percent, unfenced, unpaired
from opencrust.channel.text.flow import Kind, Mark

_DELIMITERS = {Kind.BOLD: "*", Kind.ITALIC: "_", Kind.STRIKE: "~", Kind.HEADING: "*"}


class WhatsApp(Dialect):
    """WhatsApp's formatting."""

    name = "whatsapp"
    limit = 4096

    def open(self, mark: Mark) -> str:
        return "```\n" if mark.kind == Kind.FENCE else _DELIMITERS.get(mark.kind, "")

    def close(self, mark: Mark) -> str:
        if mark.kind == Kind.LINK:
            return f" ({mark.value})"
        return "\n```" if mark.kind == Kind.FENCE else _DELIMITERS.get(mark.kind, "")

    def escape(self, text: str, line_start: bool, marks: tuple[Mark, ...]) -> str:
        del marks
        written = "".join(
            percent(piece, "*~`") if is_address else unpaired(piece) for piece, is_address in addresses(text)
        )
        return f"{SPACE}{written}" if line_start and written.lstrip().startswith((">", "- ", "* ")) else written

    def code(self, text: str, mark: Mark) -> str:
        del mark
        return f"`{text.replace('`', chr(0x02CB))}`"

    def fenced(self, text: str) -> str:
        return unfenced(text)

    def line_prefix(self, marks: tuple[Mark, ...]) -> str:
        return "> " if any(mark.kind == Kind.QUOTE for mark in marks) else ""

    def between(self, before: str, after: str) -> str:
        inside = before[-1:].isalnum() or before[-1:] in "*_~`"
        return SPACE if inside and (after[:1].isalnum() or after[:1] in "*_~`") else ""


WHATSAPP = WhatsApp()
