"""Single messages of a stream by their sequence: look, list, remove. Needs Remove, or Inspect to list and measure."""

import base64
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from opencrust.bus import errors
from opencrust.bus.reader import api

if TYPE_CHECKING:
    from opencrust.bus.connection import Bus


@dataclass(frozen=True, slots=True)
class Archived:
    """A stored message; ``at`` is when it was stored (RFC 3339)."""

    subject: str
    seq: int
    data: bytes
    headers: dict[str, str]
    at: str


class Archive:
    """One stream."""

    def __init__(self, bus: "Bus", stream: str) -> None:
        self._bus = bus
        self._stream = stream
        self._api = f"{api(bus.service)}.STREAM"

    async def get(self, seq: int) -> Archived | None:
        """The message of that sequence; None if it is gone."""
        return await self._get({"seq": seq})

    async def after(self, seq: int, subject: str = ">") -> Archived | None:
        """The first message of ``subject`` after that sequence; None at the end."""
        return await self._get({"seq": seq + 1, "next_by_subj": subject})

    async def remove(self, seq: int) -> None:
        """Delete one message; nothing happens if it is gone."""
        try:
            await self._ask(f"MSG.DELETE.{self._stream}", {"seq": seq})
        except errors.ApiError as error:
            if error.code not in (10043, 10057):  # message delete failed: it is not there
                raise
        except errors.NotFound:
            return

    async def purge(self, subject: str) -> int:
        """Delete all messages of ``subject``, which may have wildcards; returns how many there were. Needs Purge."""
        return int((await self._ask(f"PURGE.{self._stream}", {"filter": subject}))["purged"])

    async def subjects(self, pattern: str = ">") -> dict[str, int]:
        """How many messages each subject holds."""
        answer = await self._ask(f"INFO.{self._stream}", {"subjects_filter": pattern})
        found: dict[str, int] = answer["state"].get("subjects") or {}
        return found

    async def bounds(self) -> tuple[int, int]:
        """The sequences of the first message and of the last; (1, 0) of a stream that was always empty."""
        state = (await self._ask(f"INFO.{self._stream}", {}))["state"]
        return max(1, state["first_seq"]), state["last_seq"]

    async def _get(self, query: dict[str, object]) -> Archived | None:
        try:
            answer = await self._ask(f"MSG.GET.{self._stream}", query)
        except errors.NotFound:
            return None
        message = answer["message"]
        return Archived(
            message["subject"],
            message["seq"],
            base64.b64decode(message.get("data", "")),
            _headers(base64.b64decode(message.get("hdrs", ""))),
            message["time"],
        )

    async def _ask(self, operation: str, query: dict[str, object]) -> dict[str, Any]:
        answer: dict[str, Any] = json.loads(
            (await self._bus.request(f"{self._api}.{operation}", json.dumps(query).encode(), timeout=5)).data
        )
        if "error" in answer:
            raise errors.from_api(answer["error"].get("err_code", 0), answer["error"].get("description", "refused"))
        return answer


def _headers(raw: bytes) -> dict[str, str]:
    """``NATS/1.0`` and lines of ``name: value``."""
    pairs = (line.partition(":") for line in raw.decode(errors="replace").split("\r\n")[1:])
    return {name: value.strip() for name, colon, value in pairs if colon}
