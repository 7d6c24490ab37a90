"""A message that its channel published again, not knowing whether the stream has it: was it here before?

The stream drops a doubled id for ten minutes. A channel that was killed just after a publish, and is back later than
that, marks what it publishes again (:mod:`opencrust.channel.seen`). Such messages are rare, so the conversation is
simply read: the first message of that id is the one that is answered, every later one is passed over.
"""

from opencrust.bus import Bus, StreamReader
from opencrust.bus.drain import Work
from opencrust.bus.message import MESSAGE_ID
from opencrust.contracts import ContractError, InboundMessage, decode


class Again:
    """Looks for earlier copies of a message in the stream."""

    def __init__(self, bus: Bus) -> None:
        self._stream = StreamReader(bus, "MSG_IN")

    async def was_here(self, message: InboundMessage, work: Work) -> bool:
        """Whether an earlier message of the conversation has the same id.

        Messages that are not marked are not looked for, nor is what an operator sent on its way again out of the dead
        letters: it carries another ``Nats-Msg-Id``.

        Raises:
            BusError: it cannot be known now.
        """
        if not message.again or work.message.headers.get(MESSAGE_ID) != message.dedupe_id:
            return False
        after = 0
        while True:
            stored = await self._stream.next(work.message.subject, after=after)
            if stored is None or stored.seq >= work.message.seq:
                return False
            if stored.headers.get(MESSAGE_ID) == message.dedupe_id or _same(stored.data, message):
                return True
            after = stored.seq


def _same(data: bytes, message: InboundMessage) -> bool:
    try:
        return decode(InboundMessage, data).dedupe_id == message.dedupe_id
    except ContractError:
        return False
