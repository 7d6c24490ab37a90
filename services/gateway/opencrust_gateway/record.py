"""The gateway's audit: who changed what of whom. Never a code, never a token."""

import json
import secrets
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from opencrust.access.people import PersonId
from opencrust.bus import Bus, subjects
from opencrust.contracts.messages import now

_NOTHING: Final[Mapping[str, object]] = MappingProxyType({})


class Record:
    """Writes ``audit.gateway``."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus

    async def write(
        self, event: str, facts: Mapping[str, object] = _NOTHING, *, by: str = "", person: PersonId | None = None
    ) -> None:
        """Store one record. Comes before the change itself, so that nothing changes unrecorded.

        Raises:
            BusError: it is not stored; then the change must not happen.
        """
        record: dict[str, object] = {"v": 1, "event": event, "at": now().isoformat()}
        if by:
            record["by"] = by
        if person is not None:
            record |= {"channel": person.channel, "account": person.account, "user": person.user}
        data = json.dumps({**record, **facts}).encode()
        await self._bus.publish_stored(subjects.audit("gateway"), data, message_id=f"{event}:{secrets.token_hex(8)}")
