"""Texts in, assessments out: normalise, decode, scan, score; every reading of a text counts, the worst one most."""

import math
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from opencrust_agent.assess import features, model
from opencrust_agent.assess.decode import Decoder
from opencrust_agent.assess.model import Model
from opencrust_agent.assess.normalise import normalise
from opencrust_agent.assess.rules import Rules, parse, read
from opencrust_agent.assess.verdict import Verdict, levels, verdict

LIMIT = 65_536
"""Characters that are read; as long as a message may be. What is longer is marked incomplete."""
RULES_FILE = "assess-rules.json"
"""In the agent's state directory: rules that take the place of the shipped ones."""
_CODED = 0.3
"""Log-odds for being written in another alphabet, on top of what it says."""
_HIDDEN = 0.5
_SPAN = 120


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


class Assessor:
    """Assesses texts. Holds no text between calls, only what it learned about single words."""

    def __init__(self, rules: Rules, weights: Model) -> None:
        self.rules = rules
        self.model = weights
        self._decoder = Decoder(rules.lexicon.segment)

    def assess(self, text: str, source: str = "user", *, trusted: bool = True) -> Assessment:
        """Judge one text. The same text gives the same answer; no text makes it raise.

        Args:
            source: ``user`` for a person's words; anything else is fetched material (tool, web, file, plugin …).
            trusted: with ``user``: the owner, or somebody he paired.
        """
        worst = max(self._readings(text[:LIMIT]), key=lambda reading: reading.points)
        score = round(1 / (1 + math.exp(-max(-30.0, min(30.0, worst.points)))), 6)
        return Assessment(
            score,
            verdict(score, self.model.header.thresholds, levels(source, trusted=trusted, policy=self.rules.policy)),
            self._findings(worst),
            _passage(worst),
            worst.codec,
            len(text) <= LIMIT,
        )

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


def load(state: Path | None = None) -> Assessor:
    """The shipped model with the shipped rules, or with those in ``state`` if there are any.

    Raises:
        RulesError: the rules in ``state`` cannot be used.
    """
    own = state / RULES_FILE if state is not None else None
    rules = read(own) if own is not None and own.exists() else shipped_rules()
    return Assessor(rules, model.shipped(rules))


def shipped_rules() -> Rules:
    """The rules that come with this package."""
    return parse(files(__package__).joinpath("data/rules.json").read_bytes())


def _mostly_latin(text: str) -> bool:
    return len(text.encode("ascii", "ignore")) > 0.6 * len(text)


def _passage(reading: Reading) -> str:
    spans = reading.scan.spans[reading.start : reading.end]
    return reading.scan.text[spans[0][0] : spans[-1][1]] if spans else ""
