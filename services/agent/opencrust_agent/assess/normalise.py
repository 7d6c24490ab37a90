"""A copy of a text, only for scoring, in which what looks the same is the same.

Invisible, bidirectional and tag characters are taken out, compatibility forms are folded (NFKC), letters that imitate
Latin ones become Latin ones, stacked accents go, HTML entities are resolved. The person's text itself is not touched.
Sources: Unicode TR 36, TR 39 (confusables), TR 15. Every step is linear in the length of the text.
"""

import html
import json
import re
import unicodedata
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

_INVISIBLE = re.compile(
    "[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180e\u200b-\u200f\u202a-\u202e\u2060-\u206f\u3164\ufeff\uffa0"
    "\ufff9-\ufffc\ufe00-\ufe0f\U000e0000-\U000e0fff\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]"
)
_HARMLESS = "\u200c\u200d\ufe0e\ufe0f\u00ad\ufeff"
"""Invisible too, and everywhere in ordinary text: joiners of Persian and emoji, soft hyphens, byte order marks."""
_TAGS = re.compile("[\U000e0020-\U000e007e]{4,}")
_SELECTORS = re.compile("[\ufe00-\ufe0f\U000e0100-\U000e01ef]{6,}")
_ENTITY = re.compile(r"&(?:#\d{1,7}|#x[0-9a-fA-F]{1,6}|[A-Za-z]{2,8});")
_WIDE = re.compile("[\u3000-\U0010ffff]")
_LATIN = re.compile("[A-Za-z]")
_COMBINING = "\u0300-\u036f\u1ab0-\u1aff\u1dc0-\u1dff\u20d0-\u20ff\ufe20-\ufe2f"
_MARKS = re.compile(f"[{_COMBINING}]+")
_SPACE = re.compile(r"(\s+)")


@dataclass(frozen=True, slots=True)
class Normal:
    """What came out of it."""

    text: str
    hidden: tuple[str, ...] = ()
    """Texts that were written in characters no screen shows."""
    invisible: int = 0
    folded: int = 0
    """Look-alike letters, compatibility forms and stacked accents, counted in characters."""


def normalise(text: str) -> Normal:
    """The scoring copy of ``text``. Never raises."""
    hidden: tuple[str, ...] = ()
    invisible = folded = 0
    if not text.isascii():
        hidden = (*_tags(text), *_selectors(text))
    found = _INVISIBLE.findall(text)
    if found:
        invisible = sum(c not in _HARMLESS for c in found)
        text = _INVISIBLE.sub("", text)
    if not text.isascii():
        compatible = unicodedata.normalize("NFKC", text)
        folded += sum(unicodedata.normalize("NFKC", c).isascii() for c in _WIDE.findall(text))
        text, letters = _fold_look_alikes(compatible)
        text, accents = _strip_accents(text)
        folded += letters + accents
    if "&" in text and _ENTITY.search(text):
        text = html.unescape(text)
    return Normal(text, hidden, invisible, folded)


@cache
def _look_alikes() -> dict[str, str]:
    data = files(__package__).joinpath("data/confusables.json").read_text("utf-8")
    table: dict[str, str] = json.loads(data)
    return table


def _fold_look_alikes(text: str) -> tuple[str, int]:
    """Only in words that mix scripts and, in mainly Latin text, in words of look-alikes alone: real Greek stays."""
    table = _look_alikes()
    latin = len(_LATIN.findall(text)) * 2 >= sum(map(str.isalpha, text))
    words = _SPACE.split(text)
    count = 0
    for at, word in enumerate(words):
        if not word or word.isascii():
            continue
        alike = sum(c in table for c in word)
        mixed = any(c.isascii() and c.isalpha() for c in word)
        if alike and (mixed or (latin and all(c in table or not c.isalpha() for c in word))):
            count += alike
            words[at] = "".join(table.get(c, c) for c in word)
    return "".join(words), count


def _strip_accents(text: str) -> tuple[str, int]:
    """Combining marks on Latin letters go; counted is what exceeds one mark a letter (stacked, "zalgo")."""
    apart = unicodedata.normalize("NFD", text)
    stacked = sum(len(run) - 1 for run in _MARKS.findall(apart))

    def keep(run: re.Match[str]) -> str:
        return "" if apart[max(0, run.start() - 1)] < "\x80" else run.group()

    return unicodedata.normalize("NFC", _MARKS.sub(keep, apart)), stacked


def _tags(text: str) -> list[str]:
    return ["".join(chr(ord(c) - 0xE0000) for c in run.group()) for run in _TAGS.finditer(text)][:4]


def _selectors(text: str) -> list[str]:
    """Bytes written as variation selectors behind an emoji."""
    found = []
    for run in _SELECTORS.finditer(text):
        raw = bytes(ord(c) - 0xFE00 if ord(c) < 0xFE10 else ord(c) - 0xE0100 + 16 for c in run.group())
        plain = raw.decode("utf-8", "ignore")
        if len(plain) >= 4 and all(c.isprintable() or c in "\n\t" for c in plain):
            found.append(plain)
    return found[:4]
