"""A family of commands: ``opencrust people list``, ``opencrust people set`` …"""

import argparse
from collections.abc import Callable
from typing import Any

Run = Callable[[argparse.Namespace], int]


class Family:
    """A command whose actions are commands, each with ``--json`` and a help that teaches."""

    def __init__(self, commands: Any, name: str, help: str, about: str) -> None:
        form = argparse.RawDescriptionHelpFormatter
        parser = commands.add_parser(name, help=help, description=about, formatter_class=form)
        self._actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True)

    def action(self, name: str, help: str, run: Run, about: str = "") -> argparse.ArgumentParser:
        """One action; returns its parser, for its own arguments."""
        form = argparse.RawDescriptionHelpFormatter
        parser: argparse.ArgumentParser = self._actions.add_parser(
            name, help=help, description=about or help.capitalize(), formatter_class=form
        )
        parser.add_argument("--json", action="store_true", help="for scripts")
        parser.set_defaults(run=run)
        return parser
