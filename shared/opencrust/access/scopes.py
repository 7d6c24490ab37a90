"""Scopes: what a token permits.

They are flat: none contains another, so a table that asks for one scope can be read without knowing a
hierarchy. The operator simply holds all of them.
"""

from collections.abc import Iterable
from enum import StrEnum


class Scope(StrEnum):
    """One permission."""

    CHAT = "chat"  # send messages and stop a running turn, in one's own conversations
    READ = "read"  # read one's own conversations
    APPROVE = "approve"  # decide what a tool may do
    ADMIN = "admin"  # configuration, tokens, services
    PAIRING = "pairing"  # decide which strangers may speak


ALL_SCOPES: frozenset[Scope] = frozenset(Scope)


class ScopeError(ValueError):
    """A scope does not exist, or is not the minter's to give."""


def parse_scopes(names: Iterable[str]) -> frozenset[Scope]:
    """Scopes by their names; a name may itself be a comma- or space-separated list (as a command line gives
    them).

    Raises ScopeError if a name is unknown or if there is none at all: an empty list must never come to mean
    "all".
    """
    wanted = [word for name in names for word in name.replace(",", " ").split()]
    unknown = sorted(set(wanted) - set(Scope))
    if unknown:
        raise ScopeError(f"unknown scope {', '.join(map(repr, unknown))}: choose from {', '.join(Scope)}")
    if not wanted:
        raise ScopeError(f"no scope given: choose from {', '.join(Scope)}")
    return frozenset(Scope(name) for name in wanted)


def grant(wanted: Iterable[Scope], held: Iterable[Scope]) -> frozenset[Scope]:
    """The scopes for a new token: exactly `wanted`, if all of it is in `held`, the scopes of whoever mints
    it.

    Raises ScopeError otherwise, rather than narrow in silence: the person would hold a token that does not do
    what he asked for.
    """
    scopes, own = frozenset(wanted), frozenset(held)
    if not scopes:
        raise ScopeError("a token needs at least one scope")
    if missing := scopes - own:
        raise ScopeError(f"cannot grant what the minter does not hold: {', '.join(sorted(missing))}")
    return scopes
