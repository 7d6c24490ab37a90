"""What the engine asks of Slack."""

import asyncio
import contextlib
import json
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Any, ClassVar, Final, TypeVar
from urllib.parse import urlsplit

import aiohttp

from opencrust.bus import BusError
from opencrust.channel.adapter import (
    Capabilities,
    ChannelAdapter,
    Emit,
    Fate,
    Ingest,
    LinkError,
    NotSent,
    Outcome,
    OutPart,
    RemoteFile,
    Retry,
    Route,
    Runtime,
    SendResult,
    Sent,
    Showing,
    Unknown,
    WebhookReply,
    WebhookRequest,
    read_limited,
)
from opencrust.channel.in_order import InOrder
from opencrust.channel.text import SLACK
from opencrust.config import ChannelMode
from opencrust.contracts import ReplyAddress
from opencrust.credentials import CredentialError
from opencrust_channel_slack import sending, webhook
from opencrust_channel_slack.api import DEFAULT_BASE, Api, NoAnswer, Refusal
from opencrust_channel_slack.catchup import CatchUp, place_of
from opencrust_channel_slack.events import Me, event_of
from opencrust_channel_slack.socket import Connection, Sockets

log = logging.getLogger(__name__)
_Given = TypeVar("_Given")
_Result = TypeVar("_Result")

PATH: Final = "/slack/events"
"""Of all of Slack's calls in HTTP mode: events, commands, buttons."""
CONNECTIONS: Final = 2
LOOK_BACK: Final = 50
"""Messages of a conversation that are looked through for one that may have been sent."""
ASK_EVERY: Final = 60.0
STORE_PAUSES: Final = (0.1, 0.3, 1.0, 2.0)
MOST_WAITING: Final = 5_000
NOT_KNOWN: Final = "I do not know you here. Write to me in private first."


class SlackAdapter(ChannelAdapter):
    """Slack, as one app in one workspace.

    Settings: credentials ``bot_token`` (xoxb-…), ``app_token`` (xapp-…, Socket Mode), ``signing_secret`` (HTTP mode);
    ``api_base`` (``https://slack.com/api/``); option ``connections`` (per replica; Slack allows ten in all).
    """

    name = "slack"
    dialect: ClassVar = SLACK

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._base = runtime.settings.api_base or DEFAULT_BASE
        self._api = Api(self._base, runtime.secret)
        self._me = Me("", "")
        self._sockets: Sockets | None = None
        self._status = True
        self._http = runtime.settings.mode is ChannelMode.WEBHOOK
        self.capabilities = Capabilities(
            ingest=Ingest.ALL,
            pulse=1.5 * ASK_EVERY if self._http else 5.0,
            seen_days=1.0,
            showing=Showing.EDIT,
            showing_every=1.5,  # chat.update: fifty a minute
            typing_every=60.0,
            buttons=True,
            file_in=50 * 1024 * 1024,
            file_out=50 * 1024 * 1024,
            per_conversation=1.0,
        )
        logging.getLogger("slack_sdk").setLevel(logging.CRITICAL)

    async def connect(self) -> str:
        """Ask who we are."""
        try:
            me = await self._api.call("auth.test")
        except (Refusal, NoAnswer) as error:
            raise sending.link_error(error, "bot token (xoxb-…)") from None
        user, team = str(me.get("user_id") or ""), str(me.get("team_id") or me.get("enterprise_id") or "")
        if not user or not team:
            raise LinkError("this is no Slack: it does not say who we are")
        self._me = Me(team, user, str(me.get("bot_id") or ""))
        return team

    async def close(self) -> None:
        """Close all connections."""
        await self._api.close()

    # -- listening

    async def ingest(self, emit: Emit, stop: asyncio.Event) -> None:
        """Hold sockets open; in HTTP mode see that Slack still knows us."""
        if self._http:
            await self._wait_for_calls(stop)
            return
        broken: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def failed(error: BaseException) -> None:
            if not broken.done():
                known = isinstance(error, (BusError, CredentialError))
                broken.set_exception(error if known else LinkError(f"an event failed: {type(error).__name__}"))

        work = InOrder(failed)
        missed = CatchUp(self._runtime, self._api, self._me, partial(patiently, emit))

        def take(envelope: Mapping[str, Any], connection: Connection) -> None:
            if len(work) < MOST_WAITING:  # what is not taken is not acknowledged: Slack brings it again
                work.put(_channel(envelope), partial(self._handle, emit, missed, envelope, connection))

        def begun() -> None:
            missed.begin()
            work.put("", partial(_read_again, missed, work))

        count = max(1, min(9, int(self._runtime.settings.number("connections", CONNECTIONS))))
        self._sockets = Sockets(self._runtime, self._api, count, take, begun)
        flushing = asyncio.create_task(missed.cursors.flushing())
        try:
            await self._sockets.run(broken, stop)
        finally:
            flushing.cancel()
            await asyncio.gather(flushing, return_exceptions=True)
            await work.close()
            with contextlib.suppress(BusError):
                await missed.cursors.flush()

    async def _handle(self, emit: Emit, missed: CatchUp, envelope: Mapping[str, Any], connection: Connection) -> None:
        """Hand an envelope on, and acknowledge it after."""
        kind, payload = str(envelope.get("type")), envelope.get("payload")
        fate = Fate.DROPPED
        try:
            event = event_of(kind, payload if isinstance(payload, Mapping) else {}, self._me)
        except Exception as error:  # noqa: BLE001 - one odd event must not hold up the others
            log.warning("an event of Slack's was not understood: %s", type(error).__name__)
            event = None
        if event is not None:
            if kind == "events_api" and isinstance(payload, Mapping) and event.message:
                place = place_of(payload["event"])
                await patiently(partial(missed.before, place), event.message)
                fate = await patiently(emit, event)
                missed.cursors.advance(place, event.message)
            else:
                fate = await patiently(emit, event)
        answer = None
        if envelope.get("accepts_response_payload") and kind == "slash_commands":
            answer = acknowledgement(fate)
        await connection.acknowledge(str(envelope["envelope_id"]), answer)

    async def _wait_for_calls(self, stop: asyncio.Event) -> None:
        while not stop.is_set():
            await self.connect()
            self._runtime.link.alive()
            try:
                async with asyncio.timeout(ASK_EVERY):
                    await stop.wait()
            except TimeoutError:
                continue

    def routes(self) -> Sequence[Route]:
        """HTTP mode's one path."""
        return [Route("POST", PATH, self._called)] if self._http else []

    async def _called(self, request: WebhookRequest, emit: Emit) -> WebhookReply:
        secret = await self._runtime.secret("signing_secret")
        if not webhook.verified(request, secret.reveal_text()):
            return webhook.UNSIGNED
        found = webhook.envelope(request)
        if found is None:
            return WebhookReply(200)  # signed, and nothing that we know: Slack need not bring it again
        kind, payload = found
        if kind == "url_verification":
            return WebhookReply(200, str(payload.get("challenge") or "").encode())
        event = event_of(kind, payload, self._me)
        fate = Fate.DROPPED if event is None else await emit(event)
        if kind == "slash_commands":
            return WebhookReply(200, json.dumps(acknowledgement(fate)).encode(), "application/json")
        return WebhookReply(200)

    # -- sending

    async def send(self, part: OutPart) -> SendResult:
        """Post a message. If it is not known whether Slack has it, the conversation is asked."""
        try:
            if part.file is not None:
                return await self._send_file(part)
            posted = await self._api.call("chat.postMessage", **sending.message(part))
            return Sent(str(posted.get("ts") or ""))
        except Refusal as error:
            if error.status == 429:
                self._runtime.link.limited()
            result = sending.refused(error)
        except NoAnswer as error:
            result = sending.unanswered(error)
        return await self._cleared_up(part, result) if isinstance(result, Unknown) else result

    async def _cleared_up(self, part: OutPart, result: Unknown) -> SendResult:
        match await self.reconcile(part):
            case Sent(id):
                return Sent(id)
            case NotSent():
                return Retry(sending.SERVER_PAUSE, result.reason)
        return result

    async def _send_file(self, part: OutPart) -> SendResult:
        """Slack's three steps; only the last one shows anything."""
        file = part.file
        assert file is not None
        try:
            place = await self._api.call("files.getUploadURLExternal", filename=file.name, length=len(file.data))
            async with self._api.session.post(str(place["upload_url"]), data=file.data) as answer:
                if answer.status != 200:
                    return Retry(sending.SERVER_PAUSE, f"Slack took no file: {answer.status}")
        except Refusal as error:
            result = sending.refused(error)
            return Retry(sending.SERVER_PAUSE, result.reason) if isinstance(result, Unknown) else result
        except NoAnswer as error:
            return Retry(sending.SERVER_PAUSE, str(error))
        except (aiohttp.ClientError, TimeoutError, OSError, KeyError) as error:
            return Retry(sending.SERVER_PAUSE, f"Slack took no file ({type(error).__name__})")
        where = {"channel_id": part.address.conversation}
        if part.address.thread:
            where["thread_ts"] = part.address.thread
        if part.text:
            where["initial_comment"] = part.text
        files = [{"id": str(place["file_id"]), "title": file.name}]
        await self._api.call("files.completeUploadExternal", files=files, **where)
        return Sent(str(place["file_id"]))

    async def edit(self, address: ReplyAddress, message: str, part: OutPart) -> SendResult:
        """Change one of our messages."""
        try:
            await self._api.call("chat.update", **sending.edited(part, message))
            return Sent(message)
        except Refusal as error:
            if error.status == 429:
                self._runtime.link.limited()
            return sending.refused(error)
        except NoAnswer as error:
            return sending.unanswered(error)

    async def reconcile(self, part: OutPart) -> Outcome:
        """Look for the part's key in the metadata of the conversation's latest messages."""
        if not part.key or part.file is not None:
            return Unknown("a file carries no key")
        where: dict[str, Any] = {"channel": part.address.conversation, "limit": LOOK_BACK, "include_all_metadata": True}
        try:
            if part.address.thread:
                found = await self._api.call("conversations.replies", ts=part.address.thread, **where)
            else:
                found = await self._api.call("conversations.history", **where)
        except (Refusal, NoAnswer) as error:
            return Unknown(f"Slack could not be asked: {error}")
        messages = found.get("messages")
        for posted in messages if isinstance(messages, list) else []:
            if sending.carries(posted, part.key):
                return Sent(str(posted.get("ts") or ""))
        return NotSent()

    async def private(self, user: str) -> ReplyAddress:
        """Open the private conversation with a user."""
        try:
            opened = await self._api.call("conversations.open", users=user)
        except (Refusal, NoAnswer) as error:
            raise sending.link_error(error, "bot token (xoxb-…)") from None
        channel = opened.get("channel")
        number = channel.get("id") if isinstance(channel, Mapping) else None
        if not number:
            raise LinkError("Slack opened no private conversation")
        return ReplyAddress(channel=self.name, account=self._me.account, conversation=str(number))

    async def typing(self, address: ReplyAddress) -> None:
        """The status of an assistant's thread; apps that are no assistants have none."""
        if not self._status or not address.thread:
            return
        try:
            where = {"channel_id": address.conversation, "thread_ts": address.thread}
            await self._api.call("assistant.threads.setStatus", status="is thinking…", **where)
        except Refusal as error:
            self._status = error.status == 429
        except NoAnswer as error:
            raise sending.link_error(error, "bot token (xoxb-…)") from None

    async def fetch(self, file: RemoteFile, limit: int) -> bytes:
        """A file, from Slack's own hosts only: the token goes with the request."""
        if not self._is_theirs(file.reference):
            raise LinkError("the file does not lie at Slack", refused=True)
        token = await self._runtime.secret("bot_token")
        headers = {"Authorization": f"Bearer {token.reveal_text()}"}
        try:
            async with self._api.session.get(file.reference, headers=headers, allow_redirects=False) as answer:
                if answer.status != 200:
                    raise LinkError(f"Slack answered {answer.status}", refused=answer.status in (302, 403, 404))
                if answer.content_type == "text/html" and file.media_type != "text/html":
                    raise LinkError("Slack asks to sign in: the scope files:read is missing", refused=True)
                return await read_limited(answer.content.iter_chunked(65_536), limit)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise LinkError(f"the file was not fetched ({type(error).__name__})") from None

    def facts(self) -> Mapping[str, object]:
        """How many connections there are, and how often one was dead."""
        if self._sockets is None:
            return {"connections": 0}
        connections = self._sockets.connections
        return {
            "connections": self._sockets.connected,
            "connections_begun": sum(connection.begun for connection in connections),
            "connections_dead": sum(connection.dead for connection in connections),
        }

    def _is_theirs(self, url: str) -> bool:
        asked, ours = urlsplit(url), urlsplit(self._base)
        host = asked.hostname or ""
        if asked.scheme == "https" and (host == "slack.com" or host.endswith(".slack.com")):
            return True
        configured = self._runtime.settings.api_base is not None
        return configured and (asked.scheme, asked.netloc) == (ours.scheme, ours.netloc)


def acknowledgement(fate: Fate) -> dict[str, Any]:
    """The answer to a slash command, shown to nobody but who used it."""
    text = NOT_KNOWN if fate in (Fate.STRANGER, Fate.DROPPED) else "✓"
    return {"response_type": "ephemeral", "text": text}


async def patiently(work: Callable[[_Given], Awaitable[_Result]], given: _Given) -> _Result:
    """Do what needs the bus, however long that is away; Slack meanwhile brings the event again, which does no harm."""
    attempt = 0
    while True:
        try:
            return await work(given)
        except BusError as error:
            if attempt == 0:
                log.warning("an event waits for the bus: %s", error)
            await asyncio.sleep(STORE_PAUSES[min(attempt, len(STORE_PAUSES) - 1)])
            attempt += 1


async def _read_again(missed: CatchUp, work: InOrder) -> None:
    """After a new connection: what was missed in the places that we know, each in its channel's order."""
    for place in await missed.cursors.met():
        work.put(place.partition(":")[0], partial(patiently, missed.read, place))


def _channel(envelope: Mapping[str, Any]) -> str:
    """What must stay in order."""
    payload = envelope.get("payload")
    inner = payload.get("event") if isinstance(payload, Mapping) else None
    channel = inner.get("channel") if isinstance(inner, Mapping) else None
    return channel if isinstance(channel, str) and channel else str(envelope.get("type"))
