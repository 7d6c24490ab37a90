"""Seeing that the person changed the configuration or the persona with an editor, without being told."""

import time
from collections.abc import Callable

from opencrust.config import Configuration
from opencrust.config.configuration import PERSONA
from opencrust_cli.home import Home

WATCH_SECONDS = 1.0
"""How often the files are looked at, and how long they must have been still: an editor may write in pieces."""

_Stamp = tuple[tuple[int, int, int] | None, ...]


class ConfigurationWatch:
    """The files of one home."""

    def __init__(self, home: Home, clock: Callable[[], float] = time.monotonic) -> None:
        path = Configuration.path(home.path)
        self._files = (path, path.parent / PERSONA)
        self._clock = clock
        self._taken = self._seen = self._stamp()
        self._since = clock()

    def settle(self) -> None:
        """What stands there now is taken over already."""
        self._taken = self._seen = self._stamp()

    def changed(self) -> bool:
        """Whether they are others than those that were taken over, and still for a moment. Says so once."""
        stamp = self._stamp()
        if stamp != self._seen:
            self._seen, self._since = stamp, self._clock()
        if stamp == self._taken or self._clock() - self._since < WATCH_SECONDS:
            return False
        self._taken = stamp
        return True

    def _stamp(self) -> _Stamp:
        found: list[tuple[int, int, int] | None] = []
        for file in self._files:
            try:
                status = file.stat()
                found.append((status.st_ino, status.st_mtime_ns, status.st_size))
            except OSError:
                found.append(None)
        return tuple(found)
