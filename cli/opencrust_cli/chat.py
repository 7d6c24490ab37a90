"""``opencrust chat``: talk to the agent in the terminal."""

import argparse
import asyncio
import contextlib
import json
import secrets
import sys
from datetime import UTC, datetime, timedelta
from typing import Any

from opencrust.access import ALL_SCOPES, Scope, mint_bearer
from opencrust.access.tokenstore import TokenStore
from opencrust.bus import Bus
from opencrust_cli import running
from opencrust_cli.bus import with_bus
from opencrust_cli.chat_client import ChatError, Conversation, Reply
from opencrust_cli.errors import EXIT_FAILED, EXIT_OK, EXIT_USAGE, CommandError, NotRunning
from opencrust_cli.home import Home

TOKEN_LIFETIME = timedelta(hours=12)
SHOWN_TURNS = 5
CHAT = """\
Talk to the agent. Without --message it is a conversation: Enter sends, Ctrl-C stops an answer, Ctrl-D ends. With
--message it sends one, prints the answer, and ends.

A conversation goes on where it was left, under the name that --conversation gives; the web page shows it too.

examples:
  opencrust chat
  opencrust chat --message "What is the capital of France?"
  opencrust chat --url https://crust.example.org --token-stdin <token.txt --message hello

exit codes: 0 answered · 1 failed, or the agent could not answer · 3 OpenCrust is not running"""


def register(commands: Any) -> None:
    """Add the command to the parser."""
    form = argparse.RawDescriptionHelpFormatter
    chat = commands.add_parser("chat", help="talk to the agent", description=CHAT, formatter_class=form)
    chat.add_argument("--message", metavar="TEXT", help="send this one, print the answer, and end")
    chat.add_argument("--conversation", metavar="NAME", default="terminal", help="default: terminal")
    chat.add_argument("--url", help="a gateway elsewhere; needs --token-stdin")
    chat.add_argument(
        "--token-stdin", action="store_true", help="read a token (scopes chat, read) from stdin's first line"
    )
    chat.add_argument("--json", action="store_true", help='with --message: {"text", "finish", "model", …}')
    chat.set_defaults(run=_chat)


def _chat(options: argparse.Namespace) -> int:
    if bool(options.url) != options.token_stdin:
        raise CommandError("--url and --token-stdin belong together", EXIT_USAGE)
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
        token = sys.stdin.readline().strip()
        if not token:
            raise CommandError("no token came from stdin", EXIT_USAGE)
        yield options.url.rstrip("/"), token
        return
    home: Home = options.home
    running.require(home)
    url = running.read_status(home).get("url")
    if not isinstance(url, str):
        raise NotRunning("OpenCrust is only just starting: try again in a moment")
    expires = datetime.now(UTC) + TOKEN_LIFETIME
    text, record = mint_bearer("opencrust chat", [Scope.CHAT, Scope.READ], expires, held=ALL_SCOPES)

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


def _once(conversation: Conversation, text: str, *, as_json: bool) -> int:
    show = None if as_json or not sys.stdout.isatty() else _Screen()
    reply = asyncio.run(conversation.say(text, secrets.token_hex(16), show))
    if as_json:
        print(json.dumps(reply.as_dict()))
    elif show is None:
        print(reply.text)
    return EXIT_FAILED if reply.finish == "failed" else EXIT_OK


def _interactive(conversation: Conversation) -> int:
    with contextlib.suppress(ImportError):
        import readline  # noqa: F401 - gives input() a line editor and a history in memory
    with asyncio.Runner() as runner:
        for turn in runner.run(conversation.history())[-SHOWN_TURNS:]:
            print(f"> {printable(turn['user_text'])}\n{printable(turn['text'])}\n")
        while True:
            try:
                text = input("> ").strip()
            except (EOFError, KeyboardInterrupt):
                print()
                return EXIT_OK
            if not text:
                continue
            try:
                reply = runner.run(conversation.say(text, secrets.token_hex(16), _Screen()))
                if reply.finish != "complete":
                    print(f"({reply.finish})")
            except KeyboardInterrupt:
                runner.run(conversation.stop())
                print("\n(stopped)")
            except ChatError as error:
                print(f"opencrust: {error}", file=sys.stderr)
            print()


class _Screen:
    """Shows an answer while it is written. What was shown cannot be taken back; a correction is printed anew."""

    def __init__(self) -> None:
        self._shown = ""

    def delta(self, text: str) -> None:
        self._shown += text
        sys.stdout.write(printable(text))
        sys.stdout.flush()

    def reset(self) -> None:
        if self._shown:
            print("\n(begins again)")
        self._shown = ""

    def final(self, reply: Reply) -> None:
        if not self._shown:
            print(printable(reply.text))
        elif reply.text.startswith(self._shown):
            print(printable(reply.text[len(self._shown) :]))
        else:  # live events may get lost; the reply does not
            print(f"\n\n{printable(reply.text)}")


def printable(text: str) -> str:
    """Without control characters: no model or stranger moves the cursor or recolours the terminal."""
    return "".join(c for c in text if c.isprintable() or c in "\n\t")
