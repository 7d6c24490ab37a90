"""Every test here leaves logging, hooks and the tracer as it found them."""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Iterator

import pytest

from opencrust.telemetry.spans import use_tracer


@pytest.fixture(autouse=True)
def _undo_process_wide_settings() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    hooks = sys.excepthook, threading.excepthook, sys.unraisablehook
    yield
    logging.captureWarnings(False)
    root.handlers[:] = handlers
    root.setLevel(level)
    sys.excepthook, threading.excepthook, sys.unraisablehook = hooks
    for name in ("opencrust", "opencrust_agent", "opentelemetry"):
        logging.getLogger(name).setLevel(logging.NOTSET)
    use_tracer(None)
