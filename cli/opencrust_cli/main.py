"""The parser of ``opencrust``, and what a failure looks like."""

import argparse
import logging
import os
import sys
from collections.abc import Callable
from pathlib import Path

import opencrust
from opencrust_cli import chat, dlq, doctor, login, providers, status, tokens, up, vault
from opencrust_cli.errors import EXIT_FAILED, CommandError
from opencrust_cli.home import Home

DESCRIPTION = """\
OpenCrust: your own AI assistant, on your own machine.

  opencrust up                 start everything, and open the link that it prints
  opencrust chat               talk to it here in the terminal
  opencrust providers add …    let a better model answer than the built-in demo
  opencrust status             what runs
"""
EPILOG = """\
exit codes: 0 done · 1 failed, the reason is on stderr · 2 wrong usage · 3 OpenCrust is not running

Everything is kept in OPENCRUST_HOME (default ~/.opencrust). `opencrust COMMAND --help` says more."""


def main(arguments: list[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    options = parser().parse_args(arguments)
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


def parser() -> argparse.ArgumentParser:
    """All commands."""
    form = argparse.RawDescriptionHelpFormatter
    top = argparse.ArgumentParser(prog="opencrust", description=DESCRIPTION, epilog=EPILOG, formatter_class=form)
    top.add_argument("--version", action="version", version=f"opencrust {opencrust.__version__}")
    top.add_argument("--home", type=Path, help="instead of OPENCRUST_HOME")
    commands = top.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for family in (up, status, login, chat, providers, tokens, vault, dlq, doctor):
        family.register(commands)
    return top
