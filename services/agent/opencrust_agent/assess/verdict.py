"""From a score to what is done about it, by where the text came from.

The owner may type anything: his own text is flagged, never held back. A stranger's message can be blocked. What a
tool, a page, a file or a plugin brought can be replaced by a notice, or blocked. The thresholds stand in the model
file: the score that so many per cent of benign texts of unseen sources reach. A verdict is no boundary; the policy on
tool calls is.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum


class Verdict(StrEnum):
    """What is to be done with a text, from nothing to most."""

    PASS = "pass"  # noqa: S105
    FLAG = "flag"
    REPLACE = "replace"
    BLOCK = "block"


@dataclass(frozen=True, slots=True)
class Levels:
    """The false-positive rates, in per cent, at whose score each verdict begins; None: never given."""

    flag: str | None
    replace: str | None
    block: str | None


OWNER = Levels(flag="0.5", replace=None, block=None)
STRANGER = Levels(flag="0.5", replace=None, block="0.2")
FETCHED = Levels(flag="1", replace="0.5", block="0.2")


def levels(source: str, *, trusted: bool = True, policy: Mapping[str, Levels] | None = None) -> Levels:
    """The levels for a text of ``source``: ``user`` is a person (``trusted``: the owner or one he paired); every other
    name (tool, web, file, plugin, mcp, memory, …), known or not, is fetched material.

    Args:
        policy: what a rules file says instead, by source; ``user``, ``stranger`` (a person who is not trusted), the
            name of a source, or ``*`` for all fetched material that it does not name.
    """
    name = source if source != "user" or trusted else "stranger"
    for known in (name,) if name in ("user", "stranger") else (name, "*"):
        if policy and known in policy:
            return policy[known]
    return {"user": OWNER, "stranger": STRANGER}.get(name, FETCHED)


def verdict(score: float, thresholds: dict[str, float], wanted: Levels) -> Verdict:
    """The strongest verdict whose threshold the score reaches."""
    for name, level in ((Verdict.BLOCK, wanted.block), (Verdict.REPLACE, wanted.replace), (Verdict.FLAG, wanted.flag)):
        if level is not None and score >= thresholds[level]:
            return name
    return Verdict.PASS
