"""Lists of what may be asked for: a plugin's grant names hosts, methods and paths, and nothing else passes."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import unquote

from opencrust_agent.egress.errors import Refused
from opencrust_agent.egress.url import Target

_ENCODED = re.compile(r"%(2f|5c|00|25)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class HostRule:
    """``host`` is a name, or ``*.name`` for exactly one label more. ``path`` is a prefix."""

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
    if _ENCODED.search(path) or "//" in path or any(part in (".", "..") for part in unquote(path).split("/")):
        raise Refused("the path has dots, empty parts or encoded separators")
    rules = [rule for rule in rules if rule.takes(target)]
    if not rules:
        raise Refused("the host is not among those allowed")
    rules = [rule for rule in rules if path.startswith(rule.path)]
    if not rules:
        raise Refused("the path is not among those allowed")
    for rule in rules:
        if method in rule.methods:
            return rule
    raise Refused("the method is not among those allowed")
