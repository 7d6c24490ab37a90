"""``opencrust login-link``."""

import argparse
import json
import re
from collections.abc import Iterable
from typing import Any

from opencrust.access import ALL_SCOPES, TICKET_TTL, Scope, ScopeError, mint_ticket, parse_scopes
from opencrust.access.tokens import OPERATOR
from opencrust.access.tokenstore import TokenStore
from opencrust.bus import Bus
from opencrust_cli import running
from opencrust_cli.bus import with_bus
from opencrust_cli.errors import EXIT_OK, EXIT_USAGE, CommandError
from opencrust_cli.home import Home

LOGIN_LINK = """\
Make a new link that logs one browser in. It works once, for ten minutes; the browser then stays logged in for 30 days.
Treat it like a password until you have opened it.

For somebody who lives with you, with conversations of their own, and not the run of the house:

  opencrust login-link --for anna

They may chat and read their own conversations; --scope gives more."""
GUEST_SCOPES = (Scope.CHAT, Scope.READ)
_OWNER = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")


def register(commands: Any) -> None:
    """Add the command to the parser."""
    form = argparse.RawDescriptionHelpFormatter
    parser = commands.add_parser(
        "login-link", help="a link that logs a browser in", description=LOGIN_LINK, formatter_class=form
    )
    parser.add_argument("--for", dest="owner", default=OPERATOR, metavar="NAME", help="whose conversations it opens")
    parser.add_argument("--scope", action="append", help="what it permits; repeatable (others: chat and read)")
    parser.add_argument("--json", action="store_true", help='{"url": …, "expires_in": seconds}')
    parser.set_defaults(run=_login_link)


def make_login_link(home: Home, owner: str = OPERATOR, scopes: Iterable[Scope] = ALL_SCOPES) -> str:
    """A fresh one-time link. The ticket is in the fragment, which a browser sends to nobody.

    Raises:
        CommandError: the bus does not answer, or nothing runs.
    """
    text, record = mint_ticket(scopes, held=ALL_SCOPES, owner=owner)

    async def store(bus: Bus) -> None:
        await TokenStore(bus).add(record)

    with_bus(home, store)
    return f"{running.read_status(home)['url']}/login#ticket={text}"


def print_login_link(home: Home, owner: str = OPERATOR, scopes: Iterable[Scope] = ALL_SCOPES) -> None:
    """Make a link and print it for a person."""
    link = make_login_link(home, owner, scopes)
    print(f"Log in within {TICKET_TTL.total_seconds() / 60:.0f} minutes, once:\n\n    {link}\n")


def owner_of(text: str) -> str:
    """The name of an owner of conversations. Raises CommandError."""
    if not _OWNER.fullmatch(text):
        raise CommandError(f"{text!r} is no name here: lower-case letters, digits, dot, dash, underscore", EXIT_USAGE)
    return text


def _login_link(options: argparse.Namespace) -> int:
    owner = owner_of(options.owner)
    try:
        scopes = parse_scopes(options.scope) if options.scope else ALL_SCOPES if owner == OPERATOR else GUEST_SCOPES
    except ScopeError as error:
        raise CommandError(str(error), EXIT_USAGE) from None
    if options.json:
        link = make_login_link(options.home, owner, scopes)
        print(json.dumps({"url": link, "expires_in": int(TICKET_TTL.total_seconds())}))
    else:
        print_login_link(options.home, owner, scopes)
    return EXIT_OK
