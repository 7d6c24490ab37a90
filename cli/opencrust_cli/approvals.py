"""``opencrust approvals``: what the assistant asks before it acts."""

import argparse
import getpass
import json
from datetime import UTC, datetime
from typing import Any

from opencrust.bus import Bus, subjects
from opencrust.bus.errors import NoResponders
from opencrust.contracts import Approval, ApprovalsReply, Decision, decode, encode
from opencrust_cli.bus import with_bus
from opencrust_cli.errors import EXIT_OK, EXIT_USAGE, CommandError

ABOUT = """\
Before the assistant does something that you did not ask for in so many words, while it has text by strangers before
it, it asks: in the conversation that it belongs to, in the browser, and here. A question stands for exactly the call
that it shows, once, until it expires; no answer means no.

examples:
  opencrust approvals list
  opencrust approvals approve abcdefgh23456723"""
SECONDS = 10.0


def register(commands: Any) -> None:
    """Add the commands to the parser."""
    form = argparse.RawDescriptionHelpFormatter
    family = commands.add_parser(
        "approvals", help="what the assistant asks before it acts", description=ABOUT, formatter_class=form
    )
    actions = family.add_subparsers(title="actions", metavar="ACTION", required=True)
    listing = actions.add_parser("list", help="show the questions that wait, newest first")
    listing.add_argument("--json", action="store_true", help="for scripts")
    listing.set_defaults(run=_list)
    for name, text in (("approve", "let it be done, once"), ("deny", "have it left undone")):
        action = actions.add_parser(name, help=text)
        action.add_argument("id", help="as `opencrust approvals list` shows it")
        action.add_argument("--json", action="store_true", help="for scripts")
        action.set_defaults(run=_decide, approve=name == "approve")


def shown(approval: Approval, at: datetime) -> str:
    """One question for the terminal. Its lines are escaped already; the rest is escaped here."""
    left = max(0, int((approval.card.expires - at).total_seconds() // 60))
    who = f"{approval.address.channel}, asked by {approval.requester}"
    head = f"{approval.card.id}  {left} min left  ({_printable(who)})"
    return "\n".join([head, *(f"    {_printable(line)}" for line in approval.card.lines)])


def _list(options: argparse.Namespace) -> int:
    reply = with_bus(options.home, lambda bus: _ask(bus, "list", b""))
    if options.json:
        print(json.dumps({"approvals": [approval.model_dump(mode="json") for approval in reply.approvals]}))
    elif not reply.approvals:
        print("No question waits for an answer.")
    else:
        print("\n\n".join(shown(approval, datetime.now(UTC)) for approval in reply.approvals))
    return EXIT_OK


def _decide(options: argparse.Namespace) -> int:
    try:
        decision = Decision(id=options.id.strip().lower(), approve=options.approve, by=getpass.getuser())
    except ValueError:
        raise CommandError("an id is 16 letters and digits: see `opencrust approvals list`", EXIT_USAGE) from None
    reply = with_bus(options.home, lambda bus: _ask(bus, "decide", encode(decision)))
    approval = reply.approvals[0]
    if options.json:
        print(approval.model_dump_json())
    else:
        print(f"{'Approved' if options.approve else 'Denied'}: {_printable(approval.card.tool)}.")
    return EXIT_OK


async def _ask(bus: Bus, operation: str, data: bytes) -> ApprovalsReply:
    try:
        message = await bus.request(subjects.ctl_approvals("cli", operation), data, timeout=SECONDS)
    except NoResponders:
        raise CommandError("the agent does not run: see `opencrust status`") from None
    reply = decode(ApprovalsReply, message.data)
    if reply.error:
        raise CommandError(reply.error)
    return reply


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)
