"""``opencrust stop``: ends what the assistant is doing, at once."""

import argparse
import re
from typing import Any

from opencrust.access.tokens import OPERATOR
from opencrust.bus import Bus, subjects
from opencrust.bus.registry import CHANNELS
from opencrust.contracts import conversation_key
from opencrust.contracts.conversation import KEY_LENGTH
from opencrust_cli.bus import with_bus
from opencrust_cli.errors import EXIT_OK, EXIT_USAGE, CommandError

ABOUT = """\
End what the assistant is doing now: its answer, its tools, and what waits before the stop to be answered. Within a
second, in all its processes. What comes after is answered as always; `opencrust down` is for keeping it still.

Without CONVERSATION everything is stopped. A tool that was stopped in the middle of an effect is not repeated, and the
assistant says that nobody knows whether it was done.

examples:
  opencrust stop                    everything
  opencrust stop main               your conversation "main" in the browser or terminal
  opencrust stop telegram.KEY       the one with that key, as the log and the browser show it"""
_KEY = re.compile(rf"[a-z2-7]{{{KEY_LENGTH}}}")


def register(commands: Any) -> None:
    """Add the command to the parser."""
    stop = commands.add_parser(
        "stop",
        help="end what the assistant is doing now",
        description=ABOUT,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    stop.add_argument("conversation", nargs="?", metavar="CONVERSATION", help="only this one")
    stop.set_defaults(run=_stop)


def subject(conversation: str | None) -> str:
    """Where the stop is published.

    Raises:
        CommandError: there can be no such conversation.
    """
    if conversation is None:
        return subjects.ctl_stop("all", "all")
    channel, _, key = conversation.partition(".")
    if _KEY.fullmatch(key):
        if channel not in {known.name for known in CHANNELS}:
            names = ", ".join(known.name for known in CHANNELS)
            raise CommandError(f"there is no channel {channel!r}; there are {names}", EXIT_USAGE)
        return subjects.ctl_stop(channel, key)
    return subjects.ctl_stop("web", conversation_key("web", OPERATOR, conversation))


def _stop(options: argparse.Namespace) -> int:
    where = subject(options.conversation)

    async def tell(bus: Bus) -> None:
        await bus.publish(where, b"{}")

    with_bus(options.home, tell)
    print("Stopped." if options.conversation is None else f"Stopped: {options.conversation}")
    return EXIT_OK
