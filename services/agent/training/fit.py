"""Fitting: two hashed linear models and one on pairs of concepts, then a small one on top of their unseen scores.

The second stage is trained on what the first says about families it was *not* trained on. Trained on seen ones it would
trust the words too much: every source has words of its own.
"""

import collections
import random
import sys
import time
from dataclasses import dataclass, replace

import numpy as np
import scipy.sparse as sp
from corpus import Row, balance
from scipy.optimize import minimize
from sklearn.linear_model import LogisticRegression, SGDClassifier
from written import EMBEDDED

from opencrust_agent.assess import features
from opencrust_agent.assess.decode import Decoder
from opencrust_agent.assess.model import PARTS, Header, Model
from opencrust_agent.assess.normalise import normalise
from opencrust_agent.assess.rules import Rules

MOST_CHUNKS = 4
"""Chunks of one row that are trained on."""
READ = 16_500
ALPHA = 3e-5
"""Regularisation of the hashed models."""
WORST = 3
WHOLE = -2.4
"""Log-odds that a long text must say more, for :data:`features.SHAPES` ``whole``: among many windows some look odd by
chance. Set, not fitted: the fit sees attacks in every second long text, and differs from family to family."""
OWN = 9
"""How much more our own texts weigh in the second stage: they show every rule at work, a source only its own kind."""
BENIGN = 2
"""How much more innocent texts weigh in the second stage: what counts is who is caught at few false alarms."""
HASHED = 4
"""The first inputs of the second stage, which come from the hashed tables."""
FAMILIES_TO_COUNT = 3
"""A word or part counts only when it occurs in so many families: what one source alone says is not evidence."""


def say(text: str) -> None:
    """Progress, on stderr."""
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


@dataclass(slots=True)
class Examples:
    """Chunks of rows, as the three sparse matrices of the first stage, and the whole rows for the second."""

    words: sp.csr_matrix
    parts: sp.csr_matrix
    pairs: sp.csr_matrix
    row: np.ndarray
    """Number of the row that each chunk is of."""
    scans: list[features.Scan]


def examples(rows: list[Row], rules: Rules) -> Examples:
    """Read every row; an attack that is written in code is learned from what it says."""
    decoder = Decoder(rules.lexicon.segment)
    rng = random.Random(11)
    number_of = {}
    slots_of = {}
    scans, belongs = [], []
    sparse = [([0], [], []) for _ in range(3)]
    concepts = len(rules.lexicon.names)
    for at, row in enumerate(rows):
        text = normalise(row.text[:READ]).text
        if row.attack:
            coded = decoder.variants(text)
            if coded and len(coded[0].text) > 0.3 * len(text):
                text = normalise(coded[0].text).text
        scan = features.scan(text, rules)
        scans.append(scan)
        if row.kind == EMBEDDED:
            continue
        chunks = features.chunks(len(scan.words))
        if len(chunks) > MOST_CHUNKS:
            chunks = [chunks[0], *rng.sample(chunks[1:], MOST_CHUNKS - 1)]
        if not row.attack and len(scan.words) > 40:  # short cuts of long texts: benign is benign at any length
            start = rng.randrange(len(scan.words) - 30)
            chunks.append((start, start + rng.choice((12, 20, 30))))
        for start, end in chunks:
            words = scan.words[start:end]
            for word in words:
                if word not in number_of:
                    number_of[word] = features.word_number(word)
                    slots_of[word] = np.array(features.part_slots(word), np.int32)
            size = max(1, len(words)) ** 0.5
            _append(
                sparse[0],
                np.concatenate(
                    [
                        np.array(s, np.int64)
                        for s in features.word_slots([number_of[w] for w in words], scan.leads[start:end])
                    ]
                    or [[]]
                ),
                1 / size,
            )
            parts = [slots_of[w] for w in words]
            values = (
                np.concatenate([np.full(len(p), 1 / max(1, len(p)) ** 0.5 / size) for p in parts])
                if parts
                else np.zeros(0)
            )
            _append(sparse[1], np.concatenate(parts) if parts else np.zeros(0, np.int64), values)
            pairs, _ = features.within(scan, start, end)
            slots = np.array(sorted(a * (concepts + 1) + b + 1 for a, b in pairs), np.int64)
            _append(sparse[2], slots, 1.0)
            belongs.append(at)
        if at % 5000 == 0:
            say(f"read {at} of {len(rows)} rows")
    widths = (features.SLOTS, features.SLOTS, concepts * (concepts + 1))
    made = [
        sp.csr_matrix(
            (np.concatenate(v).astype(np.float32), np.concatenate(i).astype(np.int32), np.array(p)),
            shape=(len(belongs), w),
        )
        for (p, i, v), w in zip(sparse, widths, strict=True)
    ]
    return Examples(made[0], made[1], made[2], np.array(belongs), scans)


def _append(matrix: tuple[list, list, list], slots: np.ndarray, value: float | np.ndarray) -> None:
    unique, inverse = np.unique(slots.astype(np.int64), return_inverse=True)
    values = np.bincount(inverse, weights=np.broadcast_to(value, slots.shape), minlength=len(unique))
    matrix[1].append(unique)
    matrix[2].append(values)
    matrix[0].append(matrix[0][-1] + len(unique))


def first_stage(data: Examples, rows: list[Row], use: np.ndarray, rules: Rules) -> Model:
    """Fit on the chunks where ``use``; the second stage is still empty."""
    chosen = np.flatnonzero(use)
    sources = [rows[r].source for r in data.row[chosen]]
    families = np.array([rows[r].family for r in data.row[chosen]])
    labels = np.array([rows[r].attack for r in data.row[chosen]])
    weights = balance(sources, labels)
    tables, scales = [], []
    for matrix, alpha in ((data.words, ALPHA), (data.parts, ALPHA)):
        part = matrix[chosen]
        seen = sum((np.diff(part[families == f].tocsc().indptr) > 0).astype(np.int32) for f in sorted(set(families)))
        seen[0] = 0  # where all words of other scripts fall
        part = part @ sp.diags((seen >= FAMILIES_TO_COUNT).astype(np.float32))
        model = SGDClassifier(loss="log_loss", alpha=alpha, max_iter=8, tol=None, random_state=0)
        model.fit(part.tocsr(), labels, sample_weight=weights)
        weight = model.coef_[0] * (seen >= FAMILIES_TO_COUNT)
        top = np.quantile(np.abs(weight[weight != 0]), 0.999)
        table = np.clip(np.round(weight / top * 127), -127, 127).astype(np.int8)
        tables.append(table.tobytes())
        scales.append(round(float(top / 127), 9))
    pairs = LogisticRegression(C=0.05, max_iter=300)
    pairs.fit(data.pairs[chosen], labels, sample_weight=weights)
    names = rules.lexicon.names
    width = len(names) + 1
    named = ((names[s // width], names[s % width - 1] if s % width else "-", w) for s, w in enumerate(pairs.coef_[0]))
    header = Header(
        version="0",
        provenance={},
        thresholds={},
        scale=(scales[0], scales[1]),
        stage={},
        foreign={},
        pairs={f"{a} {b}": round(float(w), 4) for a, b, w in named if abs(w) >= 0.005},
    )
    return Model(header, tables[0], tables[1], rules)


@dataclass(slots=True)
class Seen:
    """Inputs of the second stage: chunks of rows, as scored by a first stage that did not know their family."""

    inputs: np.ndarray
    row: np.ndarray

    def only(self, chosen: list[bool]) -> "Seen":
        return Seen(self.inputs[chosen], self.row[chosen])


def inputs(model: Model, scans: list[features.Scan], numbers: list[int], rows: list[Row], rules: Rules) -> Seen:
    """The windows of each row that the model, as far as it is fitted, finds most suspicious: of an attack the first, of
    a benign row the first :data:`WORST`. What decides later is a maximum, so the fit must be right about maxima."""
    found, belongs = [], []
    for number in numbers:
        windows = sorted(model.inputs(scans[number]), key=lambda made: -_rank(model, scans[number], made))
        for _, dense, hit in windows[: 1 if rows[number].attack else WORST]:
            flags = [float(place in hit) for place in range(len(rules.all))]
            found.append([*dense, *flags])
            belongs.append(number)
    return Seen(np.array(found), np.array(belongs))


def _rank(model: Model, scan: features.Scan, made: tuple[tuple[int, int], list[float], set[int]]) -> float:
    """Points, as far as the model has a second stage; before that, a guess."""
    (start, end), dense, hit = made
    if model.header.stage:
        return model.points(scan, start, end, dense, hit)
    return dense[2] + dense[3] + dense[4] + 0.5 * len(hit)


def second_stage(seen: list[Seen], rows: list[Row], model: Model, rules: Rules, strength: float) -> Model:
    """The model with its second stages, fitted on ``seen``: one with everything, and one without the hashed words."""
    matrix = np.concatenate([s.inputs for s in seen])
    belongs = np.concatenate([s.row for s in seen])
    labels = np.array([rows[r].attack for r in belongs])
    many = collections.Counter(belongs.tolist())
    weights = balance([rows[r].source for r in belongs], labels) / np.array([many[r] ** 0.5 for r in belongs.tolist()])
    own = np.array([rows[r].source.startswith("own-") for r in belongs])
    foreign = np.array([rows[r].source == "own-foreign" for r in belongs])
    spread = matrix.std(0) + 1e-6
    dense = len(PARTS) + len(features.SHAPES)
    spread[dense:] = 0.5
    free = [False] * len(PARTS) + [True] * len(features.SHAPES) + [False] * len(rules.all)
    names = [*PARTS, *(f"shape:{s}" for s in features.SHAPES), *(f"rule:{part.id}" for part in rules.all)]
    stages = []
    for without in (0, HASHED):
        used = matrix / spread
        used[:, :without] = 0
        weighted = (
            weights * np.where(labels, 1, BENIGN) * np.where(own, OWN, 1) * np.where(foreign & (without > 0), OWN, 1)
        )
        fitted, bias = _logistic(used, labels, weighted * len(weights) / weighted.sum(), strength, free)
        named = zip(names, fitted / spread, strict=True)
        stage = {name: round(float(w), 5) for name, w in named}
        stages.append({"bias": round(bias, 5), **stage, "shape:whole": WHOLE})
    header = replace(model.header, stage=stages[0], foreign=stages[1])
    return Model(header, *model.tables, rules)


def with_stages(model: Model, other: Model, rules: Rules) -> Model:
    """The tables of ``model`` with the second stages of ``other``."""
    header = replace(model.header, stage=other.header.stage, foreign=other.header.foreign)
    return Model(header, *model.tables, rules)


def _logistic(
    matrix: np.ndarray, labels: np.ndarray, weights: np.ndarray, strength: float, free: list[bool]
) -> tuple[np.ndarray, float]:
    """Logistic regression whose weights are not negative except where ``free``: a rule never speaks for a text."""
    sign = np.where(labels, 1.0, -1.0)
    width = matrix.shape[1]

    def loss(w: np.ndarray) -> tuple[float, np.ndarray]:
        margin = sign * (matrix @ w[:width] + w[width])
        pull = -weights * sign / (1 + np.exp(np.clip(margin, -500, 500)))
        gradient = np.append(matrix.T @ pull + w[:width] / strength, pull.sum())
        return float(weights @ np.logaddexp(0, -margin) + w[:width] @ w[:width] / 2 / strength), gradient

    bounds = [(None if f else 0.0, None) for f in free] + [(None, None)]
    found = minimize(loss, np.zeros(width + 1), jac=True, method="L-BFGS-B", bounds=bounds, options={"maxiter": 500})
    return found.x[:width], float(found.x[width])
