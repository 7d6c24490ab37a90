"""What the engine asks of Discord."""

import asyncio
import logging
from collections.abc import Mapping
from typing import ClassVar, Final
from urllib.parse import urlsplit

import aiohttp

from opencrust.channel.adapter import (
    Capabilities,
    ChannelAdapter,
    Emit,
    Ingest,
    LinkError,
    NotSent,
    Outcome,
    OutPart,
    Refused,
    RemoteFile,
    Runtime,
    SendResult,
    Sent,
    Showing,
    Unknown,
    read_limited,
)
from opencrust.channel.text import DISCORD
from opencrust.contracts import ReplyAddress
from opencrust_channel_discord import sending
from opencrust_channel_discord.events import Me
from opencrust_channel_discord.gateway import Listener, NoContent
from opencrust_channel_discord.rest import DEFAULT_BASE, NoAnswer, Refusal, Rest, link_error

FILE_HOSTS: Final = frozenset({"cdn.discordapp.com", "media.discordapp.net"})
UNKNOWN_MESSAGE, TOO_OLD = 10008, 30046


class DiscordAdapter(ChannelAdapter):
    """Discord, as one bot.

    Settings: credential ``token``; ``api_base`` (``https://discord.com/api/v10``); options ``gateway_url`` (where to
    connect instead of what Discord says), ``message_content`` (false: only messages that name the bot, and private
    ones).
    """

    name = "discord"
    dialect: ClassVar = DISCORD
    capabilities = Capabilities(
        ingest=Ingest.TWIN,
        pulse=45.0,  # until the gateway says its own interval
        idempotent=True,
        seen_days=8.0,  # a backfill reaches as far back as we were away
        showing=Showing.EDIT,
        showing_every=1.3,  # edits share the channel's five calls in five seconds
        typing_every=9.0,
        buttons=True,
        file_in=25 * 1024 * 1024,
        file_out=10 * 1024 * 1024,
        per_account=45.0,
    )

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._base = runtime.settings.api_base or DEFAULT_BASE
        self._rest = Rest(self._base, lambda: runtime.secret("token"))
        self._me = Me("")
        self._content = runtime.settings.options.get("message_content") is not False
        self._listener: Listener | None = None
        # discord.py writes what it sends and receives into its logs
        logging.getLogger("discord").setLevel(logging.CRITICAL)

    async def connect(self) -> str:
        """Ask who we are."""
        try:
            me = await self._rest.get("/users/@me")
        except (Refusal, NoAnswer) as error:
            raise link_error(error) from None
        if not isinstance(me, Mapping) or not me.get("id"):
            raise LinkError("this is no Discord: it does not say who we are")
        self._me = Me(str(me["id"]))
        return self._me.id

    async def close(self) -> None:
        """Close all connections."""
        await self._rest.close()

    async def ingest(self, emit: Emit, stop: asyncio.Event) -> None:
        """Listen at the gateway."""
        self._listener = Listener(self._runtime, self._rest, self._me, emit, content=self._content)
        try:
            await self._listener.run(stop)
        except NoContent:
            self._content = False
            raise

    async def send(self, part: OutPart) -> SendResult:
        """Post a message; with the part's key as nonce it is shown once."""
        files = () if part.file is None else (part.file,)
        path = f"/channels/{part.address.thread or part.address.conversation}/messages"
        try:
            return sending.sent(await self._rest.call("POST", path, sending.message(part), files=files))
        except Refusal as error:
            self._limited(error)
            return sending.refused(error)
        except NoAnswer as error:
            return sending.unanswered(error)

    async def edit(self, address: ReplyAddress, message: str, part: OutPart) -> SendResult:
        """Change one of our messages."""
        return await self._change(address, message, sending.edited(part))

    async def decided(self, address: ReplyAddress, message: str, part: OutPart) -> SendResult:
        """The question's words and its outcome, without buttons and box."""
        return await self._change(address, message, {**sending.edited(part), "components": [], "embeds": []})

    async def _change(self, address: ReplyAddress, message: str, body: Mapping[str, object]) -> SendResult:
        path = f"/channels/{address.thread or address.conversation}/messages/{message}"
        try:
            await self._rest.call("PATCH", path, body)
            return Sent(message)
        except Refusal as error:
            self._limited(error)
            if error.code in (UNKNOWN_MESSAGE, TOO_OLD):
                return Refused(str(error))
            return sending.refused(error)
        except NoAnswer as error:
            return sending.unanswered(error)

    async def reconcile(self, part: OutPart) -> Outcome:
        """Look for the nonce among the latest messages. Not finding it means little, as Discord leaves it out of most
        answers; sending again under the same nonce is safe for some minutes."""
        try:
            found = await self._rest.get(f"/channels/{part.address.conversation}/messages", limit=50)
        except (Refusal, NoAnswer) as error:
            return Unknown(str(error))
        for message in found if isinstance(found, list) else []:
            if isinstance(message, Mapping) and part.key and str(message.get("nonce") or "") == part.key:
                return Sent(str(message.get("id")))
        return NotSent()

    async def private(self, user: str) -> ReplyAddress:
        """Open the private conversation with a user."""
        try:
            channel = await self._rest.call("POST", "/users/@me/channels", {"recipient_id": user})
        except (Refusal, NoAnswer) as error:
            raise link_error(error) from None
        if not isinstance(channel, Mapping) or not channel.get("id"):
            raise LinkError("Discord opened no private conversation")
        return ReplyAddress(channel=self.name, account=self._me.id, conversation=str(channel["id"]))

    async def typing(self, address: ReplyAddress) -> None:
        """Shown for ten seconds."""
        try:
            await self._rest.call("POST", f"/channels/{address.thread or address.conversation}/typing")
        except (Refusal, NoAnswer) as error:
            raise link_error(error) from None

    async def fetch(self, file: RemoteFile, limit: int) -> bytes:
        """A file, from Discord's own hosts only."""
        if not self._is_theirs(file.reference):
            raise LinkError("the file does not lie at Discord", refused=True)
        try:
            async with self._rest.session.get(file.reference, allow_redirects=False) as answer:
                if answer.status != 200:
                    raise LinkError(f"Discord answered {answer.status}", refused=answer.status in (403, 404))
                return await read_limited(answer.content.iter_chunked(65_536), limit)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise LinkError(f"the file was not fetched ({type(error).__name__})") from None

    def facts(self) -> Mapping[str, object]:
        """Sessions begun, and whether we may read what does not name us."""
        begun = 0 if self._listener is None else self._listener.sessions
        return {"sessions": begun, "reads_all_texts": self._content, "calls_limited": self._rest.limited}

    def _limited(self, error: Refusal) -> None:
        if error.status == 429:
            self._runtime.link.limited()

    def _is_theirs(self, url: str) -> bool:
        """Whether an address is Discord's, or of the server that stands in for it."""
        asked, ours = urlsplit(url), urlsplit(self._base)
        if asked.hostname in FILE_HOSTS and asked.scheme == "https":
            return True
        return self._runtime.settings.api_base is not None and (asked.scheme, asked.hostname) == (
            ours.scheme,
            ours.hostname,
        )
