"""A second opinion on English text, for those who installed it: a small encoder that somebody else fine-tuned.

MiniLM-L6 with two heads, 22 MB int8, from the wheel of StackOne Defender (Apache-2.0); only its weights are used, none
of its code. It knows other attacks than our own model does, so that both together are better than either alone; it
knows no language but English. It costs 0.4 s at start, 100 MB of memory and some 8 ms for each :data:`WINDOW` of words,
which is why ``./install.sh --second-opinion`` has to be asked for. ``data/second.json`` says which weights, how much
they count, and the thresholds of both together; ``training/train.py --second-opinion`` measures them.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
import json
from bisect import bisect_left
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any, Protocol

WINDOW = 254
"""Word pieces that are read at once, besides the two marks around them."""
STRIDE = 190
MOST = 2
"""Windows of one text that are read, those around the passage that looks worst: the work is bounded."""
_DISTRIBUTION = "stackone-defender"
_FOLDER = "stackone_defender/models/minilm-multihead-v5"
_WEIGHTS, _WORDS = "model_quantized.onnx", "tokenizer.json"
_NEEDED = ("numpy", "onnxruntime", "tokenizers")
_BEGIN, _END = 101, 102
"""BERT's [CLS] and [SEP]."""


class SecondOpinionError(Exception):
    """It is installed and cannot be used. The text says why."""


@dataclass(frozen=True, slots=True)
class Settings:
    """``data/second.json``."""

    version: str
    sha256: dict[str, str]
    weight: float
    """What its log-odds count, ours counting 1."""
    foreign: float
    """Added to our log-odds where the text is not English and it is not asked, so that the thresholds mean the same."""
    thresholds: dict[str, float]
    """As the model's, of both together."""
    provenance: dict[str, Any]


class Opinion(Protocol):
    """What the assessor asks."""

    settings: Settings

    def points(self, text: str, passage: tuple[int, int]) -> float:
        """Log-odds that ``text`` is an attack, from its worst window."""


class SecondOpinion:
    """The encoder, loaded. May be called by several threads.

    Args:
        folder: holds the weights and the word pieces.

    Raises:
        SecondOpinionError: they are not what they were when the thresholds were measured, or do not load.
    """

    def __init__(self, folder: Path) -> None:
        self.settings = shipped_settings()
        content = {name: _read(folder / name, self.settings.sha256[name]) for name in (_WEIGHTS, _WORDS)}
        try:
            import numpy
            import onnxruntime
            from tokenizers import Tokenizer

            options = onnxruntime.SessionOptions()
            options.intra_op_num_threads = options.inter_op_num_threads = 1
            options.enable_cpu_mem_arena = False
            options.log_severity_level = 4
            self._session = onnxruntime.InferenceSession(content[_WEIGHTS], options, providers=["CPUExecutionProvider"])
            self._pieces = Tokenizer.from_str(content[_WORDS].decode())
        except Exception as error:  # noqa: BLE001  the libraries raise what they like
            raise SecondOpinionError(f"its model does not load ({type(error).__name__})") from None
        self._pieces.no_truncation()
        self._pieces.no_padding()
        self._numbers = numpy

    def points(self, text: str, passage: tuple[int, int]) -> float:
        """Log-odds that ``text`` is an attack, from its worst window.

        Args:
            passage: from where to where in ``text`` it looked worst so far; of a long text, what is around it is read.
        """
        found = self._pieces.encode(text, add_special_tokens=False)
        pieces, most = found.ids, WINDOW + (MOST - 1) * STRIDE
        if len(pieces) > most:
            begin = bisect_left(found.offsets, passage[0], key=_first) - most // 2
            begin = max(0, min(begin, len(pieces) - most))
            pieces = pieces[begin : begin + most]
        starts = range(0, max(1, len(pieces) - WINDOW + STRIDE), STRIDE)
        return max(self._ask(pieces[start : start + WINDOW]) for start in starts)

    def _ask(self, pieces: list[int]) -> float:
        ids = self._numbers.array([[_BEGIN, *pieces, _END]], dtype=self._numbers.int64)
        (found,) = self._session.run(None, {"input_ids": ids, "attention_mask": self._numbers.ones_like(ids)})
        return float(found[0][0])


def installed() -> SecondOpinion | None:
    """It, if ``./install.sh --second-opinion`` put it here.

    Raises:
        SecondOpinionError: it was put here, and cannot be used.
    """
    try:
        place = folder()
    except importlib.metadata.PackageNotFoundError:
        return None
    missing = [name for name in _NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise SecondOpinionError(f"{' and '.join(missing)} is missing: run `./install.sh --second-opinion` again")
    return SecondOpinion(place)


def folder() -> Path:
    """Where its wheel keeps the weights. Raises importlib.metadata.PackageNotFoundError."""
    return Path(str(importlib.metadata.distribution(_DISTRIBUTION).locate_file(_FOLDER)))


def shipped_settings() -> Settings:
    """What was measured, and with which weights."""
    return Settings(**json.loads(files(__package__).joinpath("data/second.json").read_bytes()))


def _first(offsets: tuple[int, int]) -> int:
    return offsets[0]


def _read(file: Path, sha256: str) -> bytes:
    try:
        content = file.read_bytes()
    except OSError as error:
        raise SecondOpinionError(f"{file.name} cannot be read ({type(error).__name__})") from None
    if hashlib.sha256(content).hexdigest() != sha256:
        raise SecondOpinionError(
            f"{file.name} is not the one that was measured: `./install.sh --second-opinion` puts that here"
        )
    return content
