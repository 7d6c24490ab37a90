"""What people did on Telegram, read from its updates (https://core.telegram.org/bots/api#update). Pure.

An event's id is the update's number and, after a dot, the message's: Telegram begins anew with any number after a week
of silence, and one that was used before must not be taken for what it was then.

Telegram counts offsets in UTF-16 units. Whatever an update holds that is not used here may be anything.
"""

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from opencrust.channel.adapter import InEvent, RemoteFile

APPROVE: Final = "approve:"
DENY: Final = "deny:"
_CARD: Final = re.compile(r"(approve|deny):([a-z2-7]{16})")
_COMMAND: Final = re.compile(r"(/[A-Za-z0-9_]{1,32})@([A-Za-z0-9_]{3,40})(?=\s|$)")


class MalformedUpdate(Exception):
    """An update that does not hold what the Bot API promises. The text names the field, never its value."""


@dataclass(frozen=True, slots=True)
class Bot:
    """Ours."""

    id: int
    username: str


@dataclass(frozen=True, slots=True)
class Press:
    """A button was pressed: to be answered by its id, whatever becomes of it."""

    id: str


def update_id(update: Any) -> int:
    """Its number; the offset that confirms it is one more.

    Raises:
        MalformedUpdate: it has none.
    """
    number = update.get("update_id") if isinstance(update, dict) else None
    if not isinstance(number, int):
        raise MalformedUpdate("update_id")
    return number


def chat_of(update: Any) -> int:
    """The chat that an update belongs to: within it, order is kept. 0 for none."""
    if not isinstance(update, dict):
        return 0
    for kind in ("message", "edited_message"):
        if isinstance(message := update.get(kind), dict):
            return _chat_id(message)
    query = update.get("callback_query")
    if isinstance(query, dict) and isinstance(message := query.get("message"), dict):
        return _chat_id(message)
    return 0


def read(update: Any, bot: Bot, *, edits: bool) -> tuple[InEvent | None, Press | None]:
    """The event of an update; None for what is not for us, such as an unknown kind.

    Args:
        edits: pass edited messages on, too.

    Raises:
        MalformedUpdate: a field that must be there is not, or is something else.
    """
    number = update_id(update)
    if isinstance(query := update.get("callback_query"), dict):
        return _press(number, query, bot), Press(str(query.get("id", "")))
    message, edited = update.get("message"), False
    if message is None and edits:
        message, edited = update.get("edited_message"), True
    if message is None:
        return None, None
    if not isinstance(message, dict):
        raise MalformedUpdate("message")
    return _message(number, message, bot, edited=edited), None


def _message(number: int, message: dict[str, Any], bot: Bot, *, edited: bool) -> InEvent | None:
    sender = message.get("from")
    if not isinstance(sender, dict) or sender.get("is_bot") or "sender_chat" in message:
        return None  # a channel's post or its copy, an anonymous administrator, a bot: nobody who could be let in
    text = _text(message)
    files = _files(message)
    if not text.strip() and not files:
        return None  # somebody joined, a title changed, …
    entities = _entities(message, text)
    answered = message.get("reply_to_message")
    answered = answered if isinstance(answered, dict) and "forum_topic_created" not in answered else None
    forwarded = _forwarded(message)
    command = _COMMAND.match(text) if forwarded is None else None
    ours = command is not None and command[2].lower() == bot.username.lower()
    mentioned = (
        ours
        or (text.startswith("/") and command is None and forwarded is None)
        or any(_means(entity, piece, bot) for entity, piece in entities)
        or (answered is not None and _sender_id(answered) == bot.id)
    )
    if command is not None and not ours:
        mentioned = False
    return InEvent(
        id=f"{number}.{_integer(message, 'message_id')}",
        account=str(bot.id),
        conversation=str(_chat_id(message)),
        thread=_thread(message),
        message=str(_integer(message, "message_id")),
        user=str(_integer(sender, "id")),
        user_name=_name(sender),
        text=_said(text, forwarded, command[2] if command is not None and ours else None),
        at=_time(message, "edit_date" if edited and "edit_date" in message else "date"),
        is_group=_is_group(message),
        mentioned=mentioned,
        mentions=tuple(piece for entity, piece in entities if entity.get("type") == "mention"),
        quoted=str(_integer(answered, "message_id")) if answered is not None else None,
        edited=edited,
        files=files,
    )


def _press(number: int, query: dict[str, Any], bot: Bot) -> InEvent | None:
    sender, message, data = query.get("from"), query.get("message"), query.get("data")
    matched = _CARD.fullmatch(data) if isinstance(data, str) else None
    if matched is None or not isinstance(message, dict) or not isinstance(sender, dict):
        return None
    return InEvent(
        id=f"{number}.{query.get('id', '')}"[:200],
        account=str(bot.id),
        conversation=str(_chat_id(message)),
        thread=_thread(message),
        message=str(_integer(message, "message_id")),
        user=str(_integer(sender, "id")),
        user_name=_name(sender),
        text=f"/{matched[1]} {matched[2]}",
        at=datetime.now(UTC),  # a press has no time of its own
        is_group=_is_group(message),
        mentioned=True,
    )


def _said(text: str, forwarded: str | None, bot: str | None) -> str:
    """The text as the agent gets it. What was forwarded is named first, so it is never taken for a command."""
    if forwarded is not None:
        return f"[forwarded from {forwarded}]\n{text}"
    return text if bot is None else text.replace(f"@{bot}", "", 1)


def _forwarded(message: dict[str, Any]) -> str | None:
    """Whose words a forwarded message holds; None where it is the sender's own."""
    origin = message.get("forward_origin")
    if not isinstance(origin, dict):
        return "somebody" if "forward_date" in message else None
    user, chat, hidden = origin.get("sender_user"), origin.get("sender_chat", origin.get("chat")), None
    if isinstance(user, dict):
        hidden = _name(user)
    elif isinstance(chat, dict):
        hidden = chat.get("title")
    else:
        hidden = origin.get("sender_user_name")
    words = " ".join(hidden.replace("[", "(").replace("]", ")").split()) if isinstance(hidden, str) else ""
    return words[:100] or "somebody"


def _text(message: dict[str, Any]) -> str:
    """What was written; what was sent without words, in words."""
    text = message.get("text", message.get("caption"))
    if isinstance(text, str):
        return text
    if isinstance(place := message.get("location"), dict):
        return f"[location: {place.get('latitude')}, {place.get('longitude')}]"
    if isinstance(poll := message.get("poll"), dict):
        options = poll.get("options")
        listed = [str(o.get("text", "")) for o in options if isinstance(o, dict)] if isinstance(options, list) else []
        return f"[poll: {poll.get('question', '')}: {'; '.join(listed)}]"
    if isinstance(dice := message.get("dice"), dict):
        return f"[{dice.get('emoji', 'dice')} {dice.get('value', '')}]"
    if isinstance(contact := message.get("contact"), dict):
        return f"[contact: {contact.get('first_name', '')} {contact.get('phone_number', '')}]"
    if isinstance(sticker := message.get("sticker"), dict):
        return f"[sticker {sticker.get('emoji', '')}]"
    return ""


_FILES: Final = (
    ("document", "file", "application/octet-stream"),
    ("voice", "voice.ogg", "audio/ogg"),
    ("audio", "audio.mp3", "audio/mpeg"),
    ("video", "video.mp4", "video/mp4"),
    ("video_note", "video-note.mp4", "video/mp4"),
)


def _files(message: dict[str, Any]) -> tuple[RemoteFile, ...]:
    found = []
    sizes = message.get("photo")
    if isinstance(sizes, list) and (photos := [size for size in sizes if isinstance(size, dict)]):
        largest = max(photos, key=lambda size: size.get("width") or 0)
        found.append(_file(largest, "photo.jpg", "image/jpeg"))
    for kind, name, media_type in _FILES:
        if isinstance(described := message.get(kind), dict) and not (kind == "document" and "animation" in message):
            found.append(_file(described, name, media_type))
    if isinstance(animation := message.get("animation"), dict):
        found.append(_file(animation, "animation.mp4", "video/mp4"))
    return tuple(found)


def _file(described: dict[str, Any], name: str, media_type: str) -> RemoteFile:
    reference = described.get("file_id")
    if not isinstance(reference, str):
        raise MalformedUpdate("file_id")
    size, given, typed = described.get("file_size"), described.get("file_name"), described.get("mime_type")
    return RemoteFile(
        reference,
        given if isinstance(given, str) and given else name,
        typed if isinstance(typed, str) and typed else media_type,
        size if isinstance(size, int) else None,
    )


def _entities(message: dict[str, Any], text: str) -> list[tuple[dict[str, Any], str]]:
    """Each entity with the piece of text that it means."""
    entities = message.get("entities", message.get("caption_entities"))
    if not isinstance(entities, list):
        return []
    units = text.encode("utf-16-le", "surrogatepass")
    found = []
    for entity in entities[:100]:
        if isinstance(entity, dict):
            offset, length = entity.get("offset"), entity.get("length")
            if isinstance(offset, int) and isinstance(length, int) and offset >= 0 and length >= 0:
                piece = units[2 * offset : 2 * (offset + length)].decode("utf-16-le", "replace")
                found.append((entity, piece))
    return found


def _means(entity: dict[str, Any], piece: str, bot: Bot) -> bool:
    if entity.get("type") == "mention":
        return piece.lower() == f"@{bot.username.lower()}"
    user = entity.get("user")
    return entity.get("type") == "text_mention" and isinstance(user, dict) and user.get("id") == bot.id


def _thread(message: dict[str, Any]) -> str | None:
    """The topic. In chats without topics a thread id only says what a message answers."""
    return str(_integer(message, "message_thread_id")) if message.get("is_topic_message") else None


def _is_group(message: dict[str, Any]) -> bool:
    chat = message.get("chat")
    return not isinstance(chat, dict) or chat.get("type") != "private"


def _chat_id(message: dict[str, Any]) -> int:
    chat = message.get("chat")
    if not isinstance(chat, dict):
        raise MalformedUpdate("chat")
    return _integer(chat, "id")


def _sender_id(message: dict[str, Any]) -> object:
    sender = message.get("from")
    return sender.get("id") if isinstance(sender, dict) else None


def _name(sender: dict[str, Any]) -> str:
    parts = [sender.get("first_name"), sender.get("last_name")]
    name = " ".join(part for part in parts if isinstance(part, str) and part)
    username = sender.get("username")
    return (name or (username if isinstance(username, str) else ""))[:255]


def _time(message: dict[str, Any], field: str) -> datetime:
    try:
        return datetime.fromtimestamp(_integer(message, field), UTC)
    except (ValueError, OverflowError, OSError):
        raise MalformedUpdate(field) from None


def _integer(place: dict[str, Any], field: str) -> int:
    value = place.get(field)
    if not isinstance(value, int) or isinstance(value, bool):
        raise MalformedUpdate(field)
    return value
