"""What the model sees of a text: numbers of words, of their parts, of concepts near each other, of rules, of its shape.

Training (services/agent/training) and scoring use these same functions. Features that belong to words are hashed into
two tables of :data:`SLOTS` weights; per-word work is done once for each different word.
"""

import math
import re
import zlib
from bisect import bisect_left
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from operator import itemgetter

from opencrust_agent.assess.lexicon import signature
from opencrust_agent.assess.rules import Rules

SLOTS = 1 << 18
_MASK = SLOTS - 1
NEAR = 7
"""Two concepts are a pair when at most so many words apart."""
CHUNK = 90
"""Words that are judged together, about 500 characters."""
STRIDE = 45
PEAK = 20
"""Words of the short window inside a chunk whose best place counts."""
SHAPES = ("length", "upper", "question", "asks", "quotes", "second-person")


@dataclass(frozen=True, slots=True)
class Scan:
    """A text, read once."""

    text: str
    words: list[str]
    spans: list[tuple[int, int]]
    concepts: list[tuple[int, int]]
    """(place of the word, concept)"""
    matches: list[tuple[int, int, int]]
    """(rule, first word, last word)"""


def scan(text: str, rules: Rules) -> Scan:
    """Read a normalised text."""
    tokens = rules.lexicon.tokens(text)
    words = [word for word, _, _ in tokens]
    spans = [(start, end) for _, start, end in tokens]
    concepts = rules.lexicon.concepts(words)
    matches = rules.matches(concepts)
    marks = rules.marked(text.lower()) if text else []
    if marks:
        starts = [start for start, _ in spans]
        matches += [(place, _word_at(starts, begin), _word_at(starts, end - 1)) for place, begin, end in marks]
    matches.sort(key=_second)
    return Scan(text, words, spans, concepts, matches)


_first: Callable[[tuple[int, int]], int] = itemgetter(0)
_second: Callable[[tuple[int, int, int]], int] = itemgetter(1)


def within(scan: Scan, start: int, end: int) -> tuple[list[tuple[int, int]], set[int]]:
    """The concepts of words ``start`` to ``end``, and the rules whose matches begin there."""
    concepts, matches = scan.concepts, scan.matches
    low, high = (bisect_left(concepts, at, key=_first) for at in (start, end))
    first, last = (bisect_left(matches, at, key=_second) for at in (start, end))
    return concepts[low:high], {place for place, _, _ in matches[first:last]}


def _word_at(starts: list[int], character: int) -> int:
    low, high = 0, len(starts)
    while low < high:
        middle = (low + high) // 2
        if starts[middle] <= character:
            low = middle + 1
        else:
            high = middle
    return max(0, low - 1)


def chunks(count: int) -> list[tuple[int, int]]:
    """Overlapping ranges of words that cover ``count`` words."""
    if count <= CHUNK * 4 // 3:
        return [(0, count)]
    starts = range(0, count - CHUNK + STRIDE, STRIDE)
    return [(min(start, count - CHUNK), min(start, count - CHUNK) + CHUNK) for start in starts]


def english(words: list[str]) -> bool:
    """Whether enough of the words are very common English ones; a few words are taken as English."""
    return len(words) < 4 or sum(word in _COMMON for word in words) >= len(words) * 0.08


def word_number(word: str) -> int:
    """A 32-bit number for a word; digits count as 0, scrambled letters as sorted. Words in scripts other than Latin are
    all the same: what they say is known by their concepts, and hashed they would only be noise."""
    if (not word.isascii() and _OTHER_SCRIPT.search(word)) or (len(word) > 5 and word.isdigit()):
        return 0
    plain = "".join("0" if c.isdigit() else c for c in word) if not word.isalpha() else word
    return zlib.crc32(signature(plain).encode("utf-8", "ignore"))


def word_slots(numbers: list[int]) -> tuple[list[int], list[int], list[int], list[int]]:
    """Slots of words, of pairs, of pairs with a gap, of triples; each list begins with the first word."""
    ones = [((n * 0x9E3779B1) >> 11) & _MASK for n in numbers]
    twos = [((a * 0x85EBCA6B + b * 0xC2B2AE35) >> 13) & _MASK for a, b in pairwise(numbers)]
    gaps = [((a * 0x27D4EB2F + b * 0x165667B1) >> 13) & _MASK for a, b in zip(numbers, numbers[2:], strict=False)]
    threes = [((a * 7 + b * 0x27D4EB2F) >> 12) & _MASK for a, b in zip(twos, numbers[2:], strict=False)]
    return ones, twos, gaps, threes


def part_slots(word: str) -> list[int]:
    """Slots of a word's three to five letter parts, with its edges; none for other scripts than Latin."""
    if (not word.isascii() and _OTHER_SCRIPT.search(word)) or (len(word) > 5 and word.isdigit()):
        return []
    edged = f"<{word[:24]}>".encode("utf-8", "ignore")
    length = len(edged)
    return [zlib.crc32(edged[i : i + n]) & _MASK for n in (3, 4, 5) for i in range(length - n + 1)]


def concept_pairs(concepts: list[tuple[int, int]]) -> set[tuple[int, int]]:
    """Ordered pairs of concepts near each other; a concept alone is (itself, -1)."""
    pairs: set[tuple[int, int]] = set()
    recent: list[tuple[int, int]] = []
    for at, number in concepts:
        pairs.add((number, -1))
        recent = [(place, other) for place, other in recent if at - place <= NEAR][-12:]
        pairs.update((other, number) for place, other in recent if place < at)
        recent.append((at, number))
    return pairs


def shape(text: str, words: list[str]) -> list[float]:
    """The numbers that :data:`SHAPES` names, each about 0 to 1, of a chunk."""
    pieces = text.split()
    shouted = sum(len(piece) > 2 and piece.isupper() for piece in pieces)
    return [
        math.log1p(max(_SHORT, len(words))) / 5,
        min(1.0, shouted / max(_SHORT, len(pieces)) * 4),
        float("?" in text),
        float(bool(words) and words[0] in _ASKING),
        min(1.0, (text.count('"') + text.count("'") + text.count("`")) / 6),
        float(bool(_YOU.intersection(words))),
    ]


_SHORT = 12
"""Words; below that, length and share of capitals say nothing."""
_COMMON_WORDS = (
    "the and you are to of is that it for your my me all this with from have not be or by an at we any if how no what"
    " was can do will as on he they his her i the which were their there when who would about them then so your"
)
_COMMON = frozenset(_COMMON_WORDS.split())
_OTHER_SCRIPT = re.compile("[^\\W\u0000-\u024f\u1e00-\u1eff]")
_ASKING_WORDS = "what how why when where who which can could is are do does did should would explain describe"
_ASKING = frozenset(_ASKING_WORDS.split())
_YOU_WORDS = "you your yourself du dein ihr tu vous votre te usted voce tuo ti ty twoj je jij вы ты твои 你 您"
_YOU = frozenset(_YOU_WORDS.split())
