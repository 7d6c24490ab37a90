"""The trained weights: a linear model in one file, read without any library.

Format: the line ``OPENCRUST-ASSESS 1``, one line of JSON (version, provenance, thresholds, the small weights), then
zlib-compressed int8: :data:`features.SLOTS` weights of words and as many of word parts. At most 1 MiB.
"""

import json
import math
import zlib
from dataclasses import dataclass
from importlib.resources import files
from itertools import accumulate
from typing import Any

from opencrust_agent.assess import features
from opencrust_agent.assess.rules import Rules

MAGIC = b"OPENCRUST-ASSESS 1\n"
MAX_BYTES = 1 << 20
PARTS = ("words", "parts", "words-peak", "parts-peak", "concepts", "concepts-count")
"""The first inputs of the second stage; then come :data:`features.SHAPES` and the rules."""
_REMEMBERED = 20_000
_BEST = 3
_CLOSER = 120
"""The best chunks of a text of more words are looked at closer, sentence by sentence: an order is short, wherever it
stands."""
_EXCERPT = 1.25
"""Log-odds that such sentences must say more than a text of their own: among many, some look odd by chance."""


class ModelError(Exception):
    """The model file cannot be used. The text says why."""


@dataclass(frozen=True, slots=True)
class Header:
    """What is in the JSON line."""

    version: str
    provenance: dict[str, Any]
    thresholds: dict[str, float]
    """Score at which so many per cent of unseen benign texts are reached: "5", "1", "0.5", "0.2"."""
    scale: tuple[float, float]
    stage: dict[str, float]
    """Log-odds: the bias, of each of :data:`PARTS`, ``shape:…`` and ``rule:…``."""
    foreign: dict[str, float]
    """The same for chunks that are not English: the hashed tables know English only, so they count nothing there."""
    pairs: dict[str, float]


class Model:
    """Scores chunks of a scan. Log-odds; above 0 is more likely an attack than not."""

    def __init__(self, header: Header, words: bytes, parts: bytes, rules: Rules) -> None:
        self.header = header
        self._words = memoryview(words).cast("b")
        self._parts = memoryview(parts).cast("b")
        self._numbers: dict[str, tuple[int, float]] = {}
        numbers = {name: number for number, name in enumerate(rules.lexicon.names)}
        self._pairs = {
            (numbers[a], numbers.get(b, -1)): weight
            for (a, b), weight in ((name.split(" "), w) for name, w in header.pairs.items())
            if a in numbers and (b in numbers or b == "-")
        }
        self._english, self._foreign = (_Stage(weights, rules) for weights in (header.stage, header.foreign))

    @property
    def tables(self) -> tuple[bytes, bytes]:
        """The int8 weights of words and of word parts."""
        return self._words.tobytes(), self._parts.tobytes()

    def rule_weight(self, place: int) -> float:
        """What the rule at that place adds, log-odds."""
        return self._english.rules[place]

    def chunks(self, scan: features.Scan) -> list[tuple[float, int, int]]:
        """(log-odds, first word, behind the last) of every chunk."""
        sums, part_sums = self._sums(scan)
        ranges = features.chunks(len(scan.words))
        scored = [self._score(scan, start, end, sums, part_sums) for start, end in ranges]
        if len(scan.words) > _CLOSER:
            best = sorted(scored, reverse=True)[:_BEST]
            close = {window for _, start, end in best for window in features.sentences(scan, start, end)}
            for start, end in sorted(close):
                points, _, _ = self._score(scan, start, end, sums, part_sums)
                scored.append((points - _EXCERPT, start, end))
        return scored

    def _score(
        self, scan: features.Scan, start: int, end: int, sums: list[int], part_sums: list[float]
    ) -> tuple[float, int, int]:
        dense, hit = self._dense(scan, start, end, sums, part_sums)
        return self.points(scan, start, end, dense, hit), start, end

    def points(self, scan: features.Scan, start: int, end: int, dense: list[float], hit: set[int]) -> float:
        """Log-odds of a window, from its inputs."""
        stage = self._foreign if features.foreign(scan.words[start:end]) else self._english
        return stage.points(dense, hit)

    def inputs(self, scan: features.Scan) -> list[tuple[tuple[int, int], list[float], set[int]]]:
        """For every chunk and close window: its words, the dense inputs of the second stage, the rules that match in
        it."""
        sums, part_sums = self._sums(scan)
        ranges = [(start, end) for _, start, end in self.chunks(scan)]
        return [((start, end), *self._dense(scan, start, end, sums, part_sums)) for start, end in ranges]

    def _sums(self, scan: features.Scan) -> tuple[list[int], list[float]]:
        """Running sums of the weights of words (alone and in pairs and triples) and of word parts."""
        known = [self._numbers.get(word) or self._learn(word) for word in scan.words]
        at = self._words.__getitem__
        slots = features.word_slots([number for number, _ in known], scan.leads)
        ones, twos, gaps, threes, led = (list(map(at, some)) for some in slots)
        each = map(sum, zip(ones, [*twos, 0], [*gaps, 0, 0], [*threes, 0, 0], led, strict=False))
        return [0, *accumulate(each)], [0.0, *accumulate(part for _, part in known)]

    def _dense(
        self, scan: features.Scan, start: int, end: int, sums: list[int], part_sums: list[float]
    ) -> tuple[list[float], set[int]]:
        peak = min(features.PEAK, end - start)
        last = end - peak + 1
        word_scale, part_scale = self.header.scale
        size, short = math.sqrt(max(1, end - start)), math.sqrt(max(1, peak))
        pairs, hit = features.within(scan, start, end)
        weights = self._pairs
        dense = [
            (sums[end] - sums[start]) * word_scale / size,
            (part_sums[end] - part_sums[start]) * part_scale / size,
            max(map(int.__sub__, sums[start + peak : end + 1], sums[start:last])) * word_scale / short,
            max(map(float.__sub__, part_sums[start + peak : end + 1], part_sums[start:last])) * part_scale / short,
            sum(weights.get(pair, 0.0) for pair in pairs),
            math.log1p(len(pairs)),
            *features.shape(scan, start, end),
        ]
        return dense, hit

    def _learn(self, word: str) -> tuple[int, float]:
        if len(self._numbers) >= _REMEMBERED:
            self._numbers.clear()
        slots = features.part_slots(word)
        parts = sum(map(self._parts.__getitem__, slots)) / math.sqrt(max(1, len(slots)))
        known = self._numbers[word] = (features.word_number(word), float(parts))
        return known


class _Stage:
    """The weights of one second stage, in the order of its inputs."""

    def __init__(self, weights: dict[str, float], rules: Rules) -> None:
        self.bias = weights.get("bias", 0.0)
        shapes = [f"shape:{name}" for name in features.SHAPES]
        self.dense = [weights.get(name, 0.0) for name in (*PARTS, *shapes)]
        self.rules = [weights.get(f"rule:{part.id}", part.points) for part in rules.all]

    def points(self, dense: list[float], hit: set[int]) -> float:
        weights = self.rules
        return self.bias + sum(map(float.__mul__, self.dense, dense)) + sum(weights[place] for place in sorted(hit))


def dump(header: Header, words: bytes, parts: bytes) -> bytes:
    """The model as a file's bytes. The same weights give the same bytes."""
    line = json.dumps(
        {name: getattr(header, name) for name in Header.__slots__},
        sort_keys=True,
        ensure_ascii=True,
        separators=(",", ":"),
    )
    return MAGIC + line.encode() + b"\n" + zlib.compress(words + parts, 9)


def parse(data: bytes, rules: Rules) -> Model:
    """The model in a file's bytes.

    Raises:
        ModelError: it is not a model of this format.
    """
    if not data.startswith(MAGIC) or len(data) > MAX_BYTES:
        raise ModelError("not a model file of format 1, or larger than 1 MiB")
    line, _, packed = data[len(MAGIC) :].partition(b"\n")
    try:
        fields = json.loads(line)
        unpack = zlib.decompressobj()
        tables = unpack.decompress(packed, 2 * features.SLOTS + 1)
        header = Header(**{**fields, "scale": (float(fields["scale"][0]), float(fields["scale"][1]))})
    except (ValueError, TypeError, KeyError, zlib.error) as error:
        raise ModelError(f"the model file is damaged: {type(error).__name__}") from None
    if len(tables) != 2 * features.SLOTS:
        raise ModelError("the model file has tables of another size")
    return Model(header, tables[: features.SLOTS], tables[features.SLOTS :], rules)


def shipped(rules: Rules) -> Model:
    """The model that comes with this package."""
    return parse(files(__package__).joinpath("data/model.bin").read_bytes(), rules)
