"""Texts in, assessments out: normalise, decode, scan, score; every reading of a text counts, the worst one most."""

import math
from dataclasses import dataclass, replace
from importlib.resources import files
from pathlib import Path

from opencrust_agent.assess import features, model
from opencrust_agent.assess.decode import Decoder
from opencrust_agent.assess.model import Model
from opencrust_agent.assess.normalise import normalise
from opencrust_agent.assess.rules import Rules, parse, read
from opencrust_agent.assess.second import Opinion
from opencrust_agent.assess.verdict import Verdict, levels, verdict

LIMIT = 65_536
"""Characters that are read; as long as a message may be. What is longer is marked incomplete."""
RULES_FILE = "assess-rules.json"
"""In the agent's state directory: rules that take the place of the shipped ones."""
_CODED = 0.3
"""Log-odds for being written in another alphabet, on top of what it says."""
_HIDDEN = 0.5
_SPAN = 120
_SURE = 12.0
"""Log-odds beyond which one text is not told from another."""
_AT_ONCE = 4_000


@dataclass(frozen=True, slots=True)
class Finding:
    """Why a text is suspicious: one rule, in words, and where it matched in the reading ``codec`` ("": as written)."""

    rule: str
    why: str
    span: str
    codec: str


@dataclass(frozen=True, slots=True)
class Assessment:
    """What came of a text. ``score``: 0 to 1, higher is more suspicious."""

    score: float
    verdict: Verdict
    findings: tuple[Finding, ...]
    passage: str
    """The part of the text that scored highest."""
    codec: str
    """How that part was written: empty for plain."""
    complete: bool
    """False: the text was longer than :data:`LIMIT` and its end was not read."""


@dataclass(frozen=True, slots=True)
class Reading:
    """One way to read a text, scored."""

    points: float
    start: int
    end: int
    codec: str
    scan: features.Scan

    @property
    def place(self) -> tuple[int, int]:
        """The characters of the scan's text from ``start`` to ``end``."""
        spans = self.scan.spans[self.start : self.end]
        return (spans[0][0], spans[-1][1]) if spans else (0, 0)


class Assessor:
    """Assesses texts. Holds no text between calls, only what it learned about single words.

    Args:
        second: asked about every text too; slower, and better.
    """

    def __init__(self, rules: Rules, weights: Model, second: Opinion | None = None) -> None:
        self.rules = rules
        self.model = weights
        self._second = second
        settings = second.settings if second is not None else None
        self.thresholds = weights.header.thresholds if settings is None else settings.thresholds
        self.version = weights.header.version + (f"+{settings.version}" if settings is not None else "")
        """Of everything that a score depends on but the rules in a state directory."""
        self.at_once = _AT_ONCE if second is None else 0
        """Characters of a text that is assessed within a few milliseconds: a longer one is a thread's work."""
        self._decoder = Decoder(rules.lexicon.segment)

    def assess(self, text: str, source: str = "user", *, trusted: bool = True) -> Assessment:
        """Judge one text. The same text gives the same answer; no text makes it raise.

        Args:
            source: ``user`` for a person's words; anything else is fetched material (tool, web, file, plugin …).
            trusted: with ``user``: the owner, or somebody he paired.
        """
        readings = self._readings(text[:LIMIT])
        if self._second is not None:
            readings = self._asked(self._second, *readings)
        worst = max(readings, key=_points)
        score = round(1 / (1 + math.exp(-max(-30.0, min(30.0, worst.points)))), 6)
        return Assessment(
            score,
            verdict(score, self.thresholds, levels(source, trusted=trusted, policy=self.rules.policy)),
            self._findings(worst),
            _passage(worst),
            worst.codec,
            len(text) <= LIMIT,
        )

    @staticmethod
    def _asked(second: Opinion, plain: Reading, *coded: Reading) -> list[Reading]:
        """The readings that count, with what the second opinion says of them. It reads English: where part of a text is
        in code, it is asked about that part, read, and about the rest ours alone decides; so with other languages."""

        def judged(reading: Reading, *, asked: bool) -> Reading:
            words = reading.scan.words[reading.start : reading.end]
            more = second.settings.foreign
            if asked and not features.foreign(words):
                more = second.settings.weight * second.points(reading.scan.text, reading.place)
            return replace(reading, points=max(-_SURE, min(_SURE, reading.points)) + more)

        worst = [judged(max(coded, key=_points), asked=True)] if coded else []
        return [judged(plain, asked=not coded), *worst]

    def _readings(self, text: str) -> list[Reading]:
        plain = normalise(text)
        bonus = _HIDDEN * (plain.invisible >= 3) + _HIDDEN * (plain.folded >= 6)
        found = [self._read(plain.text, "", bonus if _mostly_latin(plain.text) else 0.0)]
        coded = [("hidden", hidden) for hidden in plain.hidden]
        coded += [(variant.codec, variant.text) for variant in self._decoder.variants(plain.text)]
        for codec, variant in coded:
            found.append(self._read(normalise(variant).text, codec, _HIDDEN if codec == "hidden" else _CODED))
        return found

    def _read(self, text: str, codec: str, bonus: float) -> Reading:
        scan = features.scan(text, self.rules)
        points, start, end = max(self.model.chunks(scan))
        return Reading(points + bonus, start, end, codec, scan)

    def _findings(self, reading: Reading) -> tuple[Finding, ...]:
        scan = reading.scan
        found: dict[int, Finding] = {}
        for place, first, last in scan.matches:
            if place not in found and reading.start <= first < reading.end and self.model.rule_weight(place) > 0:
                begin, end = scan.spans[first][0], scan.spans[last][1]
                part = self.rules.all[place]
                found[place] = Finding(part.id, part.why, scan.text[begin:end][:_SPAN], reading.codec)
        return tuple(found[place] for place in sorted(found, key=self.model.rule_weight, reverse=True))


def load(state: Path | None = None, second: Opinion | None = None) -> Assessor:
    """The shipped model with the shipped rules, or with those in ``state`` if there are any.

    Raises:
        RulesError: the rules in ``state`` cannot be used.
    """
    own = state / RULES_FILE if state is not None else None
    rules = read(own) if own is not None and own.exists() else shipped_rules()
    return Assessor(rules, model.shipped(rules), second)


def shipped_rules() -> Rules:
    """The rules that come with this package."""
    return parse(files(__package__).joinpath("data/rules.json").read_bytes())


def _mostly_latin(text: str) -> bool:
    return len(text.encode("ascii", "ignore")) > 0.6 * len(text)


def _points(reading: Reading) -> float:
    return reading.points


def _passage(reading: Reading) -> str:
    start, end = reading.place
    return reading.scan.text[start:end]
