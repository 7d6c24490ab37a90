"""``opencrust stop``: ends what the assistant is doing, at once."""

import argparse
import asyncio
import re
from datetime import UTC, datetime
from typing import Any

from opencrust.access.tokens import OPERATOR
from opencrust.bus import Bus, subjects
from opencrust.bus.registry import CHANNELS
from opencrust.channel.stops import ALL, Stops
from opencrust.contracts import conversation_key
from opencrust.contracts.conversation import KEY_LENGTH
from opencrust_cli.bus import with_bus
from opencrust_cli.errors import EXIT_OK, EXIT_USAGE, CommandError

ABOUT = """\
End what the assistant is doing now: its answer, its tools, parts of answers that are not sent yet, and what waits
before the stop to be answered. Within a second, in all its processes. What comes after is answered as always;
`opencrust down` is for keeping it still.

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


async def say(bus: Bus, conversation: str | None) -> None:
    """Say it to the agents, and note it where the channels look before each part of an answer.

    Raises:
        CommandError: there can be no such conversation.
        BusError: it is not known whether all heard it; saying it again is safe.
    """
    where, said = subject(conversation), datetime.now(UTC)
    await bus.publish(where, b"{}")
    channel, conv = where.split(".")[-2:]
    platforms = [known.name for known in CHANNELS if known.name != "web" and channel in (known.name, ALL)]
    await asyncio.gather(*(Stops(bus, name).note(conv, said) for name in platforms))


def _stop(options: argparse.Namespace) -> int:
    conversation: str | None = options.conversation
    subject(conversation)  # what is wrong with it is said also where nothing runs
    with_bus(options.home, lambda bus: say(bus, conversation))
    print("Stopped." if conversation is None else f"Stopped: {conversation}")
    return EXIT_OK
