"""A name server on a local UDP port, and a resolver that asks it: answers change from question to question, as a
rebinding attacker's do. RFC 1035 as far as A and AAAA go."""

import asyncio
import ipaddress
import secrets
import struct
from collections import Counter
from collections.abc import Sequence

from opencrust_agent.egress.addresses import Address
from opencrust_agent.egress.errors import EgressError

_A, _AAAA = 1, 28


class NameServer(asyncio.DatagramProtocol):
    """``answers[name]`` is a list of answers, each a list of addresses; the last one stays."""

    def __init__(self, answers: dict[str, list[list[str]]]) -> None:
        self.answers = answers
        self.asked: Counter[tuple[str, int]] = Counter()

    async def __aenter__(self) -> "NameServer":
        loop = asyncio.get_running_loop()
        self.transport, _ = await loop.create_datagram_endpoint(lambda: self, local_addr=("127.0.0.1", 0))
        self.port: int = self.transport.get_extra_info("sockname")[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self.transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        pass

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        labels, at = [], 12
        while size := data[at]:
            labels.append(data[at + 1 : at + 1 + size].decode())
            at += size + 1
        name = ".".join(labels).lower()
        (kind,) = struct.unpack_from("!H", data, at + 1)
        rounds = self.answers.get(name, [[]])
        now = rounds[min(self.asked[name, kind], len(rounds) - 1)]
        self.asked[name, kind] += 1
        found = [a for a in map(ipaddress.ip_address, now) if (a.version == 4) == (kind == _A)]
        records = b"".join(b"\xc0\x0c" + struct.pack("!HHIH", kind, 1, 0, len(a.packed)) + a.packed for a in found)
        flags = 0x8180 if name in self.answers else 0x8183
        question = data[12 : at + 5]
        self.transport.sendto(data[:2] + struct.pack("!HHHHH", flags, 1, len(found), 0, 0) + question + records, addr)


class StubResolver:
    """Asks one name server, each time anew: time to live 0."""

    def __init__(self, port: int) -> None:
        self._port = port

    async def addresses(self, host: str) -> Sequence[Address]:
        found = [address for kind in (_A, _AAAA) for address in await self._ask(host, kind)]
        if not found:
            raise EgressError("the host's name cannot be resolved")
        return found

    async def _ask(self, host: str, kind: int) -> list[Address]:
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[bytes] = loop.create_future()

        class Client(asyncio.DatagramProtocol):
            def datagram_received(self, data: bytes, addr: object) -> None:
                if not answer.done():
                    answer.set_result(data)

        transport, _ = await loop.create_datagram_endpoint(Client, remote_addr=("127.0.0.1", self._port))
        try:
            name = b"".join(bytes([len(label)]) + label.encode() for label in host.split(".")) + b"\0"
            query = secrets.token_bytes(2) + struct.pack("!HHHHH", 0x0100, 1, 0, 0, 0)
            transport.sendto(query + name + struct.pack("!HH", kind, 1))
            data = await asyncio.wait_for(answer, 5)
        finally:
            transport.close()
        (count,) = struct.unpack_from("!H", data, 6)
        at, addresses = 12 + len(name) + 4, []
        for _ in range(count):
            (size,) = struct.unpack_from("!H", data, at + 10)
            addresses.append(ipaddress.ip_address(data[at + 12 : at + 12 + size]))
            at += 12 + size
        return addresses
