"""Parts as Discord's messages, and its answers as results. Pure."""

import re
from typing import Any, Final

from opencrust.channel.adapter import OutPart, Refused, Retry, SendResult, Sent, Unknown
from opencrust_channel_discord.events import APPROVE, DENY
from opencrust_channel_discord.rest import NoAnswer, Refusal

NO_MENTIONS: Final = {"parse": [], "replied_user": False}
SUPPRESS_EMBEDS: Final = 1 << 2
"""No previews: a reply with a link must not fetch it."""
TOKEN_PAUSE: Final = 5.0
SERVER_PAUSE: Final = 2.0
_VOICE_TYPES: Final = re.compile(r"audio/(ogg|opus)")


def message(part: OutPart) -> dict[str, Any]:
    """The body of ``POST /channels/{id}/messages``. With the part's key as nonce, Discord shows it once."""
    body: dict[str, Any] = {"content": part.text, "allowed_mentions": NO_MENTIONS, "flags": SUPPRESS_EMBEDS}
    if part.key:
        body |= {"nonce": part.key, "enforce_nonce": True}
    if part.number == 0 and part.address.message and part.address.message.isdigit():
        body["message_reference"] = {"message_id": part.address.message, "fail_if_not_exists": False}
    if part.file is not None:
        body["attachments"] = [{"id": 0, "filename": part.file.name}]
    if part.card is not None:
        body |= {"components": buttons(part.card.id), "embeds": [card(part)], "flags": 0}
    return body


def edited(part: OutPart) -> dict[str, Any]:
    """The body of ``PATCH …/messages/{id}``."""
    body: dict[str, Any] = {"content": part.text, "allowed_mentions": NO_MENTIONS}
    if part.card is not None:
        body["components"] = buttons(part.card.id)
    return body


def buttons(approval: str) -> list[dict[str, Any]]:
    """One row with the two answers (component types 1 and 2; styles 3 green, 4 red)."""
    return [
        {
            "type": 1,
            "components": [
                {"type": 2, "style": 3, "label": "Approve", "custom_id": APPROVE + approval},
                {"type": 2, "style": 4, "label": "Deny", "custom_id": DENY + approval},
            ],
        }
    ]


def card(part: OutPart) -> dict[str, Any]:
    """The coloured box below a question: which tool, and until when it may be answered."""
    assert part.card is not None
    title = re.sub(r"[^\w .:/-]", "", part.card.tool)[:100]
    return {"title": f"Approval: {title}", "color": 0xE0A030, "timestamp": part.card.expires.isoformat()}


def sent(answer: Any) -> SendResult:
    """The result of an answer of 200."""
    number = answer.get("id") if isinstance(answer, dict) else None
    return Sent(str(number)) if number else Unknown("Discord answered without the message")


def refused(error: Refusal) -> SendResult:
    """The result of a refusal. A 5xx may have been done: the same nonce makes it safe to say it was not."""
    if error.status == 429:
        return Retry(max(error.after, 0.25), "Discord wants us slower", everywhere=error.everywhere)
    if error.status == 401:
        return Retry(TOKEN_PAUSE, "Discord does not know the token", everywhere=True)
    if error.status >= 500 or error.status == 408 or error.status < 400 or error.foreign:
        return Retry(SERVER_PAUSE, f"Discord failed: {error.status}")
    return Refused(str(error))


def unanswered(error: NoAnswer) -> SendResult:
    """The result of a call that was not answered."""
    return Unknown(str(error)) if error.sent else Retry(SERVER_PAUSE, str(error))
