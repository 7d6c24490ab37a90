"""The house's secrets stay out of what a service logs and traces, also those that the service itself does not hold.

    detector = LeakDetector()
    context.redactor.add_detector(detector.spans)
    following = context.spawn(detector.follow(credentials))

Nothing waits for it: a service is ready, and stays ready, while the vault is away. Until the first fingerprints arrive,
the redactor's shapes alone protect; a service without an answer from the vault holds no credential either.
"""

import asyncio
import logging
from collections.abc import Iterable

from opencrust.credentials.client import Credentials
from opencrust.credentials.errors import CredentialDenied, CredentialError
from opencrust.credentials.fingerprints import FingerprintSet

log = logging.getLogger(__name__)

_FIRST_PAUSE = 0.5
_LONGEST_PAUSE = 30.0
_REFRESH = 3600.0
"""Seconds. Notices come at once; this finds what changed while nobody could be told."""
_DENIED_PAUSE = 600.0
_PHRASE = 256
"""A value with spaces that is longer is a key of many lines, no passphrase."""


class LeakDetector:
    """Finds the house's secrets in a text by the vault's fingerprints; keeps these fresh."""

    def __init__(self) -> None:
        self._known: FingerprintSet | None = None
        self.longest = 0
        """Characters of the longest form that is looked for."""
        self.longest_spaced = 0
        """The same of passphrases: forms with white space, keys of many lines left out."""

    @property
    def watches(self) -> bool:
        """Whether there are fingerprints yet."""
        return self._known is not None

    def spans(self, text: str) -> Iterable[tuple[int, int]]:
        """A detector for `opencrust.telemetry.Redactor`."""
        return () if self._known is None else self._known.spans(text)

    def update(self, known: FingerprintSet) -> None:
        """Use these from now on."""
        self._known = known
        lengths = [(item.length, item.spaced) for item in known.fingerprints]
        self.longest = max((length for length, _ in lengths), default=0)
        self.longest_spaced = max((length for length, spaced in lengths if spaced and length <= _PHRASE), default=0)

    async def follow(self, credentials: Credentials) -> None:
        """Get the fingerprints and keep them fresh, for ever. A vault that is away or refuses is asked again."""
        subscribed, pause = False, _FIRST_PAUSE
        while True:
            try:
                if subscribed:
                    self.update(await credentials.fingerprints())
                else:
                    await credentials.watch(self.update)
                    subscribed = True
                pause, wait = _FIRST_PAUSE, _REFRESH
            except CredentialDenied:
                log.warning("no fingerprints of secrets: the policy does not call this service a watcher")
                wait = _DENIED_PAUSE
            except CredentialError as error:
                log.debug("no fingerprints of secrets yet: %s", error)
                pause, wait = min(2 * pause, _LONGEST_PAUSE), pause
            await asyncio.sleep(wait)
