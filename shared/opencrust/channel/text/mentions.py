"""Words that would call somebody, made harmless.

A word joiner after the ``@`` or ``<`` leaves the text as it looks; no platform takes it for a call any more. Addresses
of mail keep theirs: an ``@`` after a letter or digit calls nobody. Code is copied and run, so in code only what is
nothing but a call is touched: ``@dataclass`` stays, ``@everyone`` does not.
"""

import re
from collections.abc import Callable

JOINER = "\N{WORD JOINER}"

_ANYWHERE = re.compile(r"@(?=everyone|here|channel)|<(?=[@#!][!&]?[\w^]+[|>])", re.IGNORECASE)
_IN_TEXT = re.compile(r"(?<![\w.+-])@(?=\w)|<(?=[@#!:/]|a:|t:|id:|subteam|tg-)", re.IGNORECASE)


def calls(text: str, is_code: Callable[[int], bool]) -> list[int]:
    """Where a joiner must go in, in order: each place is an index of ``text``, the joiner goes before it.

    Args:
        is_code: whether the character at an index is code.
    """
    places = {match.end() for match in _ANYWHERE.finditer(text)}
    places |= {match.end() for match in _IN_TEXT.finditer(text) if not is_code(match.start())}
    return sorted(places)


def neutralise(text: str) -> str:
    """``text``, none of it code, so that it calls nobody."""
    for place in reversed(calls(text, lambda index: False)):
        text = text[:place] + JOINER + text[place:]
    return text
