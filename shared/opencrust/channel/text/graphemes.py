"""Where a text may be cut without cutting a character as a person sees it (after UAX #29, on the safe side)."""

import unicodedata

_ZWJ = "\N{ZERO WIDTH JOINER}"


def is_border(text: str, at: int) -> bool:
    """Whether ``text`` may be cut before its code point number ``at``."""
    if at <= 0 or at >= len(text):
        return True
    before, after = text[at - 1], text[at]
    if after < "\u0300":
        return not (before == "\r" and after == "\n") and not (before == _ZWJ and after in "©®")
    if before == _ZWJ or after == _ZWJ or _extends(after):
        return False
    if _is_flag(before) and _is_flag(after):
        first = at - 1
        while first > 0 and _is_flag(text[first - 1]):
            first -= 1
        return (at - first) % 2 == 0
    return not (_is_jamo(before) and _is_jamo_tail(after))


def _extends(char: str) -> bool:
    """Combining marks, variation selectors, skin tones, tags."""
    return (
        unicodedata.category(char)[0] == "M"
        or "\U0001f3fb" <= char <= "\U0001f3ff"
        or "\U000e0020" <= char <= "\U000e007f"
        or char in "\u200c\uff9e\uff9f"
    )


def _is_flag(char: str) -> bool:
    return "\U0001f1e6" <= char <= "\U0001f1ff"


def _is_jamo(char: str) -> bool:
    return "\u1100" <= char <= "\u11ff" or "\uac00" <= char <= "\ud7a3"


def _is_jamo_tail(char: str) -> bool:
    return "\u1100" <= char <= "\u11ff"
