"""The connection: publish, request, subscribe, and typed errors at once where NATS would let a caller wait.

nats-py reports a refused publish only to an error callback, and lets the request that waits for it run into its
timeout. :class:`Bus` keeps its own table of awaited replies, so a refusal or a lost connection ends exactly those calls
that it concerns.
"""

import asyncio
import contextlib
import json
import logging
import re
import secrets
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import nats.errors
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription as NatsSubscription
from nats.js import JetStreamContext

from opencrust.bus import errors, subjects
from opencrust.bus.conf import inbox
from opencrust.bus.consumer import Consumer
from opencrust.bus.kv import KeyValue
from opencrust.bus.message import EXPECTED_LAST_SUBJECT_SEQUENCE, MESSAGE_ID, TTL, Message, Stored
from opencrust.identity import BUS_HOSTNAME, Identity
from opencrust.telemetry import spans
from opencrust.telemetry.propagation import inject

log = logging.getLogger(__name__)

WATCHDOG_INTERVAL = 5.0
RETRY_PAUSE = 0.25

Handler = Callable[[Message], Awaitable[None]]
_VIOLATION = re.compile(r"permissions violation for (publish|subscription) to \"([^\"]+)\"")
NO_RESPONDERS = "503"


@dataclass(slots=True, eq=False)
class _Awaited:
    subject: str
    future: "asyncio.Future[Message]"


class Subscription:
    """A live subscription; it survives reconnects."""

    def __init__(self, inner: NatsSubscription) -> None:
        self._inner = inner

    async def unsubscribe(self) -> None:
        """Stop receiving. Safe when the connection is gone."""
        with contextlib.suppress(nats.errors.Error):
            await self._inner.unsubscribe()


class Bus:
    """One service's connection to the bus, over TLS 1.3 with its own certificate.

    It reconnects for ever. :attr:`lost` ends only if the server turned this identity away for good; the service should
    then exit, so that its supervisor starts it with fresh certificates.
    """

    def __init__(self, service: str) -> None:
        self.service = service
        self.lost: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._client = Client()
        self._inbox = f"{inbox(service)}.{secrets.token_hex(8)}"
        self._next_reply = 0
        self._awaited: dict[str, _Awaited] = {}
        self._up = asyncio.Event()
        self._on_reconnect: list[Callable[[], Awaitable[None]]] = []
        self._watchdog: asyncio.Task[None] | None = None
        self._closing = False
        self._refused_subscriptions: dict[str, asyncio.Future[None]] = {}

    @classmethod
    async def connect(
        cls, url: str, identity: Identity, *, name: str | None = None, timeout: float | None = 10.0
    ) -> "Bus":
        """Connect as ``identity``; wait up to ``timeout`` seconds for the server (None: for ever).

        Raises:
            Disconnected: no server answered in time, or it refused this certificate.
        """
        bus = cls(identity.service)
        context = identity.client_context()
        try:
            async with asyncio.timeout(timeout):
                await bus._client.connect(
                    url,
                    name=name or identity.service,
                    tls=context,
                    tls_hostname=BUS_HOSTNAME,  # in the server's certificate, whatever address it is reached at
                    inbox_prefix=inbox(identity.service),
                    max_reconnect_attempts=-1,
                    reconnect_time_wait=RETRY_PAUSE,  # type: ignore[arg-type] # seconds; fractions work
                    ping_interval=10,
                    max_outstanding_pings=2,
                    error_cb=bus._on_error,
                    disconnected_cb=bus._on_disconnected,
                    reconnected_cb=bus._on_reconnected,
                    closed_cb=bus._on_closed,
                )
        except (TimeoutError, nats.errors.Error, OSError) as error:
            bus._closing = True
            await bus._client.close()
            raise errors.Disconnected(f"no connection to the bus at {url}: {error or 'no answer in time'}") from None
        await bus._client.subscribe(f"{bus._inbox}.*", cb=bus._on_reply)
        await bus._barrier()
        bus._up.set()
        bus._watchdog = asyncio.create_task(bus._watch())
        return bus

    @property
    def connected(self) -> bool:
        """Whether the connection stands now."""
        return self._up.is_set()

    def on_reconnect(self, callback: Callable[[], Awaitable[None]]) -> None:
        """Call ``callback`` after every reconnect: core messages may have been missed meanwhile."""
        self._on_reconnect.append(callback)

    async def wait_connected(self) -> None:
        """Return when the connection stands."""
        await self._up.wait()

    async def close(self) -> None:
        """Close; awaited replies end with :class:`~opencrust.bus.errors.Disconnected`."""
        self._closing = True
        if self._watchdog is not None:
            self._watchdog.cancel()
        self._fail_awaited(errors.Disconnected("the connection was closed"))
        with contextlib.suppress(nats.errors.Error, OSError, TimeoutError):
            await asyncio.wait_for(self._client.flush(), 1)
        await self._client.close()

    async def publish(self, subject: str, data: bytes, *, headers: Mapping[str, str] | None = None) -> None:
        """Publish on core NATS: at most once, no answer. A refusal is logged.

        Raises:
            Disconnected: the connection is down; nothing is kept for later.
            PayloadTooLarge: over 1 MiB.
        """
        await self._send(subject, data, "", _traced(headers))

    async def publish_stored(
        self,
        subject: str,
        data: bytes,
        *,
        message_id: str | None = None,
        headers: Mapping[str, str] | None = None,
        expect_last: int | None = None,
        ttl: int | None = None,
        timeout: float = 5.0,
    ) -> Stored:
        """Publish into a stream and wait until it is stored.

        With a ``message_id`` the call is idempotent, so it is repeated over a reconnect until ``timeout`` (seconds).

        Args:
            message_id: ``Nats-Msg-Id``; the stream keeps one message per id within its window.
            expect_last: compare-and-set: the sequence of the subject's last message (0: there is none).
            ttl: the message lives this many seconds.

        Raises:
            StreamFull: back-pressure; nothing was stored.
            WrongRevision: ``expect_last`` does not hold.
            Denied, PayloadTooLarge, NotFound: it can never succeed as it is (NotFound: no stream keeps this subject).
            Timeout, Disconnected: the outcome is unknown.
        """
        carried = dict(headers or {})
        if message_id is not None:
            carried[MESSAGE_ID] = message_id
        if expect_last is not None:
            carried[EXPECTED_LAST_SUBJECT_SEQUENCE] = str(expect_last)
        if ttl is not None:
            carried[TTL] = str(ttl)
        with _producer_span(subject, message_id, len(data)):
            inject(carried)
            deadline = asyncio.get_running_loop().time() + timeout
            while True:
                left = deadline - asyncio.get_running_loop().time()
                try:
                    return _stored(await self._call(subject, data, carried, left))
                except errors.NoResponders:
                    failure: errors.BusError = errors.NotFound(f"no stream keeps {subject}")
                    if message_id is None:
                        raise failure from None
                except errors.Disconnected as error:
                    if message_id is None:
                        raise
                    failure = error
                # A server that has just started answers "no responders" until JetStream is up: idempotent, so again.
                if asyncio.get_running_loop().time() + RETRY_PAUSE >= deadline:
                    raise failure
                await asyncio.sleep(RETRY_PAUSE)

    async def request(
        self, subject: str, data: bytes, *, headers: Mapping[str, str] | None = None, timeout: float = 2.0
    ) -> Message:
        """Ask and wait up to ``timeout`` seconds for one answer.

        Raises:
            NoResponders, Timeout, Denied, Disconnected, PayloadTooLarge
        """
        return await self._call(subject, data, _traced(headers), timeout)

    async def respond(self, message: Message, data: bytes, *, headers: Mapping[str, str] | None = None) -> None:
        """Answer a request. Never echoes its headers back. Does nothing where no answer is expected."""
        if message.reply:
            await self._send(message.reply, data, "", dict(headers) if headers else None)

    async def subscribe(self, subject: str, handler: Handler, *, queue: str = "") -> Subscription:
        """Call ``handler`` for every message, one at a time. An exception of its is logged; the next message comes.

        Raises:
            Denied: this identity may not subscribe there.
        """

        async def deliver(raw: Msg) -> None:
            try:
                await handler(_message(raw))
            except Exception:
                log.exception("handler of %s failed", subjects.template_of(raw.subject))

        refused: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._refused_subscriptions[subject.lower()] = refused
        try:
            inner = await self._client.subscribe(subject, queue=queue, cb=deliver)
            await self._barrier()
        finally:
            self._refused_subscriptions.pop(subject.lower(), None)
        if refused.done():
            raise errors.Denied("subscribe to", subject)
        return Subscription(inner)

    def kv(self, bucket: str) -> KeyValue:
        """A key-value bucket."""
        return KeyValue(self, bucket)

    def consumer(self, stream: str, durable: str) -> Consumer:
        """A durable to pull from."""
        return Consumer(self, stream, durable)

    def jetstream_manager(self) -> JetStreamContext:
        """nats-py's own JetStream client: for :mod:`opencrust.bus.topology`, and tests that look behind the scenes."""
        return self._client.jetstream(timeout=10)

    async def reload_server(self) -> None:
        """Have the connected server read its configuration and certificates again. For the identity ``reloader`` alone.

        Raises:
            ApiError: the new configuration is not good; the server keeps the old one.
        """
        server: str = self._client._server_info["server_id"]
        answer = json.loads((await self.request(f"$SYS.REQ.SERVER.{server}.RELOAD", b"{}", timeout=10)).data)
        if "error" in answer:
            raise errors.ApiError(answer["error"].get("code", 0), answer["error"].get("description", "not reloaded"))

    # -- the table of awaited replies

    def expect_reply(self, subject: str) -> tuple[str, "asyncio.Future[Message]"]:
        """A fresh reply subject, and the future of its first message. For :mod:`opencrust.bus` only.

        The future ends with Denied when a publish to ``subject`` is refused and with Disconnected when the connection
        goes down. Give it back with :meth:`forget_reply`.
        """
        self._next_reply += 1
        token = str(self._next_reply)
        future: asyncio.Future[Message] = asyncio.get_running_loop().create_future()
        self._awaited[token] = _Awaited(subject.lower(), future)
        return f"{self._inbox}.{token}", future

    def forget_reply(self, reply: str) -> None:
        """No longer wait for what comes on ``reply``."""
        self._awaited.pop(reply.rsplit(".", 1)[-1], None)

    def new_inbox(self) -> str:
        """A subject of this service's own that only it may subscribe to."""
        self._next_reply += 1
        return f"{self._inbox}.own.{self._next_reply}"

    async def send_for_reply(
        self, subject: str, data: bytes, reply: str, headers: dict[str, str] | None = None
    ) -> None:
        """Publish with a reply subject. For :mod:`opencrust.bus` only."""
        await self._send(subject, data, reply, headers)

    async def _call(self, subject: str, data: bytes, headers: dict[str, str] | None, timeout: float) -> Message:
        reply, future = self.expect_reply(subject)
        try:
            async with asyncio.timeout(max(timeout, 0)):
                await self._up.wait()
                await self._send(subject, data, reply, headers)
                answer = await future
        except TimeoutError:
            if not self._up.is_set():
                raise errors.Disconnected(f"the bus is away; nothing was sent to {subject}") from None
            raise errors.Timeout(f"no answer from {subject} within {timeout:g} s") from None
        finally:
            self.forget_reply(reply)
        if answer.status == NO_RESPONDERS and not answer.data:
            raise errors.NoResponders(f"nobody answers on {subject}")
        return answer

    async def _send(self, subject: str, data: bytes, reply: str, headers: dict[str, str] | None) -> None:
        if not self._up.is_set():
            raise errors.Disconnected("the bus is away")
        try:
            await self._client.publish(subject, data, reply=reply, headers=headers or None)
        except nats.errors.MaxPayloadError:
            raise errors.PayloadTooLarge(f"{len(data)} bytes to {subject}; the bus takes 1 MiB") from None
        except (nats.errors.ConnectionClosedError, nats.errors.OutboundBufferLimitError, OSError) as error:
            raise errors.Disconnected(str(error)) from None

    async def _on_reply(self, raw: Msg) -> None:
        awaited = self._awaited.get(raw.subject.rsplit(".", 1)[-1])
        if awaited is not None and not awaited.future.done():
            awaited.future.set_result(_message(raw))

    def _fail_awaited(self, error: errors.BusError, subject: str | None = None) -> None:
        for awaited in list(self._awaited.values()):
            if subject in (None, awaited.subject) and not awaited.future.done():
                awaited.future.set_exception(error)
                awaited.future.exception()  # read once: a call that has timed out meanwhile leaves no warning

    # -- what nats-py tells

    async def _on_error(self, error: Exception) -> None:
        violation = _VIOLATION.search(str(error).lower())
        if violation is None:
            if not self._closing:
                log.warning("bus: %s", error or type(error).__name__)
            return
        action, subject = violation[1], violation[2]
        if action == "publish":
            log.error("the bus refused a publish to %s", subject)
            self._fail_awaited(errors.Denied("publish to", subject), subject)
        elif (refused := self._refused_subscriptions.get(subject)) is not None and not refused.done():
            refused.set_result(None)

    async def _on_disconnected(self) -> None:
        self._up.clear()
        self._fail_awaited(errors.Disconnected("the connection to the bus went down"))
        if not self._closing:
            log.warning("bus: connection lost; reconnecting")

    async def _on_reconnected(self) -> None:
        self._up.set()
        log.info("bus: connected again")
        for callback in self._on_reconnect:
            try:
                await callback()
            except errors.BusError as error:
                log.warning("after the reconnect: %s", error)

    async def _on_closed(self) -> None:
        self._up.clear()
        if not self._closing and not self.lost.done():
            self.lost.set_result("the bus closed this connection for good: is this service's certificate still valid?")

    async def _barrier(self) -> None:
        """Return when the server has seen all that was sent. One flush may overtake what is still queued."""
        for _ in range(2):
            await self._client.flush()

    async def _watch(self) -> None:
        """nats-py says "connected" for ever after an unexpected error in its read loop: notice, and connect anew."""
        while True:
            await asyncio.sleep(WATCHDOG_INTERVAL)
            reading: asyncio.Task[Any] | None = self._client._reading_task
            if self._client.is_connected and reading is not None and reading.done():
                log.error("bus: the read loop died; connecting anew")
                await self._client.force_reconnect()


def _traced(headers: Mapping[str, str] | None) -> dict[str, str]:
    carried = dict(headers or {})
    inject(carried)
    return carried


def _producer_span(subject: str, message_id: str | None, size: int) -> AbstractContextManager[object]:
    """A span for what has a message id; bookkeeping (keys, leases) is no step of a message and gets none."""
    if message_id is None:
        return contextlib.nullcontext()
    return spans.producer(subjects.template_of(subject), subject, message_id=message_id, size=size)


def _message(raw: Msg) -> Message:
    return Message(raw.subject, raw.data, raw.headers or {}, raw.reply)


def _stored(answer: Message) -> Stored:
    try:
        ack = json.loads(answer.data)
    except ValueError:
        raise errors.ApiError(0, f"not an acknowledgement (status {answer.status or 'none'})") from None
    if "error" in ack:
        raise errors.from_api(ack["error"].get("err_code", 0), ack["error"].get("description", "refused"))
    return Stored(ack["stream"], ack["seq"], ack.get("duplicate", False))
