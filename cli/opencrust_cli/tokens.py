"""``opencrust token``: what programs use to reach the gateway."""

import argparse
import json
import re
from datetime import UTC, datetime, timedelta
from typing import Any

from opencrust.access import ALL_SCOPES, Scope, ScopeError, TokenKind, TokenRecord, mint_bearer, parse_scopes
from opencrust.access.tokens import OPERATOR
from opencrust.access.tokenstore import TokenStore
from opencrust.bus import Bus, subjects
from opencrust_cli.bus import with_bus
from opencrust_cli.errors import EXIT_OK, EXIT_USAGE, CommandError
from opencrust_cli.login import owner_of
from opencrust_cli.printable import printable

ABOUT = """\
Tokens let programs in: `Authorization: Bearer oc_…` at the gateway. A token has scopes and is shown once; only its hash
is kept. Revoking one also ends its live connections."""
CREATE = f"""\
Make a token and print it: on stdout alone, so that it can be piped.

scopes: {", ".join(Scope)}

example:
  opencrust token create laptop --scope chat --scope read --expires 30d"""
REVOKE = """\
End a token, and every token that it made. Whoever is connected by one of them is out within a second."""
ROTATE = """\
Print a fresh token with the name, the scopes and the lifetime of an old one. The old one ends, and all that it made."""
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
    create.add_argument("--for", dest="owner", default=OPERATOR, metavar="NAME", help="whose conversations it opens")
    create.add_argument("--expires", metavar="TIME", help="90m, 12h, 30d, 8w (default: never)")
    create.add_argument("--json", action="store_true", help='{"token", "id", "name", "scopes", "expires"}')
    create.set_defaults(run=_create)
    listing = actions.add_parser("list", help="show all, without their secrets")
    listing.add_argument("--json", action="store_true")
    listing.set_defaults(run=_list)
    revoke = actions.add_parser("revoke", help="end one", description=REVOKE, formatter_class=form)
    revoke.add_argument("token", help="its id or its name")
    revoke.set_defaults(run=_revoke)
    rotate = actions.add_parser("rotate", help="replace one", description=ROTATE, formatter_class=form)
    rotate.add_argument("token", help="its id or its name")
    rotate.add_argument("--json", action="store_true", help='{"token", "id", "name", "scopes", "expires"}')
    rotate.set_defaults(run=_rotate)


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
        scopes = parse_scopes(options.scope)
        text, record = mint_bearer(options.name, scopes, expires, held=ALL_SCOPES, owner=owner_of(options.owner))
    except (ScopeError, ValueError) as error:
        raise CommandError(_reason(error), EXIT_USAGE) from None

    async def store(bus: Bus) -> None:
        await _audit(bus, "token.created", record)
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
        whose = f"{printable(record.name)} ({record.owner})"
        print(f"{record.id}  {record.kind.value:<7}  {whose:<32}  {', '.join(sorted(record.scopes))}  {state}")
    return EXIT_OK


def _revoke(options: argparse.Namespace) -> int:
    async def revoke(bus: Bus) -> list[TokenRecord]:
        store = TokenStore(bus)
        record = await _one(store, options.token)
        await _audit(bus, "token.revoked", record)
        return await store.revoke(record.id)

    gone = with_bus(options.home, revoke)
    for record in gone:
        print(f"Revoked {record.kind.value} {printable(record.name)!r} ({record.id}).")
    return EXIT_OK


def _rotate(options: argparse.Namespace) -> int:
    async def rotate(bus: Bus) -> tuple[str, TokenRecord]:
        store = TokenStore(bus)
        old = await _one(store, options.token)
        if old.kind is not TokenKind.BEARER:
            raise CommandError("only programs' tokens are rotated: end this one, and log in anew")
        expires = None if old.expires is None else datetime.now(UTC) + (old.expires - old.created)
        text, record = mint_bearer(old.name, old.scopes, expires, held=ALL_SCOPES, owner=old.owner, parent=old.parent)
        await _audit(bus, "token.rotated", record)
        await store.revoke(old.id)
        await store.add(record)
        return text, record

    text, record = with_bus(options.home, rotate)
    print(json.dumps({"token": text, **_shown(record)}) if options.json else text)
    return EXIT_OK


async def _one(store: TokenStore, called: str) -> TokenRecord:
    """The token of that id or name. Raises CommandError."""
    found = [record for record in await store.records() if called in (record.id, record.name)]
    if not found:
        raise CommandError(f"there is no token {called!r}: see `opencrust token list`")
    if len(found) > 1:
        ids = ", ".join(record.id for record in found)
        raise CommandError(f"several tokens are called {called!r}: say which by its id ({ids})")
    return found[0]


async def _audit(bus: Bus, event: str, record: TokenRecord) -> None:
    """Record a change of tokens before it happens. Raises BusError."""
    told = {"v": 1, "event": event, "at": datetime.now(UTC).isoformat(), "by": "the command line"}
    facts = {"token": record.id, "name": record.name, "scopes": sorted(record.scopes)}
    await bus.publish_stored(
        subjects.audit("cli"), json.dumps(told | facts).encode(), message_id=f"{event}:{record.id}"
    )


def _shown(record: TokenRecord) -> dict[str, Any]:
    return {
        "id": record.id,
        "kind": record.kind.value,
        "name": record.name,
        "owner": record.owner,
        "scopes": sorted(record.scopes),
        "created": record.created.isoformat(),
        "expires": record.expires.isoformat() if record.expires else None,
        "revoked": record.revoked.isoformat() if record.revoked else None,
    }


def _reason(error: Exception) -> str:
    """A model's message of several lines holds the place and the rule, in its last ones."""
    return " ".join(str(error).split())
