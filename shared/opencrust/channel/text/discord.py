"""Discord's Markdown. 2,000 code points a message, markup included; a backslash before punctuation escapes it."""

import re

from opencrust.channel.text.dialect import SPACE, Dialect, addresses, percent, unfenced
from opencrust.channel.text.flow import Kind, Mark

_DELIMITERS = {Kind.BOLD: "**", Kind.ITALIC: "*", Kind.STRIKE: "~~"}
_SPECIAL = re.compile(r"([\\*_~`|\[\]<>])")
_LINE_START = re.compile(r"(\s*)(?:([#\-+>])|(\d+)(\.))")


class Discord(Dialect):
    """Discord's Markdown."""

    name = "discord"
    limit = 2000

    def open(self, mark: Mark) -> str:
        match mark.kind:
            case Kind.HEADING:
                return "#" * min(int(mark.value), 3) + " "
            case Kind.FENCE:
                return f"```{mark.value}\n"
            case Kind.LINK:
                return "["
        return _DELIMITERS.get(mark.kind, "")

    def close(self, mark: Mark) -> str:
        match mark.kind:
            case Kind.FENCE:
                return "\n```"
            case Kind.LINK:
                return f"](<{percent(mark.value, '<>() ')}>)"
        return _DELIMITERS.get(mark.kind, "")

    def escape(self, text: str, line_start: bool, marks: tuple[Mark, ...]) -> str:
        in_link = any(mark.kind == Kind.LINK for mark in marks)
        out = []
        for piece, is_address in addresses(text):
            if is_address and not in_link:
                out.append(percent(piece, "*~|`\\[]"))
            else:
                out.append(_SPECIAL.sub(r"\\\1", piece))
        written = "".join(out)
        return (
            _LINE_START.sub(_escape_start, written, count=1) if line_start and _LINE_START.match(written) else written
        )

    def code(self, text: str, mark: Mark) -> str:
        del mark
        if "`" not in text:
            return f"`{text}`"
        inside = text.replace("``", f"`{SPACE}`").replace("``", f"`{SPACE}`")
        return f"`` {inside} ``"

    def fenced(self, text: str) -> str:
        return unfenced(text)

    def line_prefix(self, marks: tuple[Mark, ...]) -> str:
        quoted = any(mark.kind == Kind.QUOTE for mark in marks)
        return "> " if quoted and not any(mark.kind == Kind.FENCE for mark in marks) else ""

    def bullet(self, text: str) -> str:
        return text.replace("• ", "- ")

    def between(self, before: str, after: str) -> str:
        # `**bold***italic*`: where one ends and the next begins must not be left to a guess
        return SPACE if before.endswith(("*", "~", "`")) and after.startswith(("*", "~", "`")) else ""


def _escape_start(match: re.Match[str]) -> str:
    if match[2]:
        return f"{match[1]}\\{match[2]}"
    return f"{match[1]}{match[3]}\\{match[4]}"


DISCORD = Discord()
