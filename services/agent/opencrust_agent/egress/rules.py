"""Lists of what may be asked for: a plugin's grant names hosts, methods and paths, and nothing else passes."""

import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import unquote_to_bytes

from opencrust_agent.egress.errors import Refused
from opencrust_agent.egress.url import Target

_MALFORMED = re.compile(r"%(?![0-9a-f]{2})", re.IGNORECASE)
_ENCODED = re.compile(r"%(2f|5c|25|3b|[01][0-9a-f]|7f)", re.IGNORECASE)
"""Separators, a further encoding, the ``;`` of path parameters, control characters."""


@dataclass(frozen=True, slots=True)
class HostRule:
    """``host`` is a name, or ``*.name`` for exactly one label more. ``path`` is a prefix of whole segments: ``/v1`` is
    about ``/v1`` and ``/v1/users``, not about ``/v10``; ``/v1/`` is not about ``/v1`` itself."""

    host: str
    port: int = 443
    methods: frozenset[str] = frozenset({"GET"})
    path: str = "/"
    scheme: str = "https"

    def takes(self, target: Target) -> bool:
        """Whether it is about the target's host and port."""
        if (self.scheme, self.port) != (target.scheme, target.port):
            return False
        if not self.host.startswith("*."):
            return self.host == target.host
        return target.host.partition(".")[2] == self.host[2:]


def matching(rules: Iterable[HostRule], method: str, target: Target) -> HostRule:
    """The rule that allows a request. Its path must be plain: a server must not see another prefix in it than we do.

    Raises:
        Refused: there is none.
    """
    if target.address is not None:
        raise Refused("an address instead of a host name")
    path = target.path
    if not is_plain(path):
        raise Refused("the path has dots, empty parts or encoded separators")
    rules = [rule for rule in rules if rule.takes(target)]
    if not rules:
        raise Refused("the host is not among those allowed")
    rules = [rule for rule in rules if below(path, rule.path)]
    if not rules:
        raise Refused("the path is not among those allowed")
    for rule in rules:
        if method in rule.methods:
            return rule
    raise Refused("the method is not among those allowed")


def below(path: str, prefix: str) -> bool:
    """Whether a path is the prefix, or lies below it, by whole segments."""
    return path == prefix or path.startswith(prefix if prefix.endswith("/") else prefix + "/")


def is_plain(path: str) -> bool:
    """Whether all servers read the same segments in a path.

    They differ in how often they decode (``%252e``), in whether ``;x`` belongs to a segment's name (``/..;/`` is
    ``/../`` to a servlet container behind a proxy that sees no dots), in what they make of ``%c0%ae`` and ``%u002e``,
    and in whether they fold letters that look like dots and strokes (Orange Tsai, "Breaking Parser Logic", 2018).
    """
    if _MALFORMED.search(path) or _ENCODED.search(path) or "//" in path:
        return False
    try:
        read = unquote_to_bytes(path).decode()
    except UnicodeDecodeError:
        return False
    folded = unicodedata.normalize("NFKC", read)
    if folded.count("/") != path.count("/") or "\\" in folded:
        return False
    return not any(part.partition(";")[0] in (".", "..") for part in folded.split("/"))
