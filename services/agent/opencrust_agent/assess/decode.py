"""Texts that are written inside a text in another alphabet: base64, hex, URL and \\u escapes, binary, Morse, rot13,
reversed, letters with spaces between, letters written as digits or mixed inside a word.

A decoding counts only when it reads as text. Nesting is followed twice, and never more than :data:`MOST` variants or
:data:`BUDGET` characters come of one text, so the work is linear in its length.
"""

import base64
import binascii
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from urllib.parse import unquote_to_bytes

from opencrust_agent.assess.lexicon import signature

MOST = 10
BUDGET = 24_000
DEPTH = 2
_HEAD = 4_000
"""Characters that whole-text ciphers (rot13, reversed, digits for letters) are tried on."""

_WORD = re.compile(r"[^\W\d_]{2,}")
_TOKEN = re.compile(r"[A-Za-z0-9@$!€|]{3,39}[A-Za-z0-9]")
_BASE64 = re.compile(r"(?<![A-Za-z0-9+/_-])[A-Za-z0-9+/_-]{16,}={0,2}(?:\r?\n[A-Za-z0-9+/_-]{8,}={0,2})*")
_PLAIN_WORD = re.compile(r"[A-Z]?[a-z-]+|[A-Z_]+|[a-z_]+|[\w/-]*//[\w/-]*")
_HEX = re.compile(r"(?:(?:0x|\\x)?[0-9a-fA-F]{2}[\s:,]?){8,}")
_PERCENT = re.compile(r"%[0-9a-fA-F]{2}")
_ESCAPE = re.compile(r"\\u([0-9a-fA-F]{4})")
_BINARY = re.compile(r"(?:[01]{8}[\s,]?){6,}")
_MORSE = re.compile(r"(?:[.\-]{1,6}[ /|]{1,3}){8,}[.\-]{1,6}")
_SPACED = re.compile(r"(?<!\S)(?:\S[ \t]{1,3}){5,}\S(?!\S)|(?<![^\W_])(?:[^\W_][.\-_*|/]{1,2}){5,}[^\W_](?![^\W_])")
_JOINED = re.compile(r"(?<=[A-Za-z])[-_.*|](?=[A-Za-z])")
_LEET = str.maketrans("013457@$!8€|9", "oieastasibelg")
_LEET_L = str.maketrans("1", "l")
_ROT13 = str.maketrans(
    "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ", "nopqrstuvwxyzabcdefghijklmNOPQRSTUVWXYZABCDEFGHIJKLM"
)
_MORSE_LETTERS = (
    ".- -... -.-. -.. . ..-. --. .... .. .--- -.- .-.. -- -. --- .--. --.- .-. ... - ..- ...- .-- -..- -.-- --.."
)
_MORSE_CODE = dict(zip(_MORSE_LETTERS.split(), "abcdefghijklmnopqrstuvwxyz", strict=True))


@dataclass(frozen=True, slots=True)
class Variant:
    """One reading of a text, or of a part of it."""

    codec: str
    text: str


class Decoder:
    """Finds other readings. ``segment`` puts spaces between words that were run together."""

    def __init__(self, segment: Callable[[str], str]) -> None:
        self._segment = segment

    def variants(self, text: str, depth: int = DEPTH) -> list[Variant]:
        """Every other reading of ``text``, inner ones too, without doubles."""
        found: dict[str, Variant] = {}
        budget = BUDGET
        for variant in self._once(text):
            if len(found) >= MOST or budget <= 0:
                break
            cut = Variant(variant.codec, variant.text[:budget])
            if cut.text in found or cut.text == text:
                continue
            found[cut.text] = cut
            budget -= len(cut.text)
            if depth > 1:
                for inner in self.variants(cut.text, depth - 1)[: MOST - len(found)]:
                    if inner.text not in found and len(inner.text) <= budget:
                        found[inner.text] = Variant(f"{variant.codec}+{inner.codec}", inner.text)
                        budget -= len(inner.text)
        return list(found.values())

    def _once(self, text: str) -> Iterator[Variant]:
        yield from _embedded(text)
        spaced = _SPACED.sub(lambda run: self._close_up(run.group()), text)
        if spaced != text:
            yield Variant("spaced", spaced)
        joined = _JOINED.findall(text)
        if len(joined) >= 4 and len(joined) * 12 > len(text):
            yield Variant("split", _JOINED.sub("", text))
        yield from _ciphers(text[:_HEAD])

    def _close_up(self, run: str) -> str:
        parts = re.split(r"[ \t]{2,3}|[.\-_*|/]{2}", run)
        if len(parts) == 1:
            return " " + self._segment(re.sub(r"[^\w]|_", "", run)) + " "
        return " " + " ".join(re.sub(r"[\s.\-_*|/]", "", part) for part in parts) + " "


def _embedded(text: str) -> Iterator[Variant]:
    tried = 0
    for match in _BASE64.finditer(text):
        if tried >= 20:
            break
        if not _PLAIN_WORD.fullmatch(match.group()):
            tried += 1
            yield from _if_text("base64", _from_base64(match.group()))
    for at, match in enumerate(_HEX.finditer(text)):
        if at >= 20:
            break
        digits = re.sub(r"\\x|0x|[^0-9a-fA-F]", "", match.group())
        yield from _if_text("hex", bytes.fromhex(digits[: len(digits) // 2 * 2]))
    if len(_PERCENT.findall(text)) >= 3:
        yield Variant("url", unquote_to_bytes(text.encode("utf-8", "ignore")).decode("utf-8", "ignore"))
    if len(_ESCAPE.findall(text)) >= 3:
        yield Variant("escape", _ESCAPE.sub(lambda m: chr(int(m.group(1), 16)), text))
    for match in _BINARY.finditer(text):
        bits = re.sub(r"[^01]", "", match.group())
        yield from _if_text("binary", bytes(int(bits[i : i + 8], 2) for i in range(0, len(bits) - 7, 8)))
    for match in _MORSE.finditer(text):
        words = re.split(r" ?[/|] ?| {2,}", match.group())
        yield Variant("morse", " ".join("".join(_MORSE_CODE.get(c, "") for c in w.split()) for w in words))


def _ciphers(head: str) -> Iterator[Variant]:
    words, known = _reading(head)
    if words >= 3 and known < 0.5:
        for codec, plain in (("rot13", head.translate(_ROT13)), ("reversed", head[::-1])):
            if _reading(plain)[1] > max(0.3, known + 0.15):
                yield Variant(codec, plain)
    yield from _misspelt(head)


def _misspelt(head: str) -> Iterator[Variant]:
    """Words with digits for letters, or with their inner letters mixed, put right where that gives a known word."""
    spelling, by_letters = _words()
    changed: dict[str, int] = {"leet": 0, "scrambled": 0}

    def right(found: re.Match[str]) -> str:
        word = found.group()
        low = word.lower()
        if low in spelling:
            return word
        if not low.isalpha():
            for plain in (low.translate(_LEET), low.translate(_LEET_L).translate(_LEET)):
                if plain in spelling or (plain.isalpha() and signature(plain) in by_letters):
                    changed["leet"] += 1
                    return plain if plain in spelling else by_letters[signature(plain)]
            return word
        plain = by_letters.get(signature(low), "")
        changed["scrambled"] += bool(plain)
        return plain or word

    mended = _TOKEN.sub(right, head)
    count = sum(changed.values())
    if count >= 2 and count * 10 >= len(head.split()):
        yield Variant(max(changed, key=lambda codec: changed[codec]), mended)
        if changed["leet"]:  # and what is no known word
            yield Variant("leet", mended.translate(_LEET))


@cache
def _words() -> tuple[frozenset[str], dict[str, str]]:
    """Common words, and the same by their signature; of two with one signature the more common."""
    words = files(__package__).joinpath("data/words.txt").read_text("utf-8").split()
    return frozenset(words), {signature(word): word for word in reversed(words) if len(word) >= 5}


def _reading(text: str) -> tuple[int, float]:
    """Number of words and the share of common ones."""
    words = _WORD.findall(text[:2000].lower())
    spelling, _ = _words()
    return len(words), sum(w in spelling for w in words) / max(1, len(words))


def _from_base64(run: str) -> bytes:
    compact = re.sub(r"\s", "", run).replace("-", "+").replace("_", "/").rstrip("=")
    try:
        return base64.b64decode(compact + "=" * (-len(compact) % 4))
    except (binascii.Error, ValueError):
        return b""


def _if_text(codec: str, raw: bytes) -> Iterator[Variant]:
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError:
        return
    if len(text) < 8:
        return
    readable = sum(c.isprintable() or c in "\n\t" for c in text) / len(text)
    least = 0.8 if len(text) < 24 else 0.5
    if readable > 0.97 and sum(c.isalnum() or c in " =+/%\\" for c in text) / len(text) > least:
        yield Variant(codec, text)
