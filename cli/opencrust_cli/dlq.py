"""``opencrust dlq``: messages that could not be handled."""

import argparse
import json
from typing import Any

from opencrust.bus import Bus, subjects
from opencrust.bus.errors import NoResponders
from opencrust_cli.bus import with_bus
from opencrust_cli.errors import EXIT_OK, CommandError
from opencrust_cli.printable import printable

DLQ = """\
A message that could not be handled after several tries is put aside as a dead letter, with the reason, instead of
stopping what comes after it. Look at it, correct the cause, and send it on its way again with `redrive`."""


def register(commands: Any) -> None:
    """Add the commands to the parser."""
    form = argparse.RawDescriptionHelpFormatter
    dlq = commands.add_parser("dlq", help="messages that could not be handled", description=DLQ, formatter_class=form)
    actions = dlq.add_subparsers(title="actions", metavar="ACTION", required=True)
    listing = actions.add_parser("list", help="show all, oldest first")
    listing.add_argument("--json", action="store_true")
    listing.set_defaults(run=_list)
    for name, text, run in (
        ("show", "show one with its content", _show),
        ("redrive", "send one on its way again", _redrive),
    ):
        action = actions.add_parser(name, help=text)
        action.add_argument("number", type=int, help="as `opencrust dlq list` shows it")
        action.add_argument("--json", action="store_true")
        action.set_defaults(run=run)


def _list(options: argparse.Namespace) -> int:
    letters = with_bus(options.home, collect)
    if options.json:
        print(json.dumps({"letters": letters}))
    elif not letters:
        print("There are no dead letters.")
    for letter in () if options.json else letters:
        rest = "  ".join(f"{name}: {value}" for name, value in letter.items() if name != "seq")
        print(f"{letter['seq']:>6}  {printable(rest)}")
    return EXIT_OK


async def collect(bus: Bus) -> list[dict[str, Any]]:
    """All dead letters, oldest first.

    Raises:
        CommandError: their service does not run.
        BusError: it did not answer.
    """
    letters: list[dict[str, Any]] = []
    after: int | None = 0
    while after is not None:
        page = await _ask(bus, "list", {"after": after})
        letters += page["letters"]
        after = page["next"]
    return letters


def _show(options: argparse.Namespace) -> int:
    answer = with_bus(options.home, lambda bus: _ask(bus, "show", {"seq": options.number}))
    print(json.dumps(answer["letter"], indent=None if options.json else 2))
    return EXIT_OK


def _redrive(options: argparse.Namespace) -> int:
    answer = with_bus(options.home, lambda bus: _ask(bus, "redrive", {"seq": options.number}))
    done = answer["redriven"]
    print(json.dumps(done) if options.json else f"Sent again: {done['subject']} (number {done['as']}).")
    return EXIT_OK


async def _ask(bus: Bus, operation: str, query: dict[str, Any]) -> dict[str, Any]:
    try:
        message = await bus.request(subjects.ctl_dlq(operation), json.dumps(query).encode(), timeout=10)
    except NoResponders:
        raise CommandError("the dead-letter service does not run: see `opencrust status`") from None
    answer: dict[str, Any] = json.loads(message.data)
    if "error" in answer:
        raise CommandError(answer["error"])
    return answer
