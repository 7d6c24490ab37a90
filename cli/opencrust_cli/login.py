"""``opencrust login-link``."""

import argparse
import json
from typing import Any

from opencrust.access import ALL_SCOPES, TICKET_TTL, mint_ticket
from opencrust.access.tokenstore import TokenStore
from opencrust.bus import Bus
from opencrust_cli import running
from opencrust_cli.bus import with_bus
from opencrust_cli.errors import EXIT_OK
from opencrust_cli.home import Home

LOGIN_LINK = """\
Make a new link that logs one browser in. It works once, for ten minutes; the browser then stays logged in for 30 days.
Treat it like a password until you have opened it."""


def register(commands: Any) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser("login-link", help="a link that logs a browser in", description=LOGIN_LINK)
    parser.add_argument("--json", action="store_true", help='{"url": …, "expires_in": seconds}')
    parser.set_defaults(run=_login_link)


def make_login_link(home: Home) -> str:
    """A fresh one-time link. The ticket is in the fragment, which a browser sends to nobody.

    Raises:
        CommandError: the bus does not answer, or nothing runs.
    """
    text, record = mint_ticket(ALL_SCOPES, held=ALL_SCOPES)

    async def store(bus: Bus) -> None:
        await TokenStore(bus).add(record)

    with_bus(home, store)
    return f"{running.read_status(home)['url']}/login#ticket={text}"


def print_login_link(home: Home) -> None:
    """Make a link and print it for a person."""
    print(f"Log in within {TICKET_TTL.total_seconds() / 60:.0f} minutes, once:\n\n    {make_login_link(home)}\n")


def _login_link(options: argparse.Namespace) -> int:
    if options.json:
        print(json.dumps({"url": make_login_link(options.home), "expires_in": int(TICKET_TTL.total_seconds())}))
    else:
        print_login_link(options.home)
    return EXIT_OK
