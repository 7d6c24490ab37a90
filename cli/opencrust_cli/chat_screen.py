"""What a conversation looks like in the terminal."""

import sys
from typing import Any

from opencrust_cli.chat_client import Reply


class Screen:
    """Shows an answer while it is written. What was shown cannot be taken back; a correction is printed anew."""

    def __init__(self) -> None:
        self._shown = ""
        self._steps: dict[str, str] = {}

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

    def tool(self, step: dict[str, Any]) -> None:
        call, state = str(step.get("call", "")), str(step.get("state", ""))
        if self._steps.get(call) != state:
            self._steps[call] = state
            line = " ".join(str(step[part]) for part in ("tool", "state", "summary") if step.get(part))
            print(f"{self._break()}[{printable(line)}]")

    def missed(self, turn: dict[str, Any]) -> None:
        asked = turn.get("user_text")
        if asked is not None:
            print(f"> {printable(asked)}")
        print(f"{printable(turn['text'])}\n")

    def _break(self) -> str:
        return "\n" if self._shown and not self._shown.endswith("\n") else ""


def printable(text: str) -> str:
    """Without control characters: no model or stranger moves the cursor or recolours the terminal."""
    return "".join(c for c in text if c.isprintable() or c in "\n\t")
