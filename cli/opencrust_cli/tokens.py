"""``opencrust token``: what programs use to reach the gateway."""

import argparse
import json
import re
from datetime import UTC, datetime, timedelta
from typing import Any

from opencrust.access import ALL_SCOPES, Scope, ScopeError, TokenRecord, mint_bearer, parse_scopes
from opencrust.access.tokenstore import TokenStore
from opencrust.bus import Bus
from opencrust_cli.bus import with_bus
from opencrust_cli.errors import EXIT_OK, EXIT_USAGE, CommandError

ABOUT = """\
Tokens let programs in: `Authorization: Bearer oc_…` at the gateway. A token has scopes and is shown once; only its hash
is kept. Revoking one also ends its live connections."""
CREATE = f"""\
Make a token and print it: on stdout alone, so that it can be piped.

scopes: {", ".join(Scope)}

example:
  opencrust token create laptop --scope chat --scope read --expires 30d"""
_DURATION = re.compile(r"(\d{1,5})([smhdw])")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


def register(commands: Any) -> None:
    """Add the commands to the parser."""
    form = argparse.RawDescriptionHelpFormatter
    token = commands.add_parser("token", help="tokens for programs", description=ABOUT, formatter_class=form)
    actions = token.add_subparsers(title="actions", metavar="ACTION", required=True)
    create = actions.add_parser("create", help="make one", description=CREATE, formatter_class=form)
    create.add_argument("name", help="what you call it")
    create.add_argument("--scope", action="append", required=True, help="what it permits; repeatable")
    create.add_argument("--expires", metavar="TIME", help="90m, 12h, 30d, 8w (default: never)")
    create.add_argument("--json", action="store_true", help='{"token", "id", "name", "scopes", "expires"}')
    create.set_defaults(run=_create)
    listing = actions.add_parser("list", help="show all, without their secrets")
    listing.add_argument("--json", action="store_true")
    listing.set_defaults(run=_list)
    revoke = actions.add_parser("revoke", help="end one")
    revoke.add_argument("token", help="its id or its name")
    revoke.set_defaults(run=_revoke)


def duration(text: str) -> timedelta:
    """A time span such as ``30d``.

    Raises:
        CommandError: it is none.
    """
    match = _DURATION.fullmatch(text)
    if match is None or int(match.group(1)) == 0:
        raise CommandError(f"{text!r} is no time span: write 90m, 12h, 30d or 8w", EXIT_USAGE)
    return timedelta(**{_UNITS[match.group(2)]: int(match.group(1))})


def _create(options: argparse.Namespace) -> int:
    expires = datetime.now(UTC) + duration(options.expires) if options.expires else None
    try:
        text, record = mint_bearer(options.name, parse_scopes(options.scope), expires, held=ALL_SCOPES)
    except (ScopeError, ValueError) as error:
        raise CommandError(_reason(error), EXIT_USAGE) from None

    async def store(bus: Bus) -> None:
        await TokenStore(bus).add(record)

    with_bus(options.home, store)
    print(json.dumps({"token": text, **_shown(record)}) if options.json else text)
    return EXIT_OK


def _list(options: argparse.Namespace) -> int:
    records = with_bus(options.home, lambda bus: TokenStore(bus).records())
    if options.json:
        print(json.dumps({"tokens": [_shown(record) for record in records]}))
        return EXIT_OK
    for record in records:
        until = f"until {record.expires:%Y-%m-%d %H:%M}" if record.expires else "for ever"
        state = "revoked" if record.revoked else until
        print(f"{record.id}  {record.kind.value:<7}  {record.name:<24}  {', '.join(sorted(record.scopes))}  {state}")
    return EXIT_OK


def _revoke(options: argparse.Namespace) -> int:
    async def revoke(bus: Bus) -> list[TokenRecord]:
        store = TokenStore(bus)
        found = [record for record in await store.records() if options.token in (record.id, record.name)]
        if len(found) == 1:
            await store.remove(found[0].id)
        return found

    found = with_bus(options.home, revoke)
    if not found:
        raise CommandError(f"there is no token {options.token!r}: see `opencrust token list`")
    if len(found) > 1:
        ids = ", ".join(record.id for record in found)
        raise CommandError(f"several tokens are called {options.token!r}: say which by its id ({ids})")
    print(f"Revoked {found[0].kind.value} {found[0].name!r} ({found[0].id}).")
    return EXIT_OK


def _shown(record: TokenRecord) -> dict[str, Any]:
    return {
        "id": record.id,
        "kind": record.kind.value,
        "name": record.name,
        "scopes": sorted(record.scopes),
        "created": record.created.isoformat(),
        "expires": record.expires.isoformat() if record.expires else None,
        "revoked": record.revoked.isoformat() if record.revoked else None,
    }


def _reason(error: Exception) -> str:
    """A model's message of several lines holds the place and the rule, in its last ones."""
    return " ".join(str(error).split())
