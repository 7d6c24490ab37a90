"""The channels that we know, and which of them were caught up in this session."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

TEXT_TYPES: Final = frozenset({0, 1, 2, 3, 5, 10, 11, 12, 13})
"""Kinds of channels that messages can be written in."""
THREADS: Final = frozenset({10, 11, 12})


@dataclass(slots=True)
class Place:
    """A channel as we know it."""

    id: str
    guild: str | None
    last: str | None = None
    """Its last message, as the gateway said when it was announced; None: not said."""
    ours: bool = False
    """A thread that we opened."""
    session: int = -1
    """The session in which it was last caught up."""


class Places:
    """The channels of one account."""

    def __init__(self) -> None:
        self._places: dict[str, Place] = {}

    def learn(self, data: Mapping[str, Any], guild: str | None, me: str) -> Place | None:
        """Note a channel or thread as the gateway describes it; None for what holds no messages."""
        number, kind = data.get("id"), data.get("type", 0)
        if not isinstance(number, (str, int)) or kind not in TEXT_TYPES:
            return None
        place = self.seen(str(number), guild)
        last = data.get("last_message_id")
        place.last = str(last) if isinstance(last, (str, int)) and last else None
        place.ours = kind in THREADS and str(data.get("owner_id")) == me
        return place

    def seen(self, channel: str, guild: str | None) -> Place:
        """A message came from this channel, or it was met before."""
        place = self._places.setdefault(channel, Place(channel, guild))
        place.guild = guild or place.guild
        return place

    def forget_last(self) -> None:
        """A new session began: what was the last message of a channel was so in the old one."""
        for place in self._places.values():
            place.last = None
