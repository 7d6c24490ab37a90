"""What the engine asks of Slack."""

import asyncio
import contextlib
import json
import logging
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any, ClassVar, Final
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
from opencrust.channel.text import SLACK
from opencrust.config import ChannelMode
from opencrust.contracts import ReplyAddress
from opencrust.credentials import CredentialError
from opencrust_channel_slack import sending, webhook
from opencrust_channel_slack.api import DEFAULT_BASE, Api, NoAnswer, Refusal
from opencrust_channel_slack.connection import Connection
from opencrust_channel_slack.events import Me
from opencrust_channel_slack.intake import Intake
from opencrust_channel_slack.socket import Sockets

PATH: Final = "/slack/events"
"""Of all of Slack's calls in HTTP mode: events, commands, buttons."""
CONNECTIONS: Final = 2
LOOK_BACK: Final = 50
"""Messages of a conversation that are looked through for one that may have been sent."""
ASK_EVERY: Final = 60.0
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
        self._intake: Intake | None = None
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
        broken: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def failed(error: BaseException) -> None:
            if not broken.done():
                known = isinstance(error, (BusError, CredentialError))
                broken.set_exception(error if known else LinkError(f"an event failed: {type(error).__name__}"))

        async with self._taking(emit, failed) as intake:
            if self._http:
                await self._wait_for_calls(intake, broken, stop)
            else:
                await self._hold_sockets(intake, broken, stop)

    @contextlib.asynccontextmanager
    async def _taking(self, emit: Emit, failed: Callable[[BaseException], None]) -> AsyncIterator[Intake]:
        intake = Intake(self._runtime, self._api, self._me, emit, self._flushed, failed)
        await intake.start()
        self._intake = intake
        try:
            yield intake
            await intake.drain()  # it is to stop: what is in hand is stored and acknowledged yet
        finally:
            self._intake = None
            if self._sockets is not None:
                await self._sockets.close()
            await intake.close()

    async def _flushed(self, apart: object) -> bool:
        return self._sockets is None or await self._sockets.flushed(apart)

    async def _hold_sockets(self, intake: Intake, broken: asyncio.Future[None], stop: asyncio.Event) -> None:
        def take(envelope: Mapping[str, Any], connection: Connection) -> None:
            number, kind = str(envelope["envelope_id"]), str(envelope.get("type"))
            answers = kind == "slash_commands" and bool(envelope.get("accepts_response_payload"))

            async def done(fate: Fate) -> None:
                await connection.acknowledge(number, acknowledgement(fate) if answers else None)

            intake.take(kind, envelope.get("payload"), number, done, connection)

        count = max(1, min(9, int(self._runtime.settings.number("connections", CONNECTIONS))))
        self._sockets = Sockets(self._runtime, self._api, count, take, intake.bury, intake.begun, intake.missed.lost)
        await self._sockets.run(broken, stop)

    async def _wait_for_calls(self, intake: Intake, broken: asyncio.Future[None], stop: asyncio.Event) -> None:
        """See now and then that Slack still knows us; it calls by itself."""
        intake.begun()
        while not stop.is_set():
            await self.connect()
            self._runtime.link.alive()
            stopping = asyncio.create_task(stop.wait())
            watched: list[asyncio.Future[Any]] = [stopping, broken]
            await asyncio.wait(watched, timeout=ASK_EVERY, return_when=asyncio.FIRST_COMPLETED)
            stopping.cancel()
            if broken.done():
                broken.result()

    def routes(self) -> Sequence[Route]:
        """HTTP mode's one path."""
        return [Route("POST", PATH, self._called)] if self._http else []

    async def _called(self, request: WebhookRequest, emit: Emit) -> WebhookReply:
        """One call. It is answered when its event is stored: within Slack's three seconds, or it comes again."""
        del emit  # what comes goes through the intake, which keeps the order
        secret = await self._runtime.secret("signing_secret")
        if not webhook.verified(request, secret.reveal_text()):
            return webhook.UNSIGNED
        found = webhook.envelope(request)
        if found is None:
            return WebhookReply(200)  # signed, and nothing that we know: Slack need not bring it again
        kind, payload = found
        if kind == "url_verification":
            return WebhookReply(200, str(payload.get("challenge") or "").encode())
        fate: asyncio.Future[Fate] = asyncio.get_running_loop().create_future()

        async def done(given: Fate) -> None:
            if not fate.done():
                fate.set_result(given)

        intake = self._intake
        if intake is None or not intake.take(kind, payload, webhook.number(request), done):
            return webhook.LATER
        try:
            async with asyncio.timeout(webhook.ANSWER_SECONDS):
                known = await fate
        except TimeoutError:  # it stays in its queue; when Slack brings it again, it is known
            return webhook.LATER
        if kind == "slash_commands":
            return WebhookReply(200, json.dumps(acknowledgement(known)).encode(), "application/json")
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
        return await self._update(message, sending.edited(part, message))

    async def decided(self, address: ReplyAddress, message: str, part: OutPart) -> SendResult:
        """Change a question of ours: what was decided, and no buttons."""
        return await self._update(message, sending.decided(part, message))

    async def _update(self, message: str, body: Mapping[str, Any]) -> SendResult:
        try:
            await self._api.call("chat.update", **body)
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
        return {
            "connections": self._sockets.connected,
            "connections_begun": self._sockets.begun,
            "connections_dead": self._sockets.dead,
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
