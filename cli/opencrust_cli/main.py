"""The parser of ``opencrust``, and what a failure looks like."""

import argparse
import importlib
import logging
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import opencrust
from opencrust_cli.errors import EXIT_FAILED, CommandError
from opencrust_cli.home import Home

DESCRIPTION = """\
OpenCrust: your own AI assistant, on your own machine.

  opencrust up                 start everything, and open the link that it prints
  opencrust chat               talk to it here in the terminal
  opencrust providers add …    let a better model answer than the built-in demo
  opencrust channels add …     write to it from Telegram
  opencrust status             what runs
"""
EPILOG = """\
exit codes: 0 done · 1 failed, the reason is on stderr · 2 wrong usage · 3 OpenCrust is not running

Everything is kept in OPENCRUST_HOME (default ~/.opencrust). `opencrust COMMAND --help` says more."""


FAMILIES = {
    "up": "up",
    "down": "up",
    "status": "status",
    "logs": "status",
    "login-link": "login",
    "chat": "chat",
    "providers": "providers",
    "channels": "channels",
    "stop": "stop",
    "approvals": "approvals",
    "people": "people",
    "pair": "pair",
    "token": "tokens",
    "plugins": "plugins",
    "vault": "vault",
    "audit": "audit",
    "usage": "usage",
    "dlq": "dlq",
    "assess": "assess",
    "doctor": "doctor",
}
"""Commands, in the order in which the help shows them, and the module of each."""


def main(arguments: list[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    arguments = sys.argv[1:] if arguments is None else arguments
    options = parser(arguments).parse_args(arguments)
    options.home = Home.find(options.home, os.environ)
    # Libraries' warnings about connections that close are not for the person.
    logging.getLogger().addHandler(logging.NullHandler())
    run: Callable[[argparse.Namespace], int] = options.run
    try:
        return run(options)
    except CommandError as error:
        print(f"opencrust: {error}", file=sys.stderr)
        return error.code
    except BrokenPipeError:  # `opencrust logs | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_FAILED
    except KeyboardInterrupt:
        return 130


def parser(arguments: Sequence[str] = ()) -> argparse.ArgumentParser:
    """The parser of the command that `arguments` name; of all commands where they name none.

    A command's module is only imported when it is needed: all of them take half a second.
    """
    form = argparse.RawDescriptionHelpFormatter
    top = argparse.ArgumentParser(prog="opencrust", description=DESCRIPTION, epilog=EPILOG, formatter_class=form)
    top.add_argument("--version", action="version", version=f"opencrust {opencrust.__version__}")
    top.add_argument("--home", type=Path, help="instead of OPENCRUST_HOME")
    commands = top.add_subparsers(title="commands", metavar="COMMAND", required=True)
    pairs = zip(("", *arguments), arguments, strict=False)
    named = next((word for before, word in pairs if word in FAMILIES and before != "--home"), None)
    for family in [FAMILIES[named]] if named else dict.fromkeys(FAMILIES.values()):
        importlib.import_module(f"opencrust_cli.{family}").register(commands)
    return top
