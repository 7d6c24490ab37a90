"""Tables where the platform has none: in columns if they are narrow enough, as records if not."""

import unicodedata

from opencrust.channel.text.tree import Table, plain

WIDTH = 40
"""Most columns that a telephone of 390 points shows of code without wrapping, about: bubbles leave 330 of them, and a
character of the fixed-width fonts is 8 wide. A wider table would be cut up line by line; as records it can be read."""


def columns(table: Table) -> str | None:
    """The table in columns of one width each, to be shown as code; None if it is too wide for that."""
    rows = [[plain(cell).strip() for cell in row] for row in table.rows]
    if not rows:
        return None
    count = max(len(row) for row in rows)
    rows = [row + [""] * (count - len(row)) for row in rows]
    widths = [max(width(row[i]) for row in rows) for i in range(count)]
    if sum(widths) + 3 * (count - 1) > WIDTH:
        return None
    right = [*table.right, *([False] * count)]
    lines = [" | ".join(_pad(cell, widths[i], right[i]) for i, cell in enumerate(row)).rstrip() for row in rows]
    return "\n".join([lines[0], "-+-".join("-" * w for w in widths), *lines[1:]])


def width(text: str) -> int:
    """Columns that ``text`` takes in a fixed-width font."""
    wide = sum(unicodedata.east_asian_width(char) in "WF" for char in text)
    none = sum(unicodedata.category(char) in ("Mn", "Me", "Cf") for char in text)
    return len(text) + wide - none


def _pad(text: str, to: int, right: bool) -> str:
    space = " " * (to - width(text))
    return space + text if right else text + space
