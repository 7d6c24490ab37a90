"""``opencrust chat``: talk to the agent in the terminal."""

import argparse
import asyncio
import contextlib
import json
import secrets
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from opencrust.access import ALL_SCOPES, Scope, mint_bearer
from opencrust.access.tokenstore import TokenStore
from opencrust.bus import Bus
from opencrust_cli import running
from opencrust_cli.bus import with_bus
from opencrust_cli.chat_client import ChatError, Conversation
from opencrust_cli.chat_screen import Screen
from opencrust_cli.chat_session import Session
from opencrust_cli.errors import EXIT_FAILED, EXIT_OK, EXIT_USAGE, CommandError, NotRunning
from opencrust_cli.home import Home

TOKEN_LIFETIME = timedelta(hours=12)
SHOWN_TURNS = 5
CHAT = """\
Talk to the agent. Without --message it is a conversation: Enter sends, /stop or Ctrl-C stops an answer, Ctrl-D ends;
/approve ID and /deny ID answer what the agent asks before it acts, /new begins anew, /help tells the rest. With
--message it sends one, prints the answer, and ends.

A conversation goes on where it was left, under the name that --conversation gives; the web page shows it too. A lost
connection is made again, and nothing that was said meanwhile is missed.

examples:
  opencrust chat
  opencrust chat --message "What is the capital of France?"
  opencrust chat --url https://crust.example.org --token-file token.txt
  opencrust chat --url https://crust.example.org --token-stdin <token.txt --message hello

exit codes: 0 answered · 1 failed, or the agent could not answer · 3 OpenCrust is not running"""


def register(commands: Any) -> None:
    """Add the command to the parser."""
    form = argparse.RawDescriptionHelpFormatter
    chat = commands.add_parser("chat", help="talk to the agent", description=CHAT, formatter_class=form)
    chat.add_argument("--message", metavar="TEXT", help="send this one, print the answer, and end")
    chat.add_argument("--conversation", metavar="NAME", default="terminal", help="default: terminal")
    chat.add_argument("--url", help="a gateway elsewhere; needs --token-file or --token-stdin")
    token = chat.add_mutually_exclusive_group()
    token.add_argument(
        "--token-file", metavar="FILE", type=Path, help="a token (scopes chat, read; approve to decide) in a file"
    )
    token.add_argument("--token-stdin", action="store_true", help="the same from stdin's first line")
    chat.add_argument("--json", action="store_true", help='with --message: {"text", "finish", "model", …}')
    chat.set_defaults(run=_chat)


def _chat(options: argparse.Namespace) -> int:
    if bool(options.url) != (options.token_stdin or options.token_file is not None):
        raise CommandError("--url belongs together with --token-file or --token-stdin", EXIT_USAGE)
    if options.json and options.message is None:
        raise CommandError("--json needs --message", EXIT_USAGE)
    try:
        with contextlib.ExitStack() as stack:
            url, token = stack.enter_context(_access(options))
            conversation = Conversation(url, token, options.conversation)
            if options.message is not None:
                return _once(conversation, options.message, as_json=options.json)
            return _interactive(conversation)
    except ChatError as error:
        raise CommandError(str(error)) from None


@contextlib.contextmanager
def _access(options: argparse.Namespace) -> Any:
    """(URL, token) of the gateway: what the person gave, or a token of our own that dies with us."""
    if options.url:
        token = _given_token(options.token_file)
        yield options.url.rstrip("/"), token
        return
    home: Home = options.home
    running.require(home)
    url = running.read_status(home).get("url")
    if not isinstance(url, str):
        raise NotRunning("OpenCrust is only just starting: try again in a moment")
    expires = datetime.now(UTC) + TOKEN_LIFETIME
    text, record = mint_bearer("opencrust chat", [Scope.CHAT, Scope.READ, Scope.APPROVE], expires, held=ALL_SCOPES)

    async def add(bus: Bus) -> None:
        await TokenStore(bus).add(record)

    async def remove(bus: Bus) -> None:
        await TokenStore(bus).remove(record.id)

    with_bus(home, add)
    try:
        yield url, text
    finally:
        with contextlib.suppress(CommandError):  # then it expires
            with_bus(home, remove)


def _given_token(file: Path | None) -> str:
    try:
        token = (sys.stdin.readline() if file is None else file.read_text()).strip()
    except (OSError, UnicodeDecodeError) as error:
        raise CommandError(f"the token in {file} cannot be read: {type(error).__name__}", EXIT_USAGE) from None
    if not token or len(token.split()) > 1:
        where = "stdin" if file is None else str(file)
        raise CommandError(f"there is no token in {where}: one line, oc_…", EXIT_USAGE)
    return token


def _once(conversation: Conversation, text: str, *, as_json: bool) -> int:
    show = None if as_json or not sys.stdout.isatty() else Screen()
    reply = asyncio.run(conversation.say(text, secrets.token_hex(16), show))
    if as_json:
        print(json.dumps(reply.as_dict()))
    elif show is None:
        print(reply.text)
    return EXIT_FAILED if reply.finish == "failed" else EXIT_OK


def _interactive(conversation: Conversation) -> int:
    with contextlib.suppress(ImportError):
        import readline  # noqa: F401 - gives input() a line editor and a history in memory
    screen = Screen()
    with asyncio.Runner() as runner:
        for turn in runner.run(conversation.history())[-SHOWN_TURNS:]:
            screen.missed(turn)
        return Session(conversation, runner).run()
