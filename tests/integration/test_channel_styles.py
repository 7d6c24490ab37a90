"""The engine under the two styles that WhatsApp and iMessage will bring: signed webhooks, and a polled cursor.

Two small adapters, each against a small platform in this process that does what the real one does on a bad day: it
doubles calls, forges them, replays a week, or starts its cursor anew. All else is the product: bus, vault, permissions,
session.
"""

import asyncio
import hashlib
import hmac
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import aiohttp

from channels import ChannelHouse, until
from harness import BusServer, free_port
from opencrust.access.directory import People
from opencrust.channel.adapter import (
    Capabilities,
    ChannelAdapter,
    Emit,
    InEvent,
    Ingest,
    LinkError,
    Outcome,
    OutPart,
    Route,
    Runtime,
    SendResult,
    Sent,
    Unknown,
    WebhookReply,
    WebhookRequest,
)
from opencrust.channel.session import Session
from opencrust.channel.text import PLAIN, WHATSAPP
from opencrust.config import ChannelMode, Webhook
from opencrust.contracts import ReplyAddress
from opencrust.credentials import Credentials
from opencrust.telemetry import Redactor

SECRET = "app-secret-of-no-real-app"
WEEK = timedelta(days=7) - timedelta(minutes=5)


class Signed(ChannelAdapter):
    """WhatsApp's way in: a handshake, and calls that are signed over their raw bytes and hold several messages."""

    name = "whatsapp"
    dialect = WHATSAPP
    sent: list[OutPart] = []

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self.capabilities = Capabilities(ingest=Ingest.ALL, pulse=60, seen_days=8)

    async def connect(self) -> str:
        await self._runtime.secret("app_secret")
        return "15550001"

    async def close(self) -> None:
        return None

    async def ingest(self, emit: Emit, stop: asyncio.Event) -> None:
        self._runtime.link.alive()
        await stop.wait()

    def routes(self) -> Sequence[Route]:
        return (Route("GET", "/webhook", self._handshake), Route("POST", "/webhook", self._called))

    async def _handshake(self, request: WebhookRequest, emit: Emit) -> WebhookReply:
        if request.query.get("hub.verify_token") != "verify":
            return WebhookReply(403)
        return WebhookReply(200, request.query["hub.challenge"].encode())

    async def _called(self, request: WebhookRequest, emit: Emit) -> WebhookReply:
        secret = await self._runtime.secret("app_secret")
        good = "sha256=" + hmac.digest(secret.reveal(), request.body, "sha256").hex()
        if not hmac.compare_digest(request.headers.get("x-hub-signature-256", ""), good):
            return WebhookReply(401)
        for message in json.loads(request.body)["messages"]:
            if "text" not in message:
                await self._runtime.bury(str(message.get("id", "")), "a message without a text", message)
                continue
            await emit(
                InEvent(
                    id=message["id"],
                    account="15550001",
                    conversation=message["from"],
                    user=message["from"],
                    text=message["text"],
                    at=datetime.fromtimestamp(message["timestamp"], UTC),
                    message=message["id"],
                )
            )
        return WebhookReply(200)

    async def send(self, part: OutPart) -> SendResult:
        self.sent.append(part)
        return Sent(f"out-{len(self.sent)}")

    async def private(self, user: str) -> ReplyAddress:
        return ReplyAddress(channel=self.name, account="15550001", conversation=user)

    async def reconcile(self, part: OutPart) -> Outcome:
        """By the key that a status brings back (``biz_opaque_callback_data``)."""
        found = [number for number, other in enumerate(self.sent) if other.key == part.key]
        return Sent(f"out-{found[0] + 1}") if found else Unknown("no status yet")


class Database:
    """A Mac's: rows that only grow, and a switch for bad days."""

    def __init__(self) -> None:
        self.rows: list[tuple[int, str, datetime]] = []
        self.sent: list[OutPart] = []
        self.renumber = 0
        """Rows are found under numbers that are larger by this: the database was restored, and all come again."""
        self.away = False

    def say(self, text: str, at: datetime | None = None) -> None:
        self.rows.append((len(self.rows) + 1, text, at or datetime.now(UTC)))

    def after(self, row: int) -> list[tuple[int, str, str, datetime]]:
        """Row, guid, text, time of what came after a row."""
        return [(n + self.renumber, f"guid-{n}", text, at) for n, text, at in self.rows if n + self.renumber > row]


class Polled(ChannelAdapter):
    """iMessage's way in: rows after a cursor that the engine keeps. One listens."""

    name = "imessage"
    dialect = PLAIN
    mac = Database()

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self.capabilities = Capabilities(ingest=Ingest.ONE, pulse=5, seen_days=8)

    async def connect(self) -> str:
        return "me@example.org"

    async def close(self) -> None:
        return None

    async def ingest(self, emit: Emit, stop: asyncio.Event) -> None:
        cursor = int(await self._runtime.cursor("rowid") or 0)
        while not stop.is_set():
            if self.mac.away:
                raise LinkError("the Mac is away", after=0.05)
            self._runtime.link.alive()
            for row, guid, text, at in self.mac.after(cursor):
                await emit(InEvent(id=guid, account="me@example.org", conversation="chat", user="u", text=text, at=at))
                cursor = row
                await self._runtime.keep("rowid", str(cursor))
            await asyncio.sleep(0.02)

    async def send(self, part: OutPart) -> SendResult:
        self.mac.sent.append(part)
        return Sent(f"guid-out-{len(self.mac.sent)}")

    async def private(self, user: str) -> ReplyAddress:
        return ReplyAddress(channel=self.name, account="me@example.org", conversation="chat")


@asynccontextmanager
async def running(house: ChannelHouse, adapter: type[ChannelAdapter], owner: str = "one") -> AsyncIterator[Session]:
    """One replica, in this process. The end of the block ends it as a crash would: nothing is finished."""
    service = f"channel-{house.channel}"
    bus = await house.server.connect(service)
    credentials = Credentials(bus, house.server.identity(service))
    await credentials.start()
    people = People(bus)
    await people.start()
    session = Session(bus, adapter, house.settings, credentials, people, owner, Redactor().value)
    task = asyncio.create_task(session.run(asyncio.Event()))
    try:
        yield session
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await credentials.close()
        await bus.close()


async def forget_ids(server: BusServer) -> None:
    """The stream's ten minutes have passed: a duplicate window of nothing, for the rest of the test."""
    manager = (await server.connect("provisioner")).jetstream_manager()
    config = (await manager.stream_info("MSG_IN")).config
    config.duplicate_window = 0.1
    await manager.update_stream(config)
    await asyncio.sleep(0.3)


def signed(*messages: dict[str, Any], secret: str = SECRET) -> tuple[bytes, dict[str, str]]:
    """A call of the platform's: non-ASCII escaped, and the bytes as they are signed."""
    body = json.dumps({"messages": messages}).encode()
    return body, {"X-Hub-Signature-256": "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()}


def wamid(number: int, text: str | None = "x", at: datetime | None = None) -> dict[str, Any]:
    message = {"id": f"wamid.{number}", "from": "4917", "timestamp": int((at or datetime.now(UTC)).timestamp())}
    return message if text is None else {**message, "text": text}


async def test_signed_webhooks_with_batches_doubles_forgeries_and_a_weeks_replay(bus_server: BusServer) -> None:
    port = free_port()
    Signed.sent = []
    place = Webhook(public_url=f"http://127.0.0.1:{port}", port=port)
    more: dict[str, Any] = {"mode": ChannelMode.WEBHOOK, "webhook": place}
    async with ChannelHouse(bus_server, "whatsapp", {"app_secret": SECRET}, **more) as house:
        url = f"{place.public_url}/webhook"
        async with aiohttp.ClientSession() as http:

            async def call(body: bytes, headers: dict[str, str]) -> int:
                async with http.post(url, data=body, headers=headers) as answer:
                    return answer.status

            week = [wamid(n, f"Grüße {n}", datetime.now(UTC) - WEEK) for n in range(10)]
            async with running(house, Signed) as first, running(house, Signed, "two") as second:
                await until(lambda: all(s.facts()["link"] == "connected" for s in (first, second)))
                await house.agent(lambda message: f"re {message.text}")
                query = {"hub.mode": "subscribe", "hub.verify_token": "verify", "hub.challenge": "314"}
                async with http.get(url, params=query) as answer:
                    assert (answer.status, await answer.text()) == (200, "314")
                assert await call(*signed(wamid(99), secret="another")) == 401
                assert await call(signed(wamid(99))[0], {}) == 401
                for start in (0, 5):  # several in one call, and each call twice at once
                    batch = signed(*week[start : start + 5])
                    assert await asyncio.gather(call(*batch), call(*batch)) == [200, 200]
                assert await call(*signed(wamid(50, None), wamid(51, "after it"))) == 200
                await until(lambda: len(Signed.sent) == 11)
            await forget_ids(bus_server)
            async with running(house, Signed, "three") as third:
                await until(lambda: third.facts()["link"] == "connected")
                for message in week:
                    assert await call(*signed(message)) == 200
                assert await call(*signed(wamid(60, "new"))) == 200
                await until(lambda: len(Signed.sent) == 12)
                assert third.facts()["in_duplicate"] == 10
            wanted = [f"Grüße {n}" for n in range(10)]
            assert [message.text for message in await house.received()] == [*wanted, "after it", "new"]
            assert [part.text for part in Signed.sent] == [f"re {text}" for text in (*wanted, "after it", "new")]


async def test_a_webhook_answers_503_while_the_bus_is_away_and_the_platform_brings_it_again(
    bus_server: BusServer,
) -> None:
    port = free_port()
    Signed.sent = []
    place = Webhook(public_url=f"http://127.0.0.1:{port}", port=port)
    more: dict[str, Any] = {"mode": ChannelMode.WEBHOOK, "webhook": place}
    async with (
        ChannelHouse(bus_server, "whatsapp", {"app_secret": SECRET}, **more) as house,
        running(house, Signed) as session,
        aiohttp.ClientSession() as http,
    ):
        await until(lambda: session.facts()["link"] == "connected")
        body, headers = signed(wamid(1, "kept"))
        statuses = []
        await asyncio.to_thread(bus_server.stop, 9)
        while not statuses or statuses[-1] != 200:
            async with http.post(f"{place.public_url}/webhook", data=body, headers=headers) as answer:
                statuses.append(answer.status)
            if len(statuses) == 1:
                await asyncio.to_thread(bus_server.start)
        assert statuses[0] == 503
        assert [message.text for message in await house.received()] == ["kept"]


async def test_a_polled_cursor_that_is_read_on_rolled_back_and_replayed_for_a_week(bus_server: BusServer) -> None:
    mac = Polled.mac = Database()
    async with ChannelHouse(bus_server, "imessage", {}) as house:
        await house.agent(lambda message: f"re {message.text}")
        for number in range(10):
            mac.say(f"old {number}", datetime.now(UTC) - WEEK)
        async with running(house, Polled) as first, running(house, Polled, "two"):
            await until(lambda: len(mac.sent) == 10)
            assert first.facts()["account"] == "me@example.org"
        mac.say("while nobody listened")
        await forget_ids(bus_server)
        mac.away = True
        async with running(house, Polled, "three") as third:
            await until(lambda: "the Mac is away" in str(third.facts()["link_reason"]), 15)
            mac.away = False
            await until(lambda: len(mac.sent) == 11, 15)
        mac.renumber = 1000  # a restored database: all of the week once more, under new numbers
        await forget_ids(bus_server)
        async with running(house, Polled, "four") as fourth:
            mac.say("after the replay")
            await until(lambda: len(mac.sent) == 12, 15)
            assert fourth.facts()["in_duplicate"] == 11
        wanted = [*(f"old {number}" for number in range(10)), "while nobody listened", "after the replay"]
        assert [message.text for message in await house.received()] == wanted
        assert [part.text for part in mac.sent] == [f"re {text}" for text in wanted]
