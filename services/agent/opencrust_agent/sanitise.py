"""First stage: text as a person can see it. What no screen shows is where orders to a model hide.

Removed: control characters but newline and tab; bidirectional overrides and isolates (they reorder what is read);
Unicode tag characters U+E0000–E007F (invisible ASCII); lone surrogates. Kept: the joiners U+200C and U+200D, which
Persian, Hindi and emoji families need. The text is put into normal form C, which changes no meaning.
"""

import unicodedata

_BIDI = {*range(0x202A, 0x202F), *range(0x2066, 0x206A)}
_TAGS = range(0xE0000, 0xE0080)
_KEPT = "\n\t"


def sanitise(text: str) -> str:
    """``text`` without what cannot be seen; CR LF and CR become LF."""
    plain = text.replace("\r\n", "\n").replace("\r", "\n")
    return unicodedata.normalize("NFC", "".join(c for c in plain if c in _KEPT or _visible(c)))


def _visible(character: str) -> bool:
    point = ord(character)
    return unicodedata.category(character) not in ("Cc", "Cs") and point not in _BIDI and point not in _TAGS
