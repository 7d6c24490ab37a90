"""The audit of the pairing desk: who changed what of whom. Never a code."""

import json
import secrets

from opencrust.access.people import PersonId
from opencrust.bus import Bus, subjects
from opencrust.contracts.messages import now


class Record:
    """Writes ``audit.gateway``."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus

    async def write(
        self, event: str, channel: str, *, by: str = "", person: PersonId | None = None, **facts: object
    ) -> None:
        """Store one record. Comes before the change itself, so that nothing changes unrecorded.

        Raises:
            BusError: it is not stored; then the change must not happen.
        """
        record: dict[str, object] = {"v": 1, "event": event, "at": now().isoformat(), "channel": channel}
        if by:
            record["by"] = by
        if person is not None:
            record |= {"account": person.account, "user": person.user}
        data = json.dumps(record | facts).encode()
        await self._bus.publish_stored(subjects.audit("gateway"), data, message_id=f"{event}:{secrets.token_hex(8)}")
