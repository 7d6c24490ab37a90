"""What tests ask of the pairing desk, as an adapter, as the command line, and as who reads the audit."""

import json
from typing import Any

import aiohttp

from opencrust.access.desk import DeskReply, DeskRequest
from opencrust.access.people import PairingReply, PairingRequest
from opencrust.bus import Bus, StreamReader, subjects
from opencrust.contracts import decode, encode


async def ask(bus: Bus, op: str, *, timeout: float = 20, **fields: object) -> PairingReply:
    """Ask as the adapter whose connection it is."""
    asked = encode(PairingRequest.model_validate(fields))
    return decode(PairingReply, (await bus.request(subjects.pair_req(bus.service, op), asked, timeout=timeout)).data)


async def operator(bus: Bus, op: str, **fields: object) -> DeskReply:
    """Ask as the command line."""
    asked = encode(DeskRequest.model_validate(fields))
    return decode(DeskReply, (await bus.request(subjects.pair_req("cli", op), asked, timeout=20)).data)


async def audit(bus: Bus, service: str = "gateway") -> list[dict[str, Any]]:
    """All audit records of a service, oldest first; `bus` is a gateway's connection."""
    reader, found, after = StreamReader(bus, "AUDIT"), [], 0
    while (message := await reader.next(f"audit.{service}", after=after)) is not None:
        after = message.seq
        found.append(json.loads(message.data))
    return found


async def call(
    session: aiohttp.ClientSession, method: str, path: str, body: dict[str, Any] | None = None
) -> tuple[int, Any]:
    """One request: (status, the JSON of the answer, if it is JSON)."""
    async with session.request(method, path, json=body) as answer:
        return answer.status, await answer.json() if answer.content_type == "application/json" else None
