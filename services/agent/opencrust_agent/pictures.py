"""Pictures that came with a message, fetched for models that see.

A picture is foreign material: it may hold text by anybody, and no assessment reads it. So it taints the conversation.
"""

import base64
import functools
import logging
from collections.abc import Callable

from opencrust.bus import Bus, subjects
from opencrust.bus.blobs import BlobError, Blobs
from opencrust.contracts import Attachment, InboundMessage
from opencrust_agent.models import Image

log = logging.getLogger(__name__)

MEDIA_TYPES = frozenset({"image/png", "image/jpeg", "image/webp", "image/gif"})
"""What the vision models of both wire formats take."""
MAX_BYTES = 4 * 1024 * 1024
"""Largest picture that is shown: below Anthropic's 5 MB in base64 and all others' limits."""
MAX_PICTURES = 4


def shown(message: InboundMessage) -> list[Attachment]:
    """The attachments that are shown to a model as pictures; the others are named."""
    fit = [a for a in message.attachments if a.media_type in MEDIA_TYPES and 0 < a.size <= MAX_BYTES]
    return fit[:MAX_PICTURES]


class Pictures:
    """Fetches them from the bus."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus

    async def of(self, message: InboundMessage, name: Callable[[str], str]) -> dict[str, Image]:
        """By SHA-256, those that are there; one that is gone or damaged is left out, and so is named instead.

        Raises:
            BusError: the bus is away; the message comes again.
        """
        found: dict[str, Image] = {}
        blobs = Blobs(self._bus, "MEDIA", functools.partial(subjects.media, message.channel))
        for attachment in shown(message):
            try:
                data = await blobs.get(attachment.sha256, limit=MAX_BYTES)
            except BlobError as error:
                log.warning("a picture is not shown to the model: %s", error)
                continue
            encoded = base64.b64encode(data).decode()
            found[attachment.sha256] = Image(attachment.media_type, encoded, name(attachment.name))
        return found
