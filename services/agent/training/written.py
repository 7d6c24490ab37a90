"""Texts of our own making: attacks and their innocent twins, expanded from the grammar in ``written/``.

They teach words and forms that the collected sources happen to lack, and show the trigger words used innocently. They
are training material only: no figure is ever measured on them.
"""

import random
import re
from pathlib import Path

from corpus import Row

FOLDER = Path(__file__).with_name("written")
GRAMMAR = FOLDER / "grammar.txt"
FAMILY = "own"
EMBEDDED = "embedded"
LONG = 1600
VARIED = 24
"""Texts that are made of one line with alternatives."""
MOST = 450
"""Texts of one section."""
_EITHER = re.compile(r"\(([^()]*)\)(\??)")
_SLOT = re.compile(r"\{([a-z0-9]+)\}")
_DEPTH = 8


def grammar(text: str) -> dict[str, list[str]]:
    """Sections by name; ``; `` begins a comment."""
    sections: dict[str, list[str]] = {}
    name = ""
    for line in text.splitlines():
        if line.startswith("; ") or not line:
            continue
        head = re.fullmatch(r"# ([a-z0-9]+(?:\.[a-z]+)?)", line)
        if head:
            name = head.group(1)
            sections[name] = []
        else:
            sections[name].append(line.replace("\\n", "\n"))
    return sections


def expand(line: str, sections: dict[str, list[str]], rng: random.Random, depth: int = _DEPTH) -> str:
    """One text of an alternative."""
    doubled = line.replace("{{", "\0").replace("}}", "\1")
    filled = _SLOT.sub(lambda slot: expand(rng.choice(sections[slot.group(1)]), sections, rng, depth - 1), doubled)
    return filled.replace("\0", "{").replace("\1", "}")


def _touch(text: str, rng: random.Random) -> str:
    """Small accidents of writing: case of the first letter, all capitals, no final stop, doubled spaces gone."""
    text = re.sub(r" ([.,;:?])", r"\1", re.sub(r"  +", " ", text)).strip()
    dice = rng.random()
    if dice < 0.62:
        return text[:1].upper() + text[1:]
    if dice < 0.70 and len(text) < 200:
        return text.upper()
    return text.rstrip(".") if dice < 0.85 else text


def rows(seed: int = 1) -> list[Row]:
    """All of them. The same seed gives the same rows; they are one family, :data:`FAMILY`."""
    sections = grammar(GRAMMAR.read_text("utf-8"))
    rng = random.Random(seed)
    made: list[Row] = []
    for name, lines in sections.items():
        label, _, family = name.partition(".")
        if label not in ("attack", "benign"):
            continue
        texts: dict[str, None] = {}
        for at in range(MOST * 2):
            if len(texts) < MOST:
                texts[_touch(expand(lines[at % len(lines)], sections, rng), rng)] = None
        made += [Row(text, label == "attack", f"own-{family}", "own") for text in texts]
    for file in sorted(FOLDER.glob("*.txt")):
        if file != GRAMMAR:
            made += _lines(file, rng)
    return made


def _lines(file: Path, rng: random.Random) -> list[Row]:
    """A file of one text a line: ``+ `` an attack, ``- `` an innocent text, with alternatives; ``= `` an innocent text
    as it stands. ``\\n`` is a new line. The source is named after the file."""
    made: list[Row] = []
    for line in file.read_text("utf-8").splitlines():
        mark, text = line[:2], line[2:].replace("\\n", "\n")
        texts = [text] if mark == "= " else []
        if mark in ("+ ", "- "):
            texts = list(dict.fromkeys(_either(text, rng) for _ in range(VARIED)))
        made += [Row(text, mark == "+ ", f"own-{file.stem}", "own") for text in texts]
    return made


def _either(line: str, rng: random.Random) -> str:
    """One of the texts of a line with alternatives; ``(a)?`` may be left out."""

    def pick(found: re.Match[str]) -> str:
        return "" if found.group(2) and rng.random() < 0.5 else rng.choice(found.group(1).split("|"))

    return _EITHER.sub(pick, line)


def embedded(own: list[Row], collected: list[Row], seed: int = 2) -> list[Row]:
    """Our attacks inside long clean documents, and such documents without one; for the second stage only."""
    rng = random.Random(seed)
    hosts: dict[str, list[Row]] = {}
    for row in collected:
        if not row.attack and len(row.text) > 300:
            hosts.setdefault(row.family, []).append(row)
    attacks = [row for row in own if row.attack and 30 < len(row.text) < 400]
    made = []
    for at in range(LONG):
        family = rng.choice(sorted(hosts))
        size = rng.choice((600, 1000, 2000, 4000, 8000, 16000))
        pieces = rng.sample(hosts[family], min(len(hosts[family]), size // 300 + 1))
        text = "\n".join(row.text for row in pieces)[:size]
        if at % 2:
            place = rng.choice((0, len(text), rng.randrange(len(text))))
            text = f"{text[:place]}\n{rng.choice(attacks).text}\n{text[place:]}"
        made.append(Row(text, bool(at % 2), "own-inside" if at % 2 else "own-long", EMBEDDED, frozenset((family,))))
    return made
