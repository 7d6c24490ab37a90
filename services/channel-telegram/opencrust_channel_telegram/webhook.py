"""The webhook: Telegram calls us (https://core.telegram.org/bots/api#setwebhook).

Telegram signs nothing; it repeats a secret in a header. The secret here is derived from the token, so there is always
one, every replica knows it, it changes when the token does, and a call without it is refused: it cannot be forgotten.
"""

import asyncio
import hmac
import json
import logging
from typing import Any, Final

from opencrust.channel.adapter import LinkError, WebhookReply, WebhookRequest
from opencrust.channel.link import Link
from opencrust.config import Webhook
from opencrust.credentials import Secret
from opencrust_channel_telegram.api import BotApi, NoAnswer
from opencrust_channel_telegram.results import link_error

log = logging.getLogger(__name__)

PATH: Final = "/telegram"
HEADER: Final = "x-telegram-bot-api-secret-token"
LOOK_SECONDS: Final = 20.0
"""How often Telegram is asked whether our address still stands there."""


def secret_token(token: Secret) -> str:
    """What Telegram has to repeat: HMAC-SHA-256 under the bot's token, in hex."""
    return hmac.digest(token.reveal(), b"opencrust telegram webhook/1", "sha256").hex()


def is_genuine(request: WebhookRequest, token: Secret) -> bool:
    """Whether the call carries our secret; compared in a time that tells nothing."""
    return hmac.compare_digest(request.headers.get(HEADER, "").encode(), secret_token(token).encode())


def update_in(request: WebhookRequest) -> Any:
    """The update in a genuine call.

    Raises:
        ValueError: it is not JSON.
    """
    try:
        return json.loads(request.body)
    except RecursionError:
        raise ValueError("not JSON") from None


async def register(api: BotApi, webhook: Webhook, token: Secret, *, allowed: list[str], connections: int) -> None:
    """Tell Telegram our address.

    Args:
        connections: calls at once. More than one may bring a chat's messages out of their order.

    Raises:
        LinkError: it refuses.
    """
    parameters: dict[str, object] = {
        "url": address(webhook),
        "secret_token": secret_token(token),
        "allowed_updates": allowed,
        "max_connections": connections,
    }
    try:
        answer = await api.call("setWebhook", parameters)
    except NoAnswer as error:
        raise LinkError(str(error)) from None
    if not answer.ok:
        raise link_error(answer)


async def watch(api: BotApi, webhook: Webhook, link: Link, stop: asyncio.Event) -> None:
    """Look now and then whether our address still stands; return when it does not, or ``stop`` is set.

    Raises:
        LinkError: Telegram cannot be asked, or says that its calls do not arrive.
    """
    while not stop.is_set():
        try:
            answer = await api.call("getWebhookInfo")
        except NoAnswer as error:
            raise LinkError(str(error)) from None
        if not answer.ok:
            raise link_error(answer)
        info = answer.result if isinstance(answer.result, dict) else {}
        if info.get("url") != address(webhook):
            log.warning("the webhook is no longer ours: registering anew")
            return
        link.alive()
        if info.get("pending_update_count") and info.get("last_error_message"):
            link.down("Telegram's calls do not arrive: look at the reverse proxy")
        try:
            async with asyncio.timeout(LOOK_SECONDS):
                await stop.wait()
        except TimeoutError:
            continue


def address(webhook: Webhook) -> str:
    """Where Telegram is to call."""
    return webhook.public_url.rstrip("/") + PATH


def refused() -> WebhookReply:
    """To a call without the secret: nothing that would help."""
    return WebhookReply(401)
