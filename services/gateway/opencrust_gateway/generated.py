"""Documents that are made from the code and committed: written anew, or checked for drift."""

import argparse
import sys
from pathlib import Path


def write_or_check(
    arguments: list[str] | None, *, module: str, description: str | None, file: Path, wanted: str
) -> int:
    """The command ``python -m MODULE [--check]``. Exit code 1: ``file`` is not ``wanted``, what the code says."""
    parser = argparse.ArgumentParser(prog=f"python -m {module}", description=description)
    parser.add_argument("--check", action="store_true", help="write nothing; exit code 1 if the file is out of date")
    if parser.parse_args(arguments).check:
        if not file.is_file() or file.read_text() != wanted:
            print(f"{file} is out of date: python -m {module}", file=sys.stderr)  # noqa: T201
            return 1
        return 0
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(wanted)
    return 0
