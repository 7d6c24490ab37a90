"""``python -m opencrust.contracts [--check] [FOLDER]``: write the generated documents, or fail where they drifted."""

import argparse
import sys
from pathlib import Path

from opencrust.contracts.documents import documents


def main(arguments: list[str] | None = None) -> int:
    """Exit codes: 0 written, or nothing drifted · 1 drifted · 2 usage."""
    parser = argparse.ArgumentParser(prog="python -m opencrust.contracts", description=__doc__)
    parser.add_argument("folder", nargs="?", type=Path, default=Path("docs/contracts"), help="default: docs/contracts")
    parser.add_argument(
        "--check", action="store_true", help="write nothing; exit 1 if a file there is not as generated"
    )
    options = parser.parse_args(arguments)
    wanted = documents()
    if options.check:
        drifted = [name for name, text in wanted.items() if _read(options.folder / name) != text]
        drifted += [p.name for p in options.folder.glob("*.json") if p.name not in wanted]
        for name in drifted:
            print(f"{options.folder / name} has drifted: run `python -m opencrust.contracts`", file=sys.stderr)  # noqa: T201
        return 1 if drifted else 0
    options.folder.mkdir(parents=True, exist_ok=True)
    for name, text in wanted.items():
        (options.folder / name).write_text(text)
    return 0


def _read(path: Path) -> str | None:
    return path.read_text() if path.exists() else None


if __name__ == "__main__":
    sys.exit(main())
