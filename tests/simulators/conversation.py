"""An agent that runs, and a channel's side of a conversation with it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from harness import BusServer
from opencrust.bus import Bus, Message
from opencrust.contracts import (
    EventType,
    InboundMessage,
    OutboundMessage,
    ReplyAddress,
    Sender,
    TurnEvent,
    decode,
    encode,
)
from opencrust.contracts.messages import now
from opencrust.service import Context, Settings
from opencrust.telemetry import Redactor
from opencrust_agent.main import run


def inbound(number: int, text: str, conversation: str = "main") -> InboundMessage:
    address = ReplyAddress(channel="web", account="operator", conversation=conversation)
    return InboundMessage(
        id=f"m{number}",
        channel="web",
        account="operator",
        conversation=conversation,
        sender=Sender(channel="web", account="operator", user="operator"),
        reply_to=address,
        text=text,
        platform_time=now(),
        received_time=now(),
    )


class Talk:
    """A channel's side of a conversation."""

    def __init__(self, bus: Bus) -> None:
        self.bus = bus
        self.replies: asyncio.Queue[OutboundMessage] = asyncio.Queue()
        self.events: asyncio.Queue[TurnEvent] = asyncio.Queue()

    async def start(self) -> None:
        async def reply(message: Message) -> None:
            self.replies.put_nowait(decode(OutboundMessage, message.data))

        async def event(message: Message) -> None:
            self.events.put_nowait(decode(TurnEvent, message.data))

        await self.bus.subscribe("log.web.*", reply)
        await self.bus.subscribe("evt.conv.web.*", event)

    async def say(self, message: InboundMessage) -> None:
        await self.bus.publish_stored(f"msg.in.web.{message.key}", encode(message), message_id=message.dedupe_id)

    async def hear(self, seconds: float = 10) -> OutboundMessage:
        return await asyncio.wait_for(self.replies.get(), seconds)

    async def event(self, type: EventType, seconds: float = 10) -> TurnEvent:
        async with asyncio.timeout(seconds):
            while (event := await self.events.get()).type is not type:
                pass
            return event


@asynccontextmanager
async def agent(server: BusServer, directory: Path, name: str = "agent-1") -> AsyncIterator[Context]:
    """A running agent; stopped as a supervisor would."""
    bus = await server.connect("agent")
    settings = Settings(identity_dir=server.home / "identity" / "agent", state_dir=directory, bus_url=server.url)
    context = Context("agent", settings, {}, server.identity("agent"), bus, name, Redactor())
    task = asyncio.create_task(run(context))
    try:
        async with asyncio.timeout(10):
            while not context.is_ready:
                await asyncio.sleep(0.01)
                if task.done():
                    task.result()
        yield context
    finally:
        context.stopping.set()
        await task
