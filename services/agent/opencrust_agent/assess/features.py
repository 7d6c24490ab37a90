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
from opencrust_agent.assess.rules import ANCHORS, Rules

SLOTS = 1 << 18
_MASK = SLOTS - 1
NEAR = 7
"""Two concepts are a pair when at most so many words apart."""
CHUNK = 90
"""Words that are judged together, about 500 characters."""
STRIDE = 45
PEAK = 20
"""Words of the short window inside a chunk whose best place counts."""
RUN = 3
"""Sentences that are judged together when a chunk is looked at closer."""
_LEAST = 4
_RECENT = 12
"""Concepts before another that are paired with it."""
SHAPES = ("length", "upper", "question", "asks", "quotes", "second-person", "markup", "whole")
START, QUOTE, FIELD, DOC, ADDRESS, LINK = ANCHORS
_LEADS = ("", START, QUOTE, FIELD, "COLON", "MARKUP")


@dataclass(frozen=True, slots=True)
class Scan:
    """A text, read once."""

    text: str
    words: list[str]
    spans: list[tuple[int, int]]
    leads: list[int]
    """What stands before each word: a place in ``_LEADS``."""
    pairs: list[tuple[int, int, tuple[int, int]]]
    """(place of the first, place of the second, the two concepts), by second place"""
    matches: list[tuple[int, int, int]]
    """(rule, first word, last word)"""


def scan(text: str, rules: Rules, *, document: bool = False) -> Scan:
    """Read a normalised text. ``document``: it is one, whatever it looks like."""
    tokens = rules.lexicon.tokens(text)
    words = [word for word, _, _ in tokens]
    spans = [(start, end) for _, start, end in tokens]
    leads = _leads(text, spans)
    anchors = _anchors(text, spans, leads, document or structured(text), rules.anchors)
    concepts = sorted([*rules.lexicon.concepts(words), *anchors])
    matches = rules.matches(concepts)
    marks = rules.marked(text.lower()) if text else []
    if marks:
        starts = [start for start, _ in spans]
        matches += [(place, _word_at(starts, begin), _word_at(starts, end - 1)) for place, begin, end in marks]
    matches.sort(key=_second)
    return Scan(text, words, spans, leads, _pairs(concepts, rules.places, len(rules.anchors)), matches)


_second: Callable[[tuple[int, int, object]], int] = itemgetter(1)


def within(scan: Scan, start: int, end: int) -> tuple[set[tuple[int, int]], set[int]]:
    """The pairs of concepts in words ``start`` to ``end``, and the rules whose matches begin there."""
    pairs, matches = scan.pairs, scan.matches
    low, high = (bisect_left(pairs, at, key=_second) for at in (start, end))
    first, last = (bisect_left(matches, at, key=_second) for at in (start, end))
    return {pair for at, _, pair in pairs[low:high] if at >= start}, {place for place, _, _ in matches[first:last]}


def structured(text: str) -> bool:
    """Whether a text is data or a document with markup: a table, JSON, HTML, a mail with its header."""
    if text.count("|") >= 6 or text.count("': ") + text.count('": ') >= 2 or text.count("</") >= 2:
        return True
    return sum(name in text for name in _MAIL_HEADER) >= 2


def _leads(text: str, spans: list[tuple[int, int]]) -> list[int]:
    """For each word the class of what stands between it and the word before."""
    known: dict[str, int] = {" ": 0, "": 0, ", ": 0, ". ": 1}
    leads, before = [], 0
    for start, end in spans:
        gap = text[before:start]
        lead = known.get(gap)
        if lead is None:
            lead = known[gap] = _lead(gap[-12:])
        leads.append(lead)
        before = end
    if leads and leads[0] == 0:
        leads[0] = 1
    return leads


def _lead(gap: str) -> int:
    quoted = any(c in "\"'“”‘’`«»「『„" for c in gap)
    if quoted and ":" in gap and (gap[0] in "\"'") and gap[-1] in "\"'":
        return 3
    if quoted and gap[-1] not in " ,":
        return 2
    if any(c in "{}[]<>|#=*~^\\" for c in gap):
        return 5
    if any(c in ".!?\n\r;。！？…•\u0964" for c in gap):
        return 1
    return 4 if ":" in gap or "：" in gap else 0


def _anchors(
    text: str, spans: list[tuple[int, int]], leads: list[int], document: bool, numbers: dict[str, int]
) -> list[tuple[int, int]]:
    found: list[tuple[int, int]] = []
    start, quote, field, doc = (numbers.get(name) for name in (START, QUOTE, FIELD, DOC))
    for at, lead in enumerate(leads):
        if lead:
            if start is not None:
                found.append((at, start))
            if lead == 2 and quote is not None:
                found.append((at, quote))
            if lead == 3 and field is not None:
                found.append((at, field))
            if document and doc is not None:
                found.append((at, doc))
    begins = [begin for begin, _ in spans]
    for mark, name in (("@", ADDRESS), ("://", LINK), ("www.", LINK)):
        number, at = numbers.get(name), text.find(mark)
        while at >= 0 and number is not None and spans:
            if name == LINK or (text[at - 1 : at].isalnum() and text[at + 1 : at + 2].isalnum()):
                found.append((_word_at(begins, at), number))
            at = text.find(mark, at + 1)
    return found


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


def sentences(scan: Scan, start: int, end: int) -> list[tuple[int, int]]:
    """Ranges of one to :data:`RUN` sentences or lines that begin between the words ``start`` and ``end``."""
    leads = scan.leads
    begins = [at for at in range(start, end) if leads[at] in (1, 5)]
    if not begins or begins[0] - start > 3:
        begins.insert(0, start)
    after = next((at for at in range(end, min(end + CHUNK, len(leads))) if leads[at] in (1, 5)), end)
    merged = [begins[0]]
    for at in (*begins[1:], after):  # lines of a word or two go with their neighbours
        if at - merged[-1] >= _LEAST or at == after:
            merged.append(at)
    return [
        (first, stop)
        for place, first in enumerate(merged)
        for stop in merged[place + 1 : place + 1 + RUN]
        if stop - first <= CHUNK
    ]


def foreign(words: list[str]) -> bool:
    """Whether the words are of another language than English: by their letters, or by common words."""
    other = sum(not word.isascii() and _OTHER_SCRIPT.search(word) is not None for word in words)
    if other * 3 > len(words):
        return True
    return sum(word in _FOREIGN for word in words) > sum(word in _COMMON for word in words)


def word_number(word: str) -> int:
    """A 32-bit number for a word; digits count as 0, scrambled letters as sorted. Words in scripts other than Latin are
    all the same: what they say is known by their concepts, and hashed they would only be noise."""
    if (not word.isascii() and _OTHER_SCRIPT.search(word)) or (len(word) > 5 and word.isdigit()):
        return 0
    plain = "".join("0" if c.isdigit() else c for c in word) if not word.isalpha() else word
    return zlib.crc32(signature(plain).encode("utf-8", "ignore"))


def word_slots(numbers: list[int], leads: list[int]) -> tuple[list[int], list[int], list[int], list[int], list[int]]:
    """Slots of words, of pairs, of pairs with a gap, of triples, of words with what stands before them; each begins
    with the first word."""
    ones = [((n * 0x9E3779B1) >> 11) & _MASK for n in numbers]
    twos = [((a * 0x85EBCA6B + b * 0xC2B2AE35) >> 13) & _MASK for a, b in pairwise(numbers)]
    gaps = [((a * 0x27D4EB2F + b * 0x165667B1) >> 13) & _MASK for a, b in zip(numbers, numbers[2:], strict=False)]
    threes = [((a * 7 + b * 0x27D4EB2F) >> 12) & _MASK for a, b in zip(twos, numbers[2:], strict=False)]
    led = [
        ((n * 0x9E3779B1 + lead * 0x2C1B3C6D + 0x297A2D39) >> 13) & _MASK
        for n, lead in zip(numbers, leads, strict=True)
    ]
    return ones, twos, gaps, threes, led


def part_slots(word: str) -> list[int]:
    """Slots of a word's three to five letter parts, with its edges; none for other scripts than Latin."""
    if (not word.isascii() and _OTHER_SCRIPT.search(word)) or (len(word) > 5 and word.isdigit()):
        return []
    edged = f"<{word[:24]}>".encode("utf-8", "ignore")
    length = len(edged)
    return [zlib.crc32(edged[i : i + n]) & _MASK for n in (3, 4, 5) for i in range(length - n + 1)]


def _pairs(concepts: list[tuple[int, int]], places: int, anchors: int) -> list[tuple[int, int, tuple[int, int]]]:
    """Concepts near each other, in their order; a concept alone is (itself, -1). The beginning of something (a number
    below ``places``) goes only with the word there and the next."""
    pairs: list[tuple[int, int, tuple[int, int]]] = []
    low = 0
    for here, (at, number) in enumerate(concepts):
        pairs.append((at, at, (number, -1)))
        while at - concepts[low][0] > NEAR:
            low += 1
        if number >= places:
            for place, other in concepts[max(low, here - _RECENT) : here]:
                if at - place <= 1 if other < places else place < at or other < anchors:
                    pairs.append((place, at, (other, number)))
    return pairs


def shape(scan: Scan, start: int, end: int) -> list[float]:
    """The numbers that :data:`SHAPES` names, each about 0 to 1, of the words ``start`` to ``end``."""
    text, words = scan.text, scan.words[start:end]
    if scan.spans and len(scan.spans) > end - start:
        text = text[scan.spans[start][0] : scan.spans[end - 1][1] + 1]
    pieces = text.split()
    shouted = sum(len(piece) > 2 and piece.isupper() for piece in pieces)
    return [
        math.log1p(max(_SHORT, len(words))) / 5,
        min(1.0, shouted / max(_SHORT, len(pieces)) * 4),
        float("?" in text),
        float(bool(words) and words[0] in _ASKING),
        min(1.0, (text.count('"') + text.count("'") + text.count("`")) / 6),
        float(not _YOU.isdisjoint(words)),
        scan.leads[start:end].count(5) / max(_SHORT, end - start),
        math.log1p(max(0, len(scan.words) - CHUNK) / CHUNK) / 3,
    ]


_MAIL_HEADER = ("SUBJECT:", "Subject:", "From:", "EMAIL_FROM", "Date:", "RECEIVED DATE", "To:", "CONTENT:")
_SHORT = 12
"""Words; below that, length and share of capitals say nothing."""
_COMMON_WORDS = (
    "the and you are to of is that it for your my me all this with from have not be or by an at we any if how no what"
    " was can do will as on he they his her i the which were their there when who would about them then so your"
)
_COMMON = frozenset(_COMMON_WORDS.split())
_FOREIGN_WORDS = (
    "de la el los las que en un una por con para su tus lo del se es le les des du et ou une dans pour qui sur ton"
    " ta tes vos votre il di che per della gli tuo tua tuoi le os da em um uma seu sua dos das und der die den dem ein"
    " eine zu mit von ist nicht dein deine deiner deinen alle het een van te dat je jouw op met voor na sie nie jest"
    " twoje og det av att och som pa for din ve bir bu icin yang dan untuk dengan anda semua nu si din pe cu az es egy"
    " nem ja ei se on ola mi ti lo tutte tutti todas todos toutes alles tous jsou tve vsechny kamu kau tum sen seni"
)
_FOREIGN = frozenset(_FOREIGN_WORDS.split()) - _COMMON
_OTHER_SCRIPT = re.compile("[^\\W\u0000-\u024f\u1e00-\u1eff]")
_ASKING_WORDS = "what how why when where who which can could is are do does did should would explain describe"
_ASKING = frozenset(_ASKING_WORDS.split())
_YOU_WORDS = "you your yourself du dein ihr tu vous votre te usted voce tuo ti ty twoj je jij вы ты твои 你 您"
_YOU = frozenset(_YOU_WORDS.split())
