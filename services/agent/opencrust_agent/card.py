"""What a person is shown before he says yes: the call, exactly, so that nothing in it can pass for something else.

Pure. Every character that is not plainly printable is written as its escape: newlines, bidirectional overrides,
zero-width and tag characters, terminal sequences. No address can be followed, since a chat fetches a page for its
preview before anybody approved: ``://`` is ``[:]//``, and the first dot of a host ``[.]``. Look-alike letters stay,
since names are written in all alphabets; where a value mixes alphabets, a line says so.
"""

import hashlib
import json
import re
import unicodedata
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from opencrust.contracts import ApprovalCard
from opencrust_agent.guard.links import dead
from opencrust_agent.tools import Effect, ToolSpec

MAX_LINE = 480
MAX_LINES = 40
_HOST = re.compile(
    r"(?<![\w@.-])(?:[\w-]+\.){2,}\w{2,}"  # three labels and more: any may hold what is to be carried out
    r"|(?<![\w@.-])[\w-]+\.\w{2,}(?=[/?#:])"  # two, with more behind them
)
_DOES = {
    Effect.READ: "reads",
    Effect.WRITE: "changes something",
    Effect.SEND: "sends to others",
    Effect.SPEND: "costs money",
    Effect.EXEC: "runs a program",
}


def canonical(tool: str, arguments: Mapping[str, Any]) -> bytes:
    """The bytes that are approved: sorted keys, no spaces, ASCII. Equal calls have equal bytes, others have not."""
    return json.dumps({"arguments": arguments, "tool": tool}, sort_keys=True, separators=(",", ":")).encode()


def digest(tool: str, arguments: Mapping[str, Any]) -> str:
    """SHA-256 of :func:`canonical`, in hex."""
    return hashlib.sha256(canonical(tool, arguments)).hexdigest()


def make_card(
    id: str, spec: ToolSpec, arguments: Mapping[str, Any], *, why: str, strange: tuple[str, ...], expires: datetime
) -> ApprovalCard:
    """The question. ``why``: the rule's; ``strange``: what the provenance gate found, ``argument: reason``."""
    does = ", ".join(text for effect, text in _DOES.items() if effect in spec.effects)
    lines = [f"{spec.name}: {does}"]
    if why:
        lines.append(f"asked because {escaped(why)}")
    remarks = dict(remark.partition(": ")[::2] for remark in strange)
    for name, value in sorted(arguments.items(), key=lambda item: (item[0] not in spec.sensitive, item[0])):
        shown = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, sort_keys=True)
        remark = remarks.pop(name, "")
        lines += _wrapped(f"{escaped(name)}{f' ({escaped(remark)})' if remark else ''} = {escaped(shown)}")
        if _mixed(shown):
            lines.append(f"{escaped(name)} mixes letters of several alphabets: look closely")
    lines += [f"{escaped(name)}: {escaped(text)}" if text else escaped(name) for name, text in remarks.items()]
    if len(lines) > MAX_LINES:
        hidden = len(lines) - MAX_LINES + 1
        lines = [
            *lines[: MAX_LINES - 1],
            f"… and {hidden} more lines that do not fit here: deny it unless you expect it",
        ]
    return ApprovalCard(id=id, tool=spec.name, lines=[dead(line)[:500] for line in lines], expires=expires)


def card_text(card: ApprovalCard) -> str:
    """The card for a channel without buttons."""
    body = "\n".join(f"  {line}" for line in card.lines)
    until = card.expires.strftime("%H:%M UTC")
    return f"May I do this?\n{body}\nAnswer /approve {card.id} or /deny {card.id} (until {until}; then: no)."


def escaped(text: str) -> str:
    """``text`` in characters that show themselves: everything else as ``\\n``, ``\\u202e`` …; addresses are dead."""
    shown = "".join(c if _plain(c) else c.encode("unicode_escape").decode() for c in text)
    return _HOST.sub(lambda match: match[0].replace(".", "[.]", 1), shown).replace("://", "[:]//")


def _plain(character: str) -> bool:
    if character == "\\":
        return False
    category = unicodedata.category(character)
    return character == " " or (category[0] not in "CZ" and category != "Mn" and not _blank(character))


def _blank(character: str) -> bool:
    """Letters and marks that show nothing: Hangul fillers, the Braille blank, variation selectors."""
    return character in "\u115f\u1160\u3164\uffa0\u2800\u034f" or 0xFE00 <= ord(character) <= 0xFE0F


def _mixed(text: str) -> bool:
    """Whether one word holds letters of Latin and of Greek or Cyrillic, which look alike."""
    for word in text.split():
        scripts = {unicodedata.name(c, "?").split(" ", 1)[0] for c in word if c.isalpha()}
        if "LATIN" in scripts and scripts & {"CYRILLIC", "GREEK"}:
            return True
    return False


def _wrapped(line: str) -> list[str]:
    return [line[at : at + MAX_LINE] for at in range(0, len(line), MAX_LINE)] or [""]
