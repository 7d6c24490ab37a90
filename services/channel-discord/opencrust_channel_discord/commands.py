"""Slash commands: what people see when they type ``/`` in Discord. Each means the text that it looks like."""

from typing import Any, Final

from opencrust.channel.adapter import Fate

_TEXT, _CODE = 3, 16

COMMANDS: Final[tuple[dict[str, Any], ...]] = (
    {"name": "new", "description": "Begin a new conversation", "type": 1},
    {"name": "stop", "description": "Stop the running answer", "type": 1},
    {"name": "status", "description": "What the agent is doing", "type": 1},
    {"name": "help", "description": "What I can do", "type": 1},
    {
        "name": "ask",
        "description": "Ask something",
        "type": 1,
        "options": [{"name": "text", "description": "Your question", "type": _TEXT, "required": True}],
    },
    {
        "name": "approve",
        "description": "Let the agent do what it asked for",
        "type": 1,
        "options": [{"name": "id", "description": "As the question says", "type": _TEXT, "required": True}],
    },
    {
        "name": "deny",
        "description": "Do not let the agent do what it asked for",
        "type": 1,
        "options": [{"name": "id", "description": "As the question says", "type": _TEXT, "required": True}],
    },
    {
        "name": "pair",
        "description": "Send the code of an invitation",
        "type": 1,
        "options": [{"name": "code", "description": "The code", "type": _TEXT, "required": True}],
    },
)

EPHEMERAL: Final = 1 << 6
NOT_STORED: Final = "I could not take that just now. Please try again in a moment."


def acknowledgement(kind: int, text: str, fate: Fate | None) -> dict[str, Any]:
    """The answer to an interaction, shown to nobody but who used it; a pressed button gets none that shows.

    Args:
        kind: of the interaction: 2 a command, 3 a button.
        fate: what became of it; None: it was not stored.
    """
    if fate is None:
        shown = NOT_STORED
    elif fate in (Fate.STRANGER, Fate.DROPPED):
        shown = "I do not know you here. Write to me in private first."
    elif kind == 3:
        return {"type": 6}
    else:
        shown = f"✓ {text.split(maxsplit=1)[0][:50]}" if text.startswith("/") else "✓"
    return {"type": 4, "data": {"content": shown, "flags": EPHEMERAL, "allowed_mentions": {"parse": []}}}
