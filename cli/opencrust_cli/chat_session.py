"""A conversation at the terminal: lines that a person types, and what they do. While an answer is being written, lines
are read as well: /stop must not wait for what it is to stop.
"""

import asyncio
import os
import re
import secrets
import sys
from collections import deque
from collections.abc import Coroutine
from typing import Any

from opencrust_cli.chat_client import ChatError, Conversation, Reply
from opencrust_cli.chat_screen import Screen
from opencrust_cli.errors import EXIT_OK

HELP = """\
/stop               stop the answer that is being written (Ctrl-C does the same)
/approve ID         let the agent do what it asked for; /deny ID: it must not
/new                begin a new conversation here
/status             what the agent is doing, and who answers
/quit               end (Ctrl-D does the same)"""
_DECISION = re.compile(r"/(approve|deny)(?:\s+(\S+))?", re.IGNORECASE)


class Session:
    """Reads lines until the person ends it."""

    def __init__(self, conversation: Conversation, runner: asyncio.Runner) -> None:
        self._conversation = conversation
        self._runner = runner
        self._typed: deque[str] = deque()
        self._asked: str | None = None
        """What the last answer asked a word for: /approve alone means this."""

    def run(self) -> int:
        """Returns the exit code."""
        while True:
            try:
                text = (self._typed.popleft() if self._typed else input("> ")).strip()
            except (EOFError, KeyboardInterrupt):
                print()
                return EXIT_OK
            if text.lower() in ("/quit", "/exit"):
                return EXIT_OK
            if text:
                self._do(text)
                print()

    def _do(self, text: str) -> None:
        try:
            if text.lower() == "/help":
                print(HELP)
            elif text.lower() == "/stop":
                self._runner.run(self._conversation.stop())
                print("(stopped)")
            elif (decision := _DECISION.fullmatch(text)) is not None:
                self._decide(decision[2] or self._asked, approve=decision[1].lower() == "approve")
            else:
                self._wait(self._conversation.say(text, secrets.token_hex(16), Screen()))
        except ChatError as error:
            print(f"opencrust: {error}", file=sys.stderr)

    def _decide(self, approval: str | None, *, approve: bool) -> None:
        if approval is None:
            print("which one? /approve ID, as the question says")
            return
        self._asked = None
        self._wait(self._conversation.decide(approval, Screen(), approve=approve))

    def _wait(self, answering: Coroutine[Any, Any, Reply | None]) -> None:
        try:
            reply = self._runner.run(self._while_reading(answering))
        except KeyboardInterrupt:
            self._runner.run(self._conversation.stop())
            print("\n(stopped)")
            return
        if reply is None:
            print("(done; the answer comes where it was asked for)")
        elif reply.approval is not None:
            self._asked = reply.approval
            print(f"(/approve {reply.approval} or /deny {reply.approval})")
        elif reply.finish != "complete":
            print(f"({reply.finish})")

    async def _while_reading(self, answering: Coroutine[Any, Any, Reply | None]) -> Reply | None:
        """The answer. Meanwhile /stop is carried out at once; other lines wait for their turn."""
        loop = asyncio.get_running_loop()
        stops: set[asyncio.Task[None]] = set()

        def typed() -> None:
            for line in os.read(sys.stdin.fileno(), 65536).decode(errors="replace").splitlines():
                if line.strip().lower() == "/stop":
                    stops.add(loop.create_task(self._conversation.stop()))
                elif line.strip():
                    self._typed.append(line)

        if not sys.stdin.isatty():  # a script's lines come one after the other
            return await answering
        loop.add_reader(sys.stdin.fileno(), typed)
        try:
            return await answering
        finally:
            loop.remove_reader(sys.stdin.fileno())
            await asyncio.gather(*stops, return_exceptions=True)
