"""``send_message``: a message to another conversation of the same person, on whatever channel. Never to anybody else:
a place is known because he wrote to us from there, and no model can name a new one."""

import hashlib
from typing import Any

from opencrust.bus import Bus, BusError, subjects
from opencrust.contracts import OutboundMessage, SessionView, Trust, decode, encode
from opencrust.contracts.messages import now
from opencrust_agent.contacts import Contacts, Place
from opencrust_agent.tools.tool import Effect, ToolContext, ToolResult, ToolSpec

MAX_TEXT = 8000


class SendMessage:
    """Puts one reply on the bus, under an id that follows from the call: sent twice, it is stored once."""

    spec = ToolSpec(
        name="send_message",
        description="Send a message to another conversation of the person you are talking with, for example from the"
        " web to his Telegram. `to` is a name that he uses for it; a wrong one is answered with those known.",
        parameters={
            "type": "object",
            "properties": {
                "to": {"type": "string", "minLength": 1, "maxLength": 300, "description": "such as telegram"},
                "text": {"type": "string", "minLength": 1, "maxLength": MAX_TEXT},
            },
            "required": ["to", "text"],
        },
        effects=frozenset({Effect.SEND}),
        taints=False,
        sensitive=frozenset({"to"}),
        timeout=20.0,
    )

    def __init__(self, bus: Bus, contacts: Contacts) -> None:
        self._bus = bus
        self._contacts = contacts

    async def call(self, arguments: dict[str, Any], context: ToolContext) -> ToolResult:
        """See the spec."""
        if context.trust not in (Trust.OWNER, Trust.USER):
            return ToolResult("Not sent: only for people on the list.", failed=True)
        places = [
            place
            for place in await self._contacts.of(context.person, context.trust)
            if place.key != context.address.key
        ]
        place = chosen(arguments["to"], places)
        if place is None:
            known = ", ".join(sorted(place.name for place in places)) or "none so far: he has to write from there once"
            return ToolResult(f"Not sent: no single conversation has that name. Known: {known}.", failed=True)
        message = OutboundMessage(
            id=f"re:{await self._cursor(place)}:{hashlib.sha256(context.call.encode()).hexdigest()[:20]}",
            in_reply_to=context.call[:255],
            address=place.address,
            text=arguments["text"],
            created_time=now(),
        )
        await self._bus.publish_stored(
            subjects.msg_out(place.address.channel, place.key), encode(message), message_id=f"send:{context.call}"
        )
        return ToolResult(f"Sent to {place.name}.", summary=f"to {place.name}")

    async def _cursor(self, place: Place) -> int:
        """How far that conversation is answered: its log says so by our ids, also after this message."""
        entry = await self._bus.kv("sess").get(f"{place.address.channel}.{place.key}")
        if entry is None:
            raise BusError("that conversation has ended")
        return decode(SessionView, entry.value).cursor


def chosen(name: str, places: "list[Place]") -> Place | None:
    """The one place that ``name`` means: its whole name, or its channel where there is just one."""
    wanted = name.strip().casefold()
    exact = [place for place in places if place.name.casefold() == wanted]
    same = exact or [place for place in places if place.address.channel == wanted]
    return same[0] if len(same) == 1 else None
