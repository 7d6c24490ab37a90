"""``opencrust-sim PLATFORM``: a platform to try a channel against, without an account."""

import importlib
import sys

PLATFORMS = ("telegram", "discord", "slack")
USAGE = f"""\
usage: opencrust-sim {{{",".join(PLATFORMS)}}} [--port N]

Runs a simulated platform on 127.0.0.1 until it is interrupted. It prints its address: open it in a browser and play the
people who write to your bot. `opencrust channels add telegram --api-base ADDRESS` lets your OpenCrust talk to it;
`opencrust up --demo-channels` does both for all of them. `opencrust-sim telegram --help` tells more.
"""


def main(arguments: list[str] | None = None) -> int:
    """Run one simulator. Exit codes: 0 ended · 2 wrong usage."""
    arguments = sys.argv[1:] if arguments is None else arguments
    if arguments[:1] in (["-h"], ["--help"]):
        print(USAGE, end="")
        return 0
    if not arguments or arguments[0] not in PLATFORMS:
        print(USAGE, end="", file=sys.stderr)
        return 2
    try:
        return int(importlib.import_module(f"opencrust_sim.{arguments[0]}").main(arguments[1:]) or 0)
    except KeyboardInterrupt:
        return 0
    except OSError as error:
        print(
            f"opencrust-sim: cannot listen: {error.strerror or error}; choose another port with --port", file=sys.stderr
        )
        return 1


if __name__ == "__main__":
    sys.exit(main())
