"""Whose wish is a call? The gate that taint alone would be too blunt for.

Once strangers' text is in a conversation, whatever the model does may be theirs. But a call that goes where the person
himself said is his: *"mail the summary to bob@example.org"* names the recipient. So in a tainted conversation an effect
counts as the person's wish where every value that says *where it goes* stands in the message he just wrote, or was
approved by a person before in this conversation. On AgentDojo this rule left 5.0 % of the injected side effects of a
wholly gullible model (research/injection.md §5); five more conditions take away what was left:

* nothing else in a call that leaves the house may name a place (an address, a URL) that is not his;
* one wish is one call: the same tool to the same place again in a turn is asked about;
* what a reading call of this turn was given as its place is a name for *reading*: changing it is asked about;
* what cannot be got back (``irreversible``) is asked about, whoever named it;
* a value that stands in many texts by chance (a number, two letters) proves nothing alone.

Pure: no model, no bus, no words of the conversation's other side.
"""

import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from opencrust_agent.tools import Effect, ToolSpec

_SPACES = re.compile(r"\s+")
_PLACES = re.compile(
    r"[a-z][a-z0-9+.-]{1,15}://[^\s<>\"')\]]+"  # URLs
    r"|[\w.+-]+@[\w-]+(?:\.[\w-]+)+"  # mail addresses
    r"|(?<![\w.@/-])(?:[a-z0-9](?:[a-z0-9-]*[a-z0-9])?\.)+[a-z]{2,24}(?![\w-])(?:/[^\s<>\"')\]]*)?"  # hosts
    r"|(?<!\w)[a-z]{2}\d{2}(?:\s?[a-z0-9]{4}){3,7}(?:\s?[a-z0-9]{1,3})?(?!\w)"  # IBANs
    r"|(?<!\w)(?:0x[0-9a-f]{40}|bc1[a-z0-9]{25,60})(?!\w)"  # wallets
    r"|(?<![\w+])\+?\d(?:[\s()/-]?\d){8,14}(?!\w)",  # telephone numbers
    re.IGNORECASE,
)
_MOMENT = re.compile(r"(\d{4}-\d\d-\d\d)[ t](\d\d:\d\d)(?::00)?z?")
"""An ISO 8601 date and time, as tools want it and nobody writes it."""
_DATED = re.compile(
    r"(?<![\w+-])(?:19|20)\d\d-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12]\d|3[01])"
    r"[ t](?:[01]\d|2[0-3]):[0-5]\d(?::[0-5]\d)?(?!\d)",
    re.IGNORECASE,
)
"""A date and time that there is, in a text."""
_JOINS = "@._-/\\:"
"""Characters that make a longer name of what stands beside them."""


@dataclass(frozen=True, slots=True)
class Wish:
    """Whether a call is the person's own. ``strange``: what speaks against it, as ``argument: reason``."""

    granted: bool
    strange: tuple[str, ...] = ()


class Words:
    """What a person said, to look names up in.

    Args:
        message: the message that this turn answers; empty where its author is not trusted.
        earlier: his earlier messages. They vouch for hosts to read from, for no effect.
        vouched: values that a person approved in this conversation.
    """

    def __init__(self, message: str, earlier: Iterable[str] = (), vouched: Iterable[str] = ()) -> None:
        self._message = _plain(message)
        self._all = "\n".join([self._message, *map(_plain, earlier)])
        self._vouched = frozenset(_plain(value) for value in vouched)

    def name(self, value: object) -> bool:
        """Whether the message names every leaf of ``value`` as a whole; of a moment, its day and its hour."""
        return all(self._names(leaf) for leaf in leaves(value))

    def _names(self, leaf: str) -> bool:
        if leaf in self._vouched or _stands(leaf, self._message):
            return True
        moment = _MOMENT.fullmatch(leaf)
        return moment is not None and all(_stands(part, self._message) for part in moment.groups())

    def name_host(self, url: str) -> bool:
        """Whether any of his messages names the host of ``url``, with or without ``www.``"""
        host = _host(url)
        if not host:
            return False
        bare = host.removeprefix("www.")
        if {host, bare} & self._vouched:
            return True
        named = {_host(place) for place in places(self._all) if "@" not in place.split("/", 1)[0]}
        return bool({host, bare, f"www.{bare}"} & named)


def wish(
    spec: ToolSpec,
    arguments: Mapping[str, Any],
    words: Words,
    *,
    read: frozenset[str] = frozenset(),
    done: frozenset[str] = frozenset(),
) -> Wish:
    """Judge one call.

    Args:
        read: places (:func:`sink`'s leaves) that this turn's reading calls were given.
        done: sinks of effects that this turn already made, or asked about.
    """
    if spec.effects == {Effect.READ}:
        strange = [
            f"{name}: a host that you did not name"
            for name in places_of(spec, arguments)
            if not all(words.name(leaf) or words.name_host(leaf) for leaf in leaves(arguments[name]))
        ]
        return Wish(not strange, tuple(strange))
    where = {name: arguments[name] for name in places_of(spec, arguments)}
    strange = [f"{name}: not in your message" for name, value in where.items() if not words.name(value)]
    named = [leaf for value in where.values() for leaf in leaves(value)]
    if spec.irreversible or any(arguments.get(name) for name in spec.irreversible_if):
        strange.append("it cannot be undone")
    if not strange:
        if not any(_telling(leaf) for leaf in named):
            strange.append("nothing in it shows that it is what you asked for")
        strange += [f"{name}: you named it to be read" for name, value in where.items() if read & set(leaves(value))]
        if sink(spec, arguments) in done:
            strange.append("it goes to the same place a second time")
        if spec.effects & {Effect.SEND, Effect.SPEND, Effect.EXEC} or spec.egress != "none":
            for name, value in arguments.items():
                found = {place for leaf in leaves(value, plain=False) for place in places(leaf)}
                if name not in where and not all(words.name(place) for place in found):
                    strange.append(f"{name}: holds an address that is not in your message")
    return Wish(not strange, tuple(strange))


def places_of(spec: ToolSpec, arguments: Mapping[str, Any]) -> list[str]:
    """The arguments that say where an effect goes: those declared; where none is, all."""
    return [name for name in arguments if name in spec.sensitive or not spec.sensitive]


def sink(spec: ToolSpec, arguments: Mapping[str, Any]) -> str:
    """One string for the place that a call goes to."""
    where = sorted(places_of(spec, arguments))
    return "\x1f".join([spec.name, *(f"{name}={'|'.join(sorted(leaves(arguments[name])))}" for name in where)])


def leaves(value: object, *, plain: bool = True) -> Iterator[str]:
    """Every string and number in ``value``; empty ones name nothing."""
    match value:
        case bool() | None:
            return
        case str():
            if value.strip():
                yield _plain(value) if plain else value
        case int() | float():
            yield f"{value:g}" if abs(value) < 1e6 else str(int(value) if value == int(value) else value)
        case Mapping():
            for item in value.values():
                yield from leaves(item, plain=plain)
        case list() | tuple():
            for item in value:
                yield from leaves(item, plain=plain)


def places(text: str) -> set[str]:
    """What in ``text`` names a place to send something to: URLs, hosts, addresses, accounts, numbers.

    The digits of a date and time are no telephone number. An attacker who writes his as one gets a number between 1900
    and 2099 of a real day and minute, which whoever reads it takes for that; one digit beside it makes a number of it.
    """
    dated = [match.span() for match in _DATED.finditer(text)]
    return {
        match.group().rstrip(".,;:!?")
        for match in _PLACES.finditer(text)
        if not any(start <= match.start() and match.end() <= end for start, end in dated)
    }


def _telling(leaf: str) -> bool:
    return len(leaf) >= 3 and not leaf.replace(".", "").replace(",", "").isdigit()


def _plain(text: str) -> str:
    return _SPACES.sub(" ", unicodedata.normalize("NFKC", text)).strip().casefold()


def _stands(leaf: str, text: str) -> bool:
    """Whether ``leaf`` stands in ``text`` as a name of its own, not as part of a longer one."""
    start = text.find(leaf)
    while start >= 0:
        end = start + len(leaf)
        if not _joined(text[start - 1 : start], text[max(0, start - 2) : start - 1], leaf[:1]) and not _joined(
            text[end : end + 1], text[end + 1 : end + 2], leaf[-1:]
        ):
            return True
        start = text.find(leaf, start + 1)
    return False


def _joined(beside: str, beyond: str, edge: str) -> bool:
    """Whether the character ``beside`` a match makes a longer name of it; a full stop at a sentence's end does not."""
    if not beside:
        return False
    if beside.isalnum():
        return edge.isalnum() or edge in _JOINS
    return beside in _JOINS and (beyond.isalnum() or (beyond != "" and beyond in _JOINS))


def _host(url: str) -> str:
    try:
        return (urlsplit(url if "://" in url else f"//{url}").hostname or "").rstrip(".")
    except ValueError:
        return ""
