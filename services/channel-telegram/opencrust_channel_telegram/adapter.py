"""Telegram for the engine: :class:`TelegramAdapter`."""

import asyncio
import html
import logging
import re
import zlib
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Final

from opencrust.channel.adapter import (
    Capabilities,
    ChannelAdapter,
    Emit,
    Ingest,
    LinkError,
    OutPart,
    RemoteFile,
    Retry,
    Route,
    Runtime,
    SendResult,
    Showing,
    WebhookReply,
    WebhookRequest,
)
from opencrust.channel.text import TELEGRAM
from opencrust.config import ChannelMode
from opencrust.contracts import ReplyAddress
from opencrust_channel_telegram import webhook
from opencrust_channel_telegram.api import DEFAULT_BASE, Answer, BotApi, NoAnswer
from opencrust_channel_telegram.polling import poll
from opencrust_channel_telegram.results import (
    edit_result,
    link_error,
    no_answer,
    refuses_markup,
    refuses_thread,
    send_result,
)
from opencrust_channel_telegram.updates import APPROVE, DENY, Bot, MalformedUpdate, Press, read

log = logging.getLogger(__name__)

POLL_SECONDS: Final = 25
SPARE: Final = 3.0
"""What a poll's answer may take beyond its own waiting before the link is under suspicion."""
GROUP_EDIT_SECONDS: Final = 3.0
FILE_IN: Final = 20 * 1024 * 1024
FILE_OUT: Final = 50 * 1024 * 1024
PHOTO_OUT: Final = 10 * 1024 * 1024
COMMANDS: Final = (
    ("new", "Begin a new conversation"),
    ("stop", "Stop the answer that is being written"),
    ("status", "How things stand"),
    ("help", "What I can do"),
)
_TAG: Final = re.compile(r"</?[a-z][^<>]*>")
_PHOTOS: Final = ("image/jpeg", "image/png", "image/webp")


class TelegramAdapter(ChannelAdapter):
    """One bot. Options in the settings: ``poll_seconds``, ``edits`` (edited messages are passed on, too),
    ``drafts`` (false: a running answer is a message that grows, in private chats too), ``webhook_connections``."""

    name = "telegram"
    dialect = TELEGRAM

    def __init__(self, runtime: Runtime) -> None:
        self._settings = runtime.settings
        self._link = runtime.link
        self._secret = runtime.secret
        self._bury = runtime.bury
        self._poll_seconds = int(min(max(runtime.settings.number("poll_seconds", POLL_SECONDS), 0), 50))
        pulls = runtime.settings.mode is ChannelMode.POLL
        self.capabilities = Capabilities(
            ingest=Ingest.ONE,
            pulse=(self._poll_seconds if pulls else webhook.LOOK_SECONDS) + SPARE,
            seen_days=1,
            showing=Showing.DRAFT,
            showing_every=1.0,
            typing_every=5.0,
            buttons=True,
            file_in=FILE_IN,
            file_out=FILE_OUT,
            per_account=28.0,
        )
        self._api = BotApi(runtime.settings.api_base or DEFAULT_BASE, lambda: runtime.secret("token"))
        self._bot = Bot(0, "")
        self._drafts = runtime.settings.options.get("drafts") is not False
        self._reads_all = False
        self._moved: dict[str, str] = {}
        """Groups that became supergroups: their old id → their new one."""
        self._counts: Counter[str] = Counter()
        self._edits = runtime.settings.options.get("edits") is True
        self._allowed = ["message", "callback_query", *(["edited_message"] if self._edits else [])]

    # -- the link

    async def connect(self) -> str:
        """Ask who we are."""
        me = await self._ask("getMe")
        number, username = me.get("id"), me.get("username")
        if not isinstance(number, int):
            raise LinkError("what answers there is not the Bot API: is api_base right?")
        self._bot = Bot(number, username if isinstance(username, str) else "")  # documented as optional
        self._reads_all = me.get("can_read_all_group_messages") is True
        return str(number)

    async def close(self) -> None:
        """Close the connections."""
        await self._api.close()

    async def ingest(self, emit: Emit, stop: asyncio.Event) -> None:
        """Poll, or see to it that Telegram calls us."""
        await self._announce_commands()

        async def take(update: Any) -> None:
            await self._take(update, emit)

        if self._settings.mode is ChannelMode.POLL:
            await poll(
                self._api,
                self._link,
                take,
                stop,
                seconds=self._poll_seconds,
                allowed=self._allowed,
                webhook_removed=lambda: self._counts.update(webhook_removed=1),
            )
            return
        place = self._settings.webhook
        if place is None:
            raise LinkError("mode is webhook, but no webhook address is configured", refused=True)
        while not stop.is_set():
            await webhook.register(
                self._api,
                place,
                await self._secret("token"),
                allowed=self._allowed,
                connections=int(self._settings.number("webhook_connections", 1)),
            )
            await webhook.watch(self._api, place, self._link, stop)

    def routes(self) -> Sequence[Route]:
        """Where Telegram calls, in webhook mode."""
        if self._settings.mode is ChannelMode.POLL:
            return ()
        return (Route("POST", webhook.PATH, self._called),)

    async def _called(self, request: WebhookRequest, emit: Emit) -> WebhookReply:
        if not webhook.is_genuine(request, await self._secret("token")):
            self._counts["forged"] += 1
            return webhook.refused()
        try:
            update = webhook.update_in(request)
        except ValueError:  # Telegram would bring it for ever
            self._counts["malformed"] += 1
            await self._bury("", "a call of Telegram's that is no JSON", request.body[:4096].decode(errors="replace"))
            return WebhookReply(200)
        await self._take(update, emit)
        return WebhookReply(200)

    async def _take(self, update: Any, emit: Emit) -> None:
        """Take one update over. What cannot be read is a dead letter: it would come again for ever."""
        try:
            event, press = read(update, self._bot, edits=self._edits)
        except MalformedUpdate as error:
            self._counts["malformed"] += 1
            id = str(update.get("update_id", "")) if isinstance(update, dict) else ""
            await self._bury(id[:64], f"an update of Telegram's without a valid {error}", update)
            return
        if event is None:
            self._counts["ignored"] += 1
        else:
            await emit(event)
        if press is not None:
            await self._answer_press(press)

    async def _answer_press(self, press: Press) -> None:
        """Otherwise the button shows an hourglass. It does not matter whether it works."""
        try:
            await self._api.call("answerCallbackQuery", {"callback_query_id": press.id}, timeout=5)
        except NoAnswer:
            log.debug("a press was not answered")

    async def _announce_commands(self) -> None:
        commands = [{"command": name, "description": text} for name, text in COMMANDS]
        try:
            await self._api.call("setMyCommands", {"commands": commands}, timeout=5)
        except NoAnswer:
            log.debug("the commands were not announced")

    # -- sending

    async def send(self, part: OutPart) -> SendResult:
        """One message; a second call only after Telegram refused the first."""
        address = part.address
        if part.file is not None:
            return await self._send_file(part)
        parameters: dict[str, object] = {
            **self._target(address),
            "text": part.text,
            "parse_mode": "HTML",
            "link_preview_options": {"is_disabled": True},
        }
        if part.number == 0 and address.message and _is_group(address):
            parameters["reply_parameters"] = {
                "message_id": int(address.message),
                "allow_sending_without_reply": True,
            }
        if part.card is not None:
            parameters["reply_markup"] = keyboard(part.card.id)
        return await self._send("sendMessage", parameters, address)

    async def _send(self, method: str, parameters: dict[str, object], address: ReplyAddress) -> SendResult:
        try:
            answer = await self._api.call(method, parameters)
            if (again := self._after_refusal(answer, parameters, address)) is not None:
                answer = await self._api.call(method, again)
        except NoAnswer as error:
            return no_answer(error)
        return self._noted(send_result(answer))

    def _after_refusal(
        self, answer: Answer, parameters: dict[str, object], address: ReplyAddress
    ) -> dict[str, object] | None:
        """What to send instead of what was refused; None where nothing else can be done."""
        if answer.migrate_to is not None:
            self._moved[address.conversation] = str(answer.migrate_to)
            return {**parameters, "chat_id": answer.migrate_to}
        if refuses_markup(answer) and "parse_mode" in parameters:
            log.error("Telegram refused the formatting; the words go without it")
            return {**{k: v for k, v in parameters.items() if k != "parse_mode"}, "text": bare(str(parameters["text"]))}
        if refuses_thread(answer) and "message_thread_id" in parameters:
            return {name: value for name, value in parameters.items() if name != "message_thread_id"}
        return None

    async def _send_file(self, part: OutPart) -> SendResult:
        file = part.file
        assert file is not None
        method, field = "sendDocument", "document"
        if file.media_type in _PHOTOS and len(file.data) <= PHOTO_OUT:
            method, field = "sendPhoto", "photo"
        elif file.media_type == "audio/ogg":
            method, field = "sendVoice", "voice"
        target = self._target(part.address)
        try:
            answer = await self._api.call(method, target, file=(field, file), timeout=55)
            if (again := self._after_refusal(answer, target, part.address)) is not None:
                target = again
                answer = await self._api.call(method, target, file=(field, file), timeout=55)
            if answer.code == 400 and method != "sendDocument":  # not as a picture or a voice, but as the file it is
                answer = await self._api.call("sendDocument", target, file=("document", file), timeout=55)
        except NoAnswer as error:
            return no_answer(error)
        return self._noted(send_result(answer))

    def _noted(self, result: SendResult) -> SendResult:
        if isinstance(result, Retry) and "slower" in result.reason:
            self._link.limited()
        return result

    async def edit(self, address: ReplyAddress, message: str, part: OutPart) -> SendResult:
        """Change a message of ours."""
        parameters: dict[str, object] = {
            "chat_id": self._target(address)["chat_id"],
            "message_id": int(message),
            "text": part.text,
            "parse_mode": "HTML",
            "link_preview_options": {"is_disabled": True},
        }
        try:
            answer = await self._api.call("editMessageText", parameters)
            if (again := self._after_refusal(answer, parameters, address)) is not None:
                answer = await self._api.call("editMessageText", again)
        except NoAnswer as error:
            return no_answer(error)
        return self._noted(edit_result(answer, message))

    async def private(self, user: str) -> ReplyAddress:
        """A private chat has its user's id."""
        return ReplyAddress(channel=self.name, account=str(self._bot.id), conversation=user)

    # -- while an answer is written

    def shows(self, address: ReplyAddress) -> Showing:
        """Drafts are for private chats, where the server has them; elsewhere a message grows."""
        return Showing.DRAFT if self._drafts and not _is_group(address) else Showing.EDIT

    def shows_every(self, address: ReplyAddress) -> float:
        """In groups Telegram takes 20 messages a minute, edits included."""
        return GROUP_EDIT_SECONDS if _is_group(address) else self.capabilities.showing_every

    async def typing(self, address: ReplyAddress) -> None:
        """Show "typing…"; it lasts five seconds."""
        await self._ask("sendChatAction", {**self._target(address), "action": "typing"})

    async def draft(self, address: ReplyAddress, key: str, text: str) -> None:
        """Show the end of the text as a draft."""
        pieces = self.compose(text)
        if not pieces:
            return
        parameters: dict[str, object] = {
            **self._target(address),
            "draft_id": zlib.crc32(key.encode()) & 0x7FFFFFFF or 1,
            "text": pieces[-1],
            "parse_mode": "HTML",
        }
        try:
            answer = await self._api.call("sendMessageDraft", parameters)
            if (again := self._after_refusal(answer, parameters, address)) is not None:
                answer = await self._api.call("sendMessageDraft", again)
        except NoAnswer as error:
            raise LinkError(str(error)) from None
        if answer.code in (400, 404):  # a Bot API server that has no drafts, or a bot that may not
            self._drafts = False
        if not answer.ok:
            raise link_error(answer)

    # -- files

    async def fetch(self, file: RemoteFile, limit: int) -> bytes:
        """A file that somebody sent."""
        try:
            answer = await self._api.call("getFile", {"file_id": file.reference})
        except NoAnswer as error:
            raise LinkError(str(error)) from None
        path = answer.result.get("file_path") if isinstance(answer.result, dict) else None
        if not answer.ok or not isinstance(path, str):
            raise LinkError("Telegram does not give the file", refused=answer.code == 400, after=answer.retry_after)
        return await self._api.download(path, limit)

    def facts(self) -> Mapping[str, object]:
        """The bot's name, and what was passed by."""
        counts = {f"updates_{name}": count for name, count in self._counts.items()}
        if not self._bot.id:
            return counts
        return {"bot": self._bot.username, "reads_all_of_groups": self._reads_all, **counts}

    # -- calls

    async def _ask(self, method: str, parameters: Mapping[str, object] | None = None) -> dict[str, Any]:
        try:
            answer = await self._api.call(method, parameters)
        except NoAnswer as error:
            raise LinkError(str(error)) from None
        if not answer.ok:
            raise link_error(answer)
        return answer.result if isinstance(answer.result, dict) else {}

    def _target(self, address: ReplyAddress) -> dict[str, object]:
        chat = self._moved.get(address.conversation, address.conversation)
        target: dict[str, object] = {"chat_id": int(chat)}
        if address.thread is not None:
            target["message_thread_id"] = int(address.thread)
        return target


def keyboard(card: str) -> dict[str, object]:
    """The two buttons of a question."""
    buttons = [{"text": "Approve", "callback_data": APPROVE + card}, {"text": "Deny", "callback_data": DENY + card}]
    return {"inline_keyboard": [buttons]}


def bare(text: str) -> str:
    """Our HTML as the words that it shows."""
    return html.unescape(_TAG.sub("", text))


def _is_group(address: ReplyAddress) -> bool:
    """Groups have negative ids (https://core.telegram.org/bots/api#chat)."""
    return address.conversation.startswith("-")
