"""What the operator allows besides the public internet: hosts and networks of the house, from the configuration."""

import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass

from opencrust_agent.egress.addresses import Address, is_home, why_not_public
from opencrust_agent.egress.errors import Refused
from opencrust_agent.egress.url import PORTS, Target

HOW = "An operator may allow it under agent.egress.allow in the configuration."


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of the operator's: a host name, an address or a network; with a port, or for all ports."""

    host: str = ""
    network: ipaddress.IPv4Network | ipaddress.IPv6Network | None = None
    port: int | None = None

    @classmethod
    def read(cls, text: str) -> "Entry":
        """``nas.lan``, ``nas.lan:5000``, ``192.168.1.10``, ``192.168.1.0/24``, ``[fd00::1]:8080``.

        Raises:
            ValueError: with a sentence for the operator.
        """
        body, port = text.strip().lower(), None
        head, colon, tail = body.rpartition(":")
        if colon and tail.isdigit() and (":" not in head or head.endswith("]")):
            body, port = head, int(tail)
        body = body.removeprefix("[").removesuffix("]")
        try:
            network = ipaddress.ip_network(body, strict=False)
        except ValueError:
            if "/" in body or not body or body[-1].isdigit() or not body.isascii() or set(body) & set(" @\\%?#*:"):
                raise ValueError(f"{text!r} is no host name, address or network") from None
            return cls(host=body, port=port)
        if network.is_loopback and port is None:
            raise ValueError(
                f"{text!r}: name the port too, as in 127.0.0.1:8123; OpenCrust's own services listen there"
            )
        return cls(network=network, port=port)

    def names(self, host: str, port: int) -> bool:
        """Whether it is this host, by name."""
        return self.host == host and self.port in (None, port)

    def covers(self, address: Address, port: int) -> bool:
        """Whether it allows this address."""
        return self.network is not None and address in self.network and self.port in (None, port)


class Allowed:
    """The rules for where a request may go."""

    def __init__(self, entries: Iterable[str] = ()) -> None:
        """Raises ValueError where an entry cannot be read."""
        self._entries = tuple(map(Entry.read, entries))

    def check_target(self, target: Target) -> None:
        """Before the name is looked up: a port that is not the web's, or a name of the house, needs the operator.

        Raises:
            Refused: it is against the rules.
        """
        address = target.address
        if address is not None:
            self.check_address(target, address)
        elif not self._named(target) and ("." not in target.host or target.host.endswith(".localhost")):
            raise Refused(f"the URL's host is a name of the inside network. {HOW}")
        if target.port not in PORTS.values() and not self._named(target) and not self._has_port(target):
            raise Refused(f"only the ports 80 and 443 can be reached. {HOW}")

    def check_address(self, target: Target, address: Address) -> None:
        """One address of the target.

        A host that is allowed by name may lie in a private network. It may not turn out to be this machine or a cloud's
        metadata: whoever answers for the name would choose it.

        Raises:
            Refused: it is not public, and not allowed.
        """
        reason = why_not_public(address)
        if not reason or any(entry.covers(address, target.port) for entry in self._entries):
            return
        if self._named(target) and (is_home(address) or (target.host == "localhost" and address.is_loopback)):
            return
        raise Refused(f"the URL leads to an address that is not public: {reason}. {HOW}")

    def _named(self, target: Target) -> bool:
        return any(entry.names(target.host, target.port) for entry in self._entries)

    def _has_port(self, target: Target) -> bool:
        """Whether the addresses, once they are known, could be allowed on this port."""
        address = target.address
        if address is not None:
            return any(entry.covers(address, target.port) for entry in self._entries)
        return any(entry.network is not None and entry.port == target.port for entry in self._entries)
