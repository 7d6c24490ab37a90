"""No formatting at all: iMessage, notices, logs. Links stand behind their labels."""

from opencrust.channel.text.dialect import Dialect
from opencrust.channel.text.flow import Kind, Mark


class Plain(Dialect):
    """Text and nothing else."""

    name = "plain"
    limit = 4000

    def open(self, mark: Mark) -> str:
        del mark
        return ""

    def close(self, mark: Mark) -> str:
        return f" ({mark.value})" if mark.kind == Kind.LINK else ""

    def escape(self, text: str, line_start: bool, marks: tuple[Mark, ...]) -> str:
        del line_start, marks
        return text

    def code(self, text: str, mark: Mark) -> str:
        del mark
        return text

    def fenced(self, text: str) -> str:
        return text

    def line_prefix(self, marks: tuple[Mark, ...]) -> str:
        return "> " if any(mark.kind == Kind.QUOTE for mark in marks) else ""


PLAIN = Plain()
