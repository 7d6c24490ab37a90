"""Words into concepts: "ignore", "vergiss" and "忽略" are the same order to a model, so they are the same feature here.

The words stand in the rules file, language by language. ``stem*`` is every word that begins so, ``a_b`` a phrase.
Scripts without spaces are cut at known words, longest first. Scrambled letters ("ignroe") find their word too.
"""

import re
import unicodedata
from collections.abc import Iterable, Mapping

_MARKS = "\u0300-\u036f\u0591-\u05c7\u064b-\u065f\u0670\u0900-\u0903\u093a-\u094f\u0e31\u0e34-\u0e3a\u0e47-\u0e4e"
TOKEN = re.compile(rf"[^\W_]+(?:['’\-][^\W_]+)*(?:[{_MARKS}]+[^\W_]*)*")
_UNSPACED = re.compile("[\u0e00-\u0e7f\u3040-\u30ff\u3400-\u9fff]")
_HANGUL_OR_ARABIC = re.compile("[\u1100-\u11ff\u0600-\u06ff\uac00-\ud7af]")
_LETTERS = {ord("ł"): "l", ord("ø"): "o", ord("đ"): "d", ord("ı"): "i", ord("ß"): "ss", ord("œ"): "oe", ord("æ"): "ae"}
_DIGITS = str.maketrans("0134578", "oieastb")
_LONGEST_STEM = 16
_REMEMBERED = 20_000


def key(word: str) -> str:
    """A word as it is looked up: lower case, without accents."""
    if word.isascii():
        return word.lower()
    plain = "".join(c for c in unicodedata.normalize("NFKD", word.lower()) if not unicodedata.combining(c))
    return plain.translate(_LETTERS)


def signature(word: str) -> str:
    """First letter, the inner ones sorted, last letter: the same for every scrambling of a word."""
    return word if len(word) < 5 else word[0] + "".join(sorted(word[1:-1])) + word[-1]


class Lexicon:
    """Looks words and phrases up. Concepts are numbers, places in ``names``."""

    def __init__(self, concepts: Mapping[str, str]) -> None:
        self.names = tuple(concepts)
        self._words: dict[str, set[int]] = {}
        self._stems: dict[str, set[int]] = {}
        self._scrambled: dict[str, set[int]] = {}
        self._phrases: dict[str, list[tuple[tuple[str, ...], int]]] = {}
        self._known: dict[str, tuple[int, ...]] = {}
        for number, words in enumerate(concepts.values()):
            for entry in words.split():
                self._add(entry, number)
        for word in (*_VOCABULARY, *self._words):
            if word.isascii() and len(word) > 5:
                self._scrambled.setdefault(signature(word), set()).update(self._look_up(word))
        unspaced = [w for w in (*self._words, *self._stems) if _UNSPACED.search(w)]
        self._cut = re.compile("|".join(map(re.escape, sorted(unspaced, key=len, reverse=True))) or r"(?!)")
        self._longest = max((len(w) for w in self._words if w.isascii()), default=0)

    def _add(self, entry: str, number: int) -> None:
        word = key(entry)
        if "_" in word:
            first, *rest = word.split("_")
            self._phrases.setdefault(first, []).append((tuple(rest), number))
        elif word.endswith("*") or _HANGUL_OR_ARABIC.search(word):
            self._stems.setdefault(word.rstrip("*"), set()).add(number)
        else:
            self._words.setdefault(word, set()).add(number)

    def tokens(self, text: str) -> list[tuple[str, int, int]]:
        """Words of ``text`` as they are looked up, with where each begins and ends."""
        found: list[tuple[str, int, int]] = []
        ascii_only = text.isascii()
        for match in TOKEN.finditer(text):
            word = match.group()
            start, end = match.span()
            if ascii_only or word.isascii():
                found.append((word.lower(), start, end))
            elif _UNSPACED.search(word):
                found += self._pieces(word, start)
            else:
                found.append((key(word), start, end))
        return found

    def _pieces(self, run: str, start: int) -> Iterable[tuple[str, int, int]]:
        at = 0
        for match in self._cut.finditer(run):
            yield from ((run[i], start + i, start + i + 1) for i in range(at, match.start()))
            yield match.group(), start + match.start(), start + match.end()
            at = match.end()
        yield from ((run[i], start + i, start + i + 1) for i in range(at, len(run)))

    def concepts(self, words: list[str]) -> list[tuple[int, int]]:
        """(place of the word, concept), by place."""
        found: list[tuple[int, int]] = []
        known, phrases = self._known, self._phrases
        for at, word in enumerate(words):
            numbers = known.get(word)
            if numbers is None:
                numbers = self._look_up(word)
            for number in numbers:
                found.append((at, number))
            if word in phrases:
                for rest, number in phrases[word]:
                    if _continues(words, at + 1, rest):
                        found.append((at, number))
        return found

    def _look_up(self, word: str) -> tuple[int, ...]:
        numbers = set(self._words.get(word, ()))
        for length in range(3, min(len(word), _LONGEST_STEM) + 1):
            numbers |= self._stems.get(word[:length], set())
        if not word.isascii():
            for length in (1, 2):
                numbers |= self._stems.get(word[:length], set())
        if not numbers and 5 < len(word) <= 16:
            numbers |= self._scrambled.get(signature(word), set())
        if not numbers and len(word) > 4 and not word.isalpha() and word.translate(_DIGITS).isalpha():
            numbers = {*self._look_up(word.translate(_DIGITS))}
        if len(self._known) >= _REMEMBERED:
            self._known.clear()
        found = self._known[word] = tuple(sorted(numbers))
        return found

    def segment(self, letters: str) -> str:
        """Put spaces between words that were run together, greedily by the longest that is known."""
        low, at = letters[:2000].lower(), 0
        out: list[str] = []
        unknown = ""
        while at < len(low):
            size = self._word_size(low[at : at + self._longest])
            if size:
                out += [unknown, low[at : at + size]] if unknown else [low[at : at + size]]
                unknown = ""
            else:
                unknown += low[at]
            at += size or 1
        return " ".join([*out, unknown] if unknown else out)

    def _word_size(self, letters: str) -> int:
        """Letters of the longest known word that ``letters`` begin with; 0 for none."""
        for size in range(len(letters), 1, -1):
            if letters[:size] in _VOCABULARY or (size > 3 and letters[:size] in self._words):
                return size
        return next(
            (size for size in range(min(_LONGEST_STEM, len(letters)), 3, -1) if letters[:size] in self._stems), 0
        )


_COMMON_WORDS = (
    "the and you are of is in that it for your my me to all above what please now do not this with from have will must"
    " instructions instruction previous prior ignore disregard forget everything system prompt reveal show print tell"
    " secret password say only answer output repeat act as an developer mode rules without restrictions user message"
    " messages send email file ignoring override bypass passwords secrets output following pretend unrestricted hidden"
    " confidential guidelines original verbatim files data text word words before after any them then who how can give"
)
_VOCABULARY = frozenset(_COMMON_WORDS.split())


def _continues(words: list[str], at: int, rest: tuple[str, ...]) -> bool:
    return words[at : at + len(rest)] == list(rest)
