"""Telegram's HTML (Bot API, "HTML style").

A message may have 4,096 UTF-16 units *after* its entities are parsed, and 100 entities; further ones are shown as plain
text. Quotes do not nest, and code holds no other entity.
"""

import html

from opencrust.channel.text.dialect import Dialect
from opencrust.channel.text.flow import Kind, Mark

_TAGS = {Kind.BOLD: "b", Kind.ITALIC: "i", Kind.STRIKE: "s", Kind.HEADING: "b", Kind.QUOTE: "blockquote"}


class Telegram(Dialect):
    """Telegram's HTML."""

    name = "telegram"
    limit = 4096
    entities_max = 100

    def size(self, text: str, visible: str) -> int:
        """UTF-16 units of what is seen."""
        del text
        return utf16(visible)

    def open(self, mark: Mark) -> str:
        if mark.kind == Kind.LINK:
            return f'<a href="{html.escape(mark.value)}">'
        if mark.kind == Kind.FENCE:
            language = html.escape(mark.value)
            return f'<pre><code class="language-{language}">' if language else "<pre>"
        return f"<{_TAGS[mark.kind]}>"

    def close(self, mark: Mark) -> str:
        if mark.kind == Kind.LINK:
            return "</a>"
        if mark.kind == Kind.FENCE:
            return "</code></pre>" if mark.value else "</pre>"
        return f"</{_TAGS[mark.kind]}>"

    def escape(self, text: str, line_start: bool, marks: tuple[Mark, ...]) -> str:
        del line_start, marks
        return html.escape(text, quote=False)

    def code(self, text: str, mark: Mark) -> str:
        del mark
        return f"<code>{html.escape(text, quote=False)}</code>"

    def fenced(self, text: str) -> str:
        return html.escape(text, quote=False)


def utf16(text: str) -> int:
    """Length in UTF-16 units: two for a code point beyond the basic plane."""
    return len(text) + sum(char > "\uffff" for char in text)


TELEGRAM = Telegram()
