"""Rules that a person can read and replace without a release: a rules file is data, and cannot be slow.

A rule is a row of concepts that follow each other within ``gap`` words; a marker is a row of literal texts. There are
no regular expressions in the file, so whatever stands in it, matching is linear in the text (no ReDoS). The model knows
the shipped rules by name and has learned how much each says; a rule it does not know counts its own ``points``.
"""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from opencrust_agent.assess.lexicon import Lexicon
from opencrust_agent.assess.verdict import Levels

_Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,39}$")]
_Why = Annotated[str, Field(min_length=3, max_length=200)]
_Points = Annotated[float, Field(ge=-5, le=5)]
_MOST_HITS = 40
_NEAR, _FAR = 6, 31
"""Words between the first two concepts: of most rules; of any rule."""
PLACES = ("START", "QUOTE", "FIELD")
"""Concepts without words: a sentence begins; a quotation; a value of a data structure. What follows one in a rule is
the word right there."""
ANCHORS = (*PLACES, "DOC", "ADDRESS", "LINK")
"""And three more without words: a sentence of a document (table, mail, page, data) begins; a mail address; a web
address. A file that uses one defines it with an empty string."""


class RulesError(Exception):
    """A rules file cannot be used. The text says why."""


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class Rule(_Part):
    """Concepts in this order, each at most ``gap`` words behind the one before. Points: log-odds."""

    id: _Name
    why: _Why
    steps: Annotated[
        tuple[Annotated[tuple[str, ...], Field(min_length=1, max_length=12)], ...], Field(min_length=1, max_length=5)
    ]
    gap: Annotated[int, Field(ge=0, le=30)]
    points: _Points


class Marker(_Part):
    """One of these literal texts, in lower case; with ``line_start`` only where a line or a quotation begins."""

    id: _Name
    why: _Why
    line_start: bool
    texts: Annotated[tuple[Annotated[str, Field(min_length=2, max_length=60)], ...], Field(min_length=1, max_length=60)]
    points: _Points


class Policy(_Part):
    """From which threshold on a text of one source gets each verdict. Thresholds are named by false-positive rates in
    per cent: ``"0.2"`` is the score that two benign texts of a thousand reach. Left out: never."""

    flag: Literal["5", "1", "0.5", "0.2"] | None = None
    replace: Literal["5", "1", "0.5", "0.2"] | None = None
    block: Literal["5", "1", "0.5", "0.2"] | None = None


class RulesFile(_Part):
    """The file: format 1."""

    format: Literal[1]
    version: Annotated[str, Field(pattern=r"^[0-9A-Za-z.-]{1,40}$")]
    concepts: Annotated[
        dict[Annotated[str, Field(pattern=r"^[A-Z]{2,12}$")], Annotated[str, Field(max_length=20_000)]],
        Field(max_length=100),
    ]
    rules: Annotated[tuple[Rule, ...], Field(max_length=200)]
    markers: Annotated[tuple[Marker, ...], Field(max_length=50)]
    policy: Annotated[
        dict[Annotated[str, Field(pattern=r"^(\*|[a-z][a-z0-9_-]{0,39})$")], Policy], Field(max_length=50)
    ] = {}
    """By source: ``user``, ``stranger``, ``web``, ``tool``, …; ``*`` for all fetched material that is not named."""


class Rules:
    """A checked rules file, ready to match."""

    def __init__(self, file: RulesFile) -> None:
        self.version = file.version
        self.policy = {name: Levels(each.flag, each.replace, each.block) for name, each in file.policy.items()}
        empty = {name: "" for name in ANCHORS if name in file.concepts}
        self.lexicon = Lexicon({**empty, **{name: w for name, w in file.concepts.items() if name not in empty}})
        numbers = {name: number for number, name in enumerate(self.lexicon.names)}
        for rule in file.rules:
            for name in {name for step in rule.steps for name in step} - set(numbers):
                raise RulesError(f"rule {rule.id} names the concept {name}, which the file does not define")
        self.all: tuple[Rule | Marker, ...] = (*file.rules, *file.markers)
        names = [part.id for part in self.all]
        if len(set(names)) != len(names):
            raise RulesError("two rules have the same id")
        self.anchors = {name: numbers[name] for name in ANCHORS if name in numbers}
        self.places = sum(name in PLACES for name in self.anchors)
        """Concepts with smaller numbers stand for the beginning of something."""
        self._steps = [tuple(frozenset(numbers[name] for name in step) for step in rule.steps) for rule in file.rules]
        self._starts: dict[int, list[tuple[int, int, bool]]] = {}
        for place, (steps, rule) in enumerate(zip(self._steps, file.rules, strict=True)):
            wanted = sum(1 << number for number in steps[1]) if len(steps) > 1 else 0
            for number in steps[0]:
                self._starts.setdefault(number, []).append((place, wanted, rule.gap <= _NEAR))
        self._rules = file.rules
        self._markers = file.markers

    def matches(self, concepts: list[tuple[int, int]]) -> list[tuple[int, int, int]]:
        """(place of the rule in ``all``, first word, last word), by first word."""
        found: list[tuple[int, int, int]] = []
        near, far = _ahead(concepts)  # most rules fail at their second step: seen from the bits of the words to come
        for here, (at, number) in enumerate(concepts):
            for rule, wanted, short in self._starts.get(number, ()):
                if wanted and not wanted & (near[at] if short else far[at]):
                    continue
                last = self._follow(concepts, here, self._steps[rule], self._rules[rule].gap)
                if last is not None:
                    found.append((rule, at, last))
        return found

    def _follow(
        self, concepts: list[tuple[int, int]], here: int, steps: tuple[frozenset[int], ...], gap: int
    ) -> int | None:
        at, number = concepts[here]
        wanted = 1
        for following in range(here + 1, len(concepts)):
            place, other = concepts[following]
            if wanted == len(steps) or place - at > (0 if number < self.places else gap + 1):
                break
            if (place > at or number < len(self.anchors)) and other in steps[wanted]:
                at, number, wanted = place, other, wanted + 1
        return at if wanted == len(steps) else None

    def marked(self, text: str) -> list[tuple[int, int, int]]:
        """(place of the marker in ``all``, first character, behind the last) in the lower-case ``text``."""
        found: list[tuple[int, int, int]] = []
        for place, marker in enumerate(self._markers, len(self._rules)):
            for literal in marker.texts:
                at = text.find(literal)
                hits = 0
                while at >= 0 and hits < _MOST_HITS:
                    if not marker.line_start or _begins_line(text, at):
                        found.append((place, at, at + len(literal)))
                        hits += 1
                    at = text.find(literal, at + len(literal))
        return found


def _ahead(concepts: list[tuple[int, int]]) -> tuple[list[int], list[int]]:
    """For each word the concepts, as bits, of it and the next 7 words, and of it and the next 31."""
    bits = [0] * (concepts[-1][0] + 1 if concepts else 0)
    for at, number in concepts:
        bits[at] |= 1 << number
    reach, near = 1, bits
    while reach <= _FAR:
        bits = [one | other for one, other in zip(bits, [*bits[reach:], *[0] * reach], strict=False)]
        reach *= 2
        if reach == _NEAR + 2:
            near = bits
    return near, bits


def _begins_line(text: str, at: int) -> bool:
    before = text[max(0, at - 4) : at].rstrip(" \t*#")
    return not before or before[-1] in "\n\"'>]|"


def read(path: Path) -> Rules:
    """The rules in a file.

    Raises:
        RulesError: it cannot be read, or is not of format 1.
    """
    try:
        return parse(path.read_bytes())
    except OSError as error:
        raise RulesError(f"{path.name} cannot be read: {error.strerror}") from None


def parse(data: bytes) -> Rules:
    """The rules in a file's bytes.

    Raises:
        RulesError: they are not of format 1, or too many.
    """
    if len(data) > 1 << 20:
        raise RulesError("the file is larger than 1 MiB")
    try:
        return Rules(RulesFile.model_validate_json(data))
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "the file"
        raise RulesError(f"{where}: {first['msg']}") from None
