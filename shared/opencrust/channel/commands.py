"""Commands that never reach the agent: ``/stop``, and ``/pair`` in its three forms. All others are the agent's."""

import re
from dataclasses import dataclass

_STOP = re.compile(r"/stop(?:@\w+)?\s*", re.IGNORECASE)
_PAIR = re.compile(r"/pair(?:@\w+)?\s+(?:(approve|block)\s+)?([0-9A-Za-z‐‑– -]{4,20})\s*", re.IGNORECASE)
_START = re.compile(r"/start(?:@\w+)?\s+([0-9A-Za-z-]{4,20})\s*", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Stop:
    """End the running answer of this conversation."""


@dataclass(frozen=True, slots=True)
class Redeem:
    """Somebody sends the code of an invitation."""

    code: str


@dataclass(frozen=True, slots=True)
class Decide:
    """An operator lets somebody in, or keeps him out."""

    code: str
    approve: bool


Command = Stop | Redeem | Decide


def parse(text: str) -> Command | None:
    """The command that ``text`` is, as a whole; None for anything else."""
    text = text.strip()
    if _STOP.fullmatch(text):
        return Stop()
    if matched := _PAIR.fullmatch(text):
        verb = (matched[1] or "").lower()
        return Decide(matched[2].strip(), verb == "approve") if verb else Redeem(matched[2].strip())
    if matched := _START.fullmatch(text):  # a link such as https://t.me/bot?start=CODE
        return Redeem(matched[1])
    return None
