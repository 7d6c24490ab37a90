"""A full disk, and its end. nats-server goes on refusing a stream whose write failed once until it is started again."""

from collections.abc import Callable

FULL = (b"no space left on device", b"disk quota exceeded")
ROOM = 16 * 1024 * 1024
"""Bytes that are free again before it is worth a try."""
PAUSE = 30.0
"""Seconds between two tries: what is free may be filled at once."""


class FullDisk:
    """Whether the bus was refused by a full disk, and may be started again.

    Args:
        free: bytes that are free now; asked only after the disk was full.
    """

    def __init__(self, free: Callable[[], int]) -> None:
        self._free = free
        self._full = False
        self._next = 0.0

    def heard(self, line: bytes) -> None:
        """A line that the bus wrote."""
        self._full = self._full or any(words in line for words in FULL)

    def over(self, now: float) -> bool:
        """True once when there is room again. `now` in seconds, of a clock that does not jump."""
        if not self._full or now < self._next or self._free() < ROOM:
            return False
        self._full, self._next = False, now + PAUSE
        return True
