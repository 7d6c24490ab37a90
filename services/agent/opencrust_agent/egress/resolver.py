"""Names to addresses. All of them, since one bad answer among good ones is an attack."""

import asyncio
import ipaddress
import socket
from collections.abc import Sequence
from typing import Protocol

from aiohttp.abc import AbstractResolver, ResolveResult

from opencrust_agent.egress.addresses import Address
from opencrust_agent.egress.errors import EgressError


class Resolver(Protocol):
    """Looks names up."""

    async def addresses(self, host: str) -> Sequence[Address]:
        """All addresses of ``host``, in the order in which to try them.

        Raises:
            EgressError: there is none, or nobody could be asked.
        """
        ...


class SystemResolver:
    """As the operating system does it: hosts file, mDNS and all."""

    async def addresses(self, host: str) -> Sequence[Address]:
        loop = asyncio.get_running_loop()
        try:
            found = await loop.getaddrinfo(host, None, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError):
            raise EgressError("the host's name cannot be resolved") from None
        # A scope ("%eth0") belongs to link-local addresses, which are refused anyway.
        texts = dict.fromkeys(str(entry[4][0]).partition("%")[0] for entry in found)
        return [ipaddress.ip_address(text) for text in texts]


class Pinned(AbstractResolver):
    """Gives aiohttp the addresses that were checked, and no others: the name is not asked for a second time."""

    def __init__(self, addresses: Sequence[Address]) -> None:
        self._addresses = addresses

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        return [
            ResolveResult(
                hostname=host,
                host=str(address),
                port=port,
                family=socket.AF_INET if address.version == 4 else socket.AF_INET6,
                proto=0,
                flags=socket.AI_NUMERICHOST,
            )
            for address in self._addresses
        ]

    async def close(self) -> None:
        """Nothing is held."""
