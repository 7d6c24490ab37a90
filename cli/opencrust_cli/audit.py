"""``opencrust audit verify``: the short way to `opencrust vault audit --verify`."""

import argparse
from typing import Any

from opencrust_cli import vault_checks


def register(commands: Any) -> None:
    """Add the command to the parser."""
    form = argparse.RawDescriptionHelpFormatter
    audit = commands.add_parser(
        "audit", help="check the vault's record", description=vault_checks.AUDIT, formatter_class=form
    )
    actions = audit.add_subparsers(title="actions", metavar="ACTION", required=True)
    verify = actions.add_parser(
        "verify", help="is the vault's record whole?", description=vault_checks.AUDIT, formatter_class=form
    )
    verify.add_argument("--json", action="store_true")
    verify.set_defaults(run=vault_checks.verify)
