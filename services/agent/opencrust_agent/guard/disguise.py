"""A text as it would read without its disguises, each reading with the way back to the text's own offsets.

A fingerprint finds a value in its plain forms (raw, base64 at three alignments, hex, percent-encoded, JSON). A model
that was talked into it can also spell it out, write it backwards, turn it by thirteen letters, wrap it in lines, or
encode it twice. Each *view* undoes one of these; encoded runs are decoded twice at most.
"""

import base64
import binascii
import codecs
import html
import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from math import ceil

Span = tuple[int, int]
Finder = Callable[[str], Iterable[Span]]
"""Finds values in a text: offsets of each."""

MAX_VIEWED = 256 * 1024
"""Characters. A longer text is looked at in overlapping pieces."""
_OVERLAP = 16 * 1024
_DEPTH = 2
_LEAST = 12
"""No form is shorter."""
_MOSTLY = 0.8
"""How much of a decoding must be printable: in a long run only a part may be text."""
_INVISIBLE = re.compile(
    r"[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f"
    r"\ufe00-\ufe0f\ufeff\U000e0000-\U000e007f\U000e0100-\U000e01ef]"
)
_SPACES = re.compile(r"\s+")
_BREAKS = re.compile(r"[\r\n]+")
_SPELLED = re.compile(r"(?:[^\s](?:[ .,;:|/*_~+-]|, |\s?-\s?)){11,}[^\s]")
_ESCAPED = (
    re.compile(r"(?:%[0-9A-Fa-f]{2})+"),
    re.compile(r"(?:=[0-9A-F]{2})+"),
    re.compile(r"(?:\\x[0-9A-Fa-f]{2})+|\\u\{?[0-9A-Fa-f]{4}\}?|(?:\\[0-7]{3})+"),
    re.compile(r"&(?:#[0-9]{1,6}|#[xX][0-9A-Fa-f]{1,5}|[a-zA-Z]{2,8});"),
)
"""Escapes of URLs, e-mail, strings and HTML: a value that looks like one of them may be written in another."""
_RUN64 = re.compile(r"[A-Za-z0-9+/_-]{16,}={0,2}")
_RUN32 = re.compile(r"(?:[A-Z2-7]{16,}|[a-z2-7]{16,})={0,6}")
_RUN16 = re.compile(r"(?:[0-9A-Fa-f]{2}[ :,-]?|0x[0-9A-Fa-f]{2}[ ,]{0,2}|\\x[0-9A-Fa-f]{2}){11,}[0-9A-Fa-f]{2}")
_DECIMAL = re.compile(r"(?:[0-9]{2,3}[ ,;]{1,2}){11,}[0-9]{2,3}")
_BINARY = re.compile(r"(?:[01]{8} ?){12,}")


@dataclass(frozen=True, slots=True)
class View:
    """``text``, and for each of its characters the span of the original that it stands for."""

    text: str
    places: list[Span]

    def back(self, span: Span) -> Span:
        """The original's span behind a span of the view."""
        touched = self.places[span[0] : span[1]]
        return min(start for start, _ in touched), max(end for _, end in touched)


def find(text: str, finder: Finder) -> list[Span]:
    """Where ``text`` shows what ``finder`` knows, in any dress. Sorted, without overlaps."""
    if len(text) < _LEAST and text.isascii():  # no dress of ASCII is shorter than what it hides
        return []
    found: list[Span] = []
    for at in range(0, max(len(text), 1), MAX_VIEWED - _OVERLAP):
        piece = text[at : at + MAX_VIEWED]
        found += [(at + start, at + end) for start, end in _find(piece, finder, _DEPTH)]
        if at + MAX_VIEWED >= len(text):
            break
    return merged(found)


def merged(spans: Iterable[Span]) -> list[Span]:
    """Sorted, and those that touch made one."""
    kept: list[Span] = []
    for start, end in sorted(spans):
        if kept and start <= kept[-1][1]:
            kept[-1] = (kept[-1][0], max(end, kept[-1][1]))
        else:
            kept.append((start, end))
    return kept


def _find(text: str, finder: Finder, depth: int) -> Iterator[Span]:
    yield from finder(text)
    for view in _views(text):
        yield from map(view.back, finder(view.text))
        if depth:
            yield from (view.back(span) for span in _decoded(view.text, finder, depth))
    if depth:
        yield from _decoded(text, finder, depth)


def _views(text: str) -> Iterator[View]:
    """The readings that differ from the text itself."""
    plain = View(text, [(at, at + 1) for at in range(len(text))])
    if not text.isascii():
        plain = _without(_INVISIBLE, plain)
        plain = _folded(plain)
        if plain.text != text:
            yield plain
    yield View(plain.text[::-1], plain.places[::-1])
    yield View(codecs.encode(plain.text, "rot13"), plain.places)
    if _BREAKS.search(plain.text):
        yield _without(_BREAKS, plain)
    if _SPACES.search(plain.text):
        squeezed = _without(_SPACES, plain)
        yield squeezed
        yield View(squeezed.text[::-1], squeezed.places[::-1])
    for run in _SPELLED.finditer(plain.text):
        yield _spelled(plain, run.span())
    for pattern in _ESCAPED:
        if pattern.search(plain.text):
            yield _unescaped(pattern, plain)


def _without(pattern: re.Pattern[str], view: View) -> View:
    kept = [True] * len(view.text)
    for match in pattern.finditer(view.text):
        kept[match.start() : match.end()] = [False] * (match.end() - match.start())
    return View(
        "".join(c for c, keep in zip(view.text, kept, strict=True) if keep),
        [place for place, keep in zip(view.places, kept, strict=True) if keep],
    )


def _folded(view: View) -> View:
    """Compatibility forms as plain letters: full width, circled, mathematical."""
    text, places = [], []
    for character, place in zip(view.text, view.places, strict=True):
        for letter in unicodedata.normalize("NFKC", character):
            text.append(letter)
            places.append(place)
    return View("".join(text), places)


def _spelled(view: View, span: Span) -> View:
    """Every first, third, fifth … character of a run that is spelled out."""
    positions = []
    at = span[0]
    while at < span[1]:
        positions.append(at)
        at += 1
        apart = at < span[1] and view.text[at].isspace()
        while at < span[1] and view.text[at].isspace():
            at += 1
        if at < span[1] and (
            (view.text[at] in ".,;:|/*_~+-" and not apart)
            or (view.text[at] == "-" and view.text[at + 1 : at + 2].isspace())
        ):
            at += 1
        while at < span[1] and view.text[at].isspace():
            at += 1
    return View("".join(view.text[p] for p in positions), [view.places[p] for p in positions])


def _unescaped(pattern: re.Pattern[str], view: View) -> View:
    """The escapes that ``pattern`` finds undone, one level."""
    text: list[str] = []
    places: list[Span] = []
    at = 0
    for match in pattern.finditer(view.text):
        text += view.text[at : match.start()]
        places += view.places[at : match.start()]
        characters = _characters(match.group())
        size = (match.end() - match.start()) / max(len(characters), 1)
        for number, character in enumerate(characters):
            first, last = match.start() + int(number * size), match.start() + ceil((number + 1) * size) - 1
            text.append(character)
            places.append((view.places[first][0], view.places[last][1]))
        at = match.end()
    return View("".join([*text, view.text[at:]]), [*places, *view.places[at:]])


def _characters(escape: str) -> str:
    if escape[0] == "&":
        return html.unescape(escape)
    if escape.startswith("\\u"):
        return chr(int(escape[2:].strip("{}"), 16))
    if octal := re.findall(r"\\([0-7]{3})", escape):
        return _readings(bytes(int(digits, 8) & 0xFF for digits in octal))[0]
    return _readings(bytes.fromhex(re.sub(r"%|=|\\x", "", escape)))[0]


def _readings(data: bytes) -> list[str]:
    """Bytes as text: UTF-8 where it is that, and as single bytes."""
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return [data.decode("latin-1")]
    return [text] if text.isascii() else [text, data.decode("latin-1")]


def _decoded(text: str, finder: Finder, depth: int) -> Iterator[Span]:
    """Runs whose decoding shows it. What is found maps back in proportion, rounded outwards."""
    for pattern, decode in _DECODERS:
        for run in pattern.finditer(text):
            for start, length, data in decode(run.group()):
                ratio = length / len(data)
                for first, last in _find(data, finder, depth - 1):
                    begin = run.start() + start
                    end = min(begin + ceil(last * ratio) + 4, run.end())  # padding, or a cut byte's rest
                    yield begin + int(first * ratio), end


Decoding = tuple[int, int, str]
"""Where in the run it begins, how much of the run it is, and what it says."""


def _base64(run: str) -> Iterator[Decoding]:
    body = run.rstrip("=").replace("-", "+").replace("_", "/")
    for start in range(4):
        part = body[start:]
        part = part[: len(part) - 1] if len(part) % 4 == 1 else part
        yield from _text(lambda text: base64.b64decode(text + "=" * (-len(text) % 4)), part, start)


def _base32(run: str) -> Iterator[Decoding]:
    body = run.rstrip("=").upper()
    yield from _text(lambda text: base64.b32decode(text + "=" * (-len(text) % 8)), body)
    yield from _text(base64.b32decode, body[: len(body) // 8 * 8])


def _hex(run: str) -> Iterator[Decoding]:
    for _, _, text in _text(bytes.fromhex, re.sub(r"0x|\\x|[ :,-]", "", run)):
        yield 0, len(run), text


def _numbers(run: str) -> Iterator[Decoding]:
    values = [int(number) for number in re.findall(r"[0-9]+", run)]
    if all(9 <= value < 256 for value in values):
        yield from ((0, len(run), text) for text in _readings(bytes(values)))


def _bits(run: str) -> Iterator[Decoding]:
    bits = run.replace(" ", "")
    data = bytes(int(bits[at : at + 8], 2) for at in range(0, len(bits) // 8 * 8, 8))
    yield from ((0, len(run), text) for text in _readings(data))


def _text(decode: Callable[[str], bytes], body: str, start: int = 0) -> Iterator[Decoding]:
    """The decoding, if it is text: what is binary holds no form that we know."""
    try:
        data = decode(body)
    except (ValueError, binascii.Error):
        return
    for text in _readings(data):
        if len(text) >= _LEAST and sum(c.isprintable() or c.isspace() for c in text) >= _MOSTLY * len(text):
            yield start, len(body), text


_DECODERS: tuple[tuple[re.Pattern[str], Callable[[str], Iterator[Decoding]]], ...] = (
    (_RUN64, _base64),
    (_RUN32, _base32),
    (_RUN16, _hex),
    (_DECIMAL, _numbers),
    (_BINARY, _bits),
)
