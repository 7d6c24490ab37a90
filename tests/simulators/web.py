"""A gateway in this process on a real bus, and a stand-in for the agent that answers in a way that tests can steer."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import aiohttp
from aiohttp import web

from harness import BusServer, free_port
from opencrust.access import ALL_SCOPES, Scope, TokenRecord, mint_bearer, mint_ticket
from opencrust.access.tokenstore import TokenStore
from opencrust.bus import Bus, KeyExists, Message, subjects
from opencrust.bus.errors import BusError
from opencrust.contracts import (
    Approval,
    ApprovalCard,
    ApprovalsReply,
    ApprovalState,
    Decision,
    EventType,
    Finish,
    InboundMessage,
    OutboundMessage,
    ReplyAddress,
    SessionView,
    Turn,
    TurnEvent,
    decode,
    encode,
)
from opencrust_gateway.app import Gateway
from opencrust_gateway.main import listen
from opencrust_gateway.serverlog import server_logger
from opencrust_gateway.settings import GatewaySettings, Limits


class EchoAgent:
    """Answers "echo: <text>" to every message, in pieces, and keeps the session as the agent does.

    `hold`: while set, turns start and wait. `silent`: the log and the events are skipped, as if the gateway had missed
    them (only the session is written).
    """

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self.hold = asyncio.Event()
        self.hold.set()
        self.silent = False
        self.model = "echo-1"
        self.finish = Finish.COMPLETE
        self.answer: Callable[[InboundMessage], str] = lambda message: f"echo: {message.text}"
        self.seen: list[InboundMessage] = []
        self.stops: list[str] = []
        self.card: ApprovalCard | None = None
        """What every reply asks."""
        self.approvals: list[Approval] = []
        self.decisions: list[Decision] = []
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        await self._bus.subscribe(subjects.wildcard(subjects.CTL_STOP), self._stop)
        self._task = asyncio.create_task(self._work())

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _stop(self, message: object) -> None:
        self.stops.append(getattr(message, "subject", ""))

    async def serve_approvals(self) -> None:
        """Answer questions about `approvals` from now on, as the agent does."""
        await self._bus.subscribe(subjects.wildcard(subjects.CTL_APPROVALS), self._approvals, queue="agent")

    async def _approvals(self, message: Message) -> None:
        found = self.approvals
        if message.subject.endswith(".decide"):
            word = decode(Decision, message.data)
            self.decisions.append(word)
            state = ApprovalState.APPROVED if word.approve else ApprovalState.DENIED
            found = [one.model_copy(update={"state": state}) for one in self.approvals if one.card.id == word.id]
            self.approvals = [one for one in self.approvals if one.card.id != word.id]
        await self._bus.respond(message, encode(ApprovalsReply(approvals=found)))

    async def _work(self) -> None:
        consumer = self._bus.consumer("MSG_IN", "agent")
        while True:
            delivery = await consumer.next(wait=5)
            if delivery is None:
                continue
            with contextlib.suppress(BusError):  # then it is delivered again
                message = decode(InboundMessage, delivery.message.data)
                await self.turn(message, delivery.seq)
                await delivery.ack()

    async def turn(self, message: InboundMessage, seq: int) -> None:
        self.seen.append(message)
        text = self.answer(message)
        await self._event(message, EventType.STARTED, 0)
        size = max(5, len(text) // 20)
        pieces = [text[i : i + size] for i in range(0, len(text), size)]
        for index, piece in enumerate(pieces, start=1):
            await self._event(message, EventType.DELTA, index, piece)
            if index == 1:
                await self.hold.wait()
        await self._event(message, EventType.FINISHED, len(pieces) + 1)
        reply = OutboundMessage(
            id=f"re:{seq}:0",
            in_reply_to=message.id,
            address=message.reply_to,
            text=text,
            finish=self.finish,
            model=self.model,
            created_time=datetime.now(UTC),
            approval=self.card,
        )
        await self._remember(message, reply, seq)  # first, as the agent does: what is published is in the session
        if not self.silent:
            subject = subjects.msg_out(message.channel, message.key)
            await self._bus.publish_stored(subject, encode(reply), message_id=reply.id)

    async def _event(self, message: InboundMessage, kind: EventType, index: int, text: str = "") -> None:
        if not self.silent:
            event = TurnEvent(type=kind, message_id=message.id, index=index, text=text)
            await self._bus.publish(subjects.evt_conv(message.channel, message.key), encode(event))

    async def _remember(self, message: InboundMessage, reply: OutboundMessage, seq: int) -> None:
        sessions = self._bus.kv("sess")
        key = f"{message.channel}.{message.key}"
        entry = await sessions.get(key)
        view = decode(SessionView, entry.value) if entry else SessionView()
        if view.cursor >= seq:
            return
        turn = Turn(
            seq=seq,
            message_id=message.id,
            user=message.sender.user,
            text=message.text,
            reply_id=reply.id,
            reply=reply.text,
            finish=reply.finish,
            model=reply.model,
            at=reply.created_time,
        )
        await sessions.put(key, encode(view.with_turn(turn, [])))


def approval(owner: str, letter: str) -> Approval:
    """A question that waits in the conversation "main" of `owner`; its id is `letter` sixteen times."""
    at = datetime.now(UTC)
    card = ApprovalCard(id=letter * 16, tool="mail.send", lines=["to: a@example.org"], expires=at + timedelta(hours=1))
    address = ReplyAddress(channel="web", account=owner, conversation="main")
    return Approval(card=card, address=address, requester=owner, digest="0" * 64, created=at)


@dataclass
class RunningGateway:
    """Where it is, and what it takes to make tokens for it."""

    port: int
    bus: Bus
    gateway: Gateway
    agent: EchoAgent
    tokens: TokenStore

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def bearer(
        self, *scopes: Scope, owner: str = "operator", expires: timedelta | None = None
    ) -> tuple[str, TokenRecord]:
        now = datetime.now(UTC)
        text, record = mint_bearer(
            "test", scopes or ALL_SCOPES, now + expires if expires else None, held=ALL_SCOPES, owner=owner, now=now
        )
        await self.tokens.add(record)
        return text, record

    async def ticket(self, *scopes: Scope) -> str:
        now = datetime.now(UTC)
        text, record = mint_ticket(scopes or ALL_SCOPES, held=ALL_SCOPES, now=now)
        with contextlib.suppress(KeyExists):
            await self.tokens.add(record)
        return text

    @asynccontextmanager
    async def client(self, token: str | None = None) -> AsyncIterator[aiohttp.ClientSession]:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        jar = aiohttp.CookieJar(unsafe=True)
        async with aiohttp.ClientSession(self.url, headers=headers, cookie_jar=jar) as session:
            yield session


async def _names() -> list[dict[str, object]]:
    """What a vault would tell an observer."""
    return [{"name": "provider.sim.api_key", "version": 2, "created": 0, "expires": None, "readers": ["agent"]}]


@asynccontextmanager
async def running_gateway(
    server: BusServer, *, limits: Limits | None = None, port: int | None = None, answering: bool = True
) -> AsyncIterator[RunningGateway]:
    """A gateway and an EchoAgent on `server`, stopped afterwards. `answering` False: another one's agent answers."""
    bus, agent_bus = await server.connect("gateway"), await server.connect("agent")
    settings = GatewaySettings(port=port or free_port(), limits=limits or Limits())
    gateway = Gateway(bus, settings, names=_names)
    await gateway.start()
    agent = EchoAgent(agent_bus)
    if answering:
        await agent.start()
    runner = web.AppRunner(gateway.app(), access_log=None, logger=server_logger(), shutdown_timeout=1)
    await runner.setup()
    await listen(runner, settings)
    cli = await server.connect("cli")
    try:
        yield RunningGateway(settings.port, bus, gateway, agent, TokenStore(cli))
    finally:
        await agent.close()
        await runner.cleanup()
        await gateway.stop()
