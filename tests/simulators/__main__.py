"""``python -m simulators PLATFORM`` (tests/ on PYTHONPATH): platforms to try channels against, without accounts."""

import importlib
import sys

SIMULATORS = {
    "telegram": "simulators.telegram",
    "discord": "simulators.discord",
    "slack": "simulators.slack",
    "model": "simulators.model",
}
"""By platform, the module whose ``main(arguments)`` runs its simulator until it is interrupted."""


def main(arguments: list[str] | None = None) -> int:
    """Run one simulator. Exit codes: 0 ended · 2 wrong usage."""
    arguments = sys.argv[1:] if arguments is None else arguments
    if not arguments or arguments[0] not in SIMULATORS:
        print(f"usage: opencrust-sim {{{','.join(SIMULATORS)}}} [--port N] …", file=sys.stderr)
        return 0 if arguments[:1] in (["-h"], ["--help"]) else 2
    return int(importlib.import_module(SIMULATORS[arguments[0]]).main(arguments[1:]) or 0)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(0)
