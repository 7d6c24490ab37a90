"""Discord's JSON to events. Pure, and liberal: a field that is missing or odd costs no message that can be read.

Sources: the documentation of API v10, "Message", "Interaction" and "Channel".
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from opencrust.channel.adapter import InEvent, RemoteFile

EPOCH_MS: Final = 1_420_070_400_000
VOICE: Final = 1 << 13
"""Flag of a message that is a voice note."""
_READ_TYPES: Final = frozenset({0, 19, 21})
"""Default, reply, and the first message of a thread; others are the platform's own (joined, pinned …)."""
_COMMAND, _COMPONENT = 2, 3
APPROVE, DENY = "approve:", "deny:"
"""Beginnings of a button's ``custom_id``; the approval's id follows."""

Json = Mapping[str, Any]


class MalformedEvent(Exception):
    """An event that does not hold what Discord promises. The text names the field, never its value."""


@dataclass(frozen=True, slots=True)
class Me:
    """Who we are on Discord."""

    id: str
    roles: frozenset[str] = frozenset()
    """Ids of our own roles: naming one of them names us."""


def message_event(data: Json, me: Me, *, is_group: bool, backfill: bool = False) -> InEvent | None:
    """What somebody wrote; None for what no person wrote to be read (bots, system messages, nothing at all).

    Raises:
        MalformedEvent: it does not say which message it is, where it was written, or by whom.
    """
    author = _mapping(data.get("author"))
    message, channel, user = _id(data.get("id")), _id(data.get("channel_id")), _id(author.get("id"))
    for field, value in (("id", message), ("channel_id", channel), ("author", user)):
        if not value:
            raise MalformedEvent(field)
    if user == me.id:
        return None
    if author.get("bot") or data.get("webhook_id") or data.get("type", 0) not in _READ_TYPES:
        return None
    files = tuple(_files(data))
    text = readable(str(data.get("content") or ""), me, _names(data))
    text = "\n".join(filter(None, [text, *_stickers(data), *_forwarded(data)]))
    if not text.strip() and not files:
        return None
    replied = _mapping(data.get("referenced_message"))
    return InEvent(
        id=message,
        account=me.id,
        conversation=channel,
        user=user,
        user_name=_name(author, _mapping(data.get("member"))),
        text=text,
        at=_time(data.get("timestamp"), message),
        message=message,
        is_group=is_group,
        mentioned=_names_us(data, me) or _id(_mapping(replied.get("author")).get("id")) == me.id,
        mentions=tuple(number for m in _list(data.get("mentions")) if (number := _id(_mapping(m).get("id")))),
        quoted=_id(_mapping(data.get("message_reference")).get("message_id")) or None,
        files=files,
        backfill=backfill,
    )


def interaction_event(data: Json, me: Me) -> InEvent | None:
    """A slash command or a button as the text that it means; None for any other interaction.

    Raises:
        MalformedEvent: it does not say which it is, where it was used, or by whom.
    """
    number, channel = _id(data.get("id")), _id(data.get("channel_id")) or _id(_mapping(data.get("channel")).get("id"))
    member = _mapping(data.get("member"))
    user = _mapping(member.get("user")) or _mapping(data.get("user"))
    inner = _mapping(data.get("data"))
    text = ""
    if data.get("type") == _COMMAND:
        text = _command(inner)
    elif data.get("type") == _COMPONENT:
        text = pressed(str(inner.get("custom_id") or ""))
    if not text:
        return None
    for field, value in (("id", number), ("channel_id", channel), ("user", _id(user.get("id")))):
        if not value:
            raise MalformedEvent(field)
    return InEvent(
        id=f"interaction-{number}",
        account=me.id,
        conversation=channel,
        user=_id(user.get("id")),
        user_name=_name(user, member),
        text=text,
        at=_time(None, number),
        is_group=bool(data.get("guild_id")),
        mentioned=True,
    )


def pressed(custom_id: str) -> str:
    """What pressing a button means."""
    for begin, command in ((APPROVE, "/approve"), (DENY, "/deny")):
        if custom_id.startswith(begin):
            return f"{command} {custom_id.removeprefix(begin)}"
    return ""


def readable(text: str, me: Me, names: Mapping[str, str]) -> str:
    """Text as a person reads it: ours left out at the start, others by name, emoji and times in words."""
    text = re.sub(rf"^\s*(?:<@!?{re.escape(me.id)}>[\s,:]*)+", "", text)
    text = re.sub(r"<@!?(\w+)>", lambda found: f"@{names.get(found[1], found[1])}", text)
    text = re.sub(r"<@&(\w+)>", r"@role \1", text)
    text = re.sub(r"<#(\w+)>", r"#\1", text)
    text = re.sub(r"<a?:(\w+):\d+>", r":\1:", text)
    return re.sub(r"</([\w -]+):\d+>", r"/\1", text).strip()


def moment(snowflake: str) -> datetime | None:
    """When an id was made; None if it is none that tells."""
    try:
        made = (int(snowflake) >> 22) + EPOCH_MS
        return datetime.fromtimestamp(made / 1000, UTC) if made > EPOCH_MS + 86_400_000 else None
    except (ValueError, OverflowError, OSError):
        return None


def _command(data: Json) -> str:
    name = str(data.get("name") or "")
    given = [str(_mapping(option).get("value", "")) for option in _list(data.get("options"))]
    if name == "ask":
        return " ".join(given).strip()
    return " ".join([f"/{name}", *given]).strip() if name else ""


def _names_us(data: Json, me: Me) -> bool:
    if any(_id(_mapping(mention).get("id")) == me.id for mention in _list(data.get("mentions"))):
        return True
    if re.search(rf"<@!?{re.escape(me.id)}>", str(data.get("content") or "")):
        return True
    return any(_id(role) in me.roles for role in _list(data.get("mention_roles")))


def _names(data: Json) -> dict[str, str]:
    return {
        _id(_mapping(mention).get("id")): _name(_mapping(mention), _mapping(_mapping(mention).get("member")))
        for mention in _list(data.get("mentions"))
    }


def _name(user: Json, member: Json) -> str:
    return str(member.get("nick") or user.get("global_name") or user.get("username") or "")[:255]


def _files(data: Json) -> list[RemoteFile]:
    files = []
    flags = data.get("flags")
    voice = isinstance(flags, int) and bool(flags & VOICE)
    for attachment in map(_mapping, _list(data.get("attachments"))):
        url = attachment.get("url")
        if not isinstance(url, str) or not url:
            continue
        media_type = str(attachment.get("content_type") or "application/octet-stream").partition(";")[0]
        name = str(attachment.get("filename") or "file")
        if voice and media_type.startswith("audio/"):
            name = f"voice-note-{_id(data.get('id'))}.ogg"
        size = attachment.get("size")
        files.append(RemoteFile(url, name, media_type, size if isinstance(size, int) else None))
    return files


def _stickers(data: Json) -> list[str]:
    return [f"[sticker: {_mapping(sticker).get('name')}]" for sticker in _list(data.get("sticker_items"))]


def _forwarded(data: Json) -> list[str]:
    found = [_mapping(_mapping(snapshot).get("message")) for snapshot in _list(data.get("message_snapshots"))]
    return [f"[forwarded] {message.get('content')}" for message in found if message.get("content")]


def _time(stamp: Any, snowflake: str) -> datetime:
    if isinstance(stamp, str):
        try:
            read = datetime.fromisoformat(stamp)
        except ValueError:
            pass
        else:
            return read if read.tzinfo else read.replace(tzinfo=UTC)
    return moment(snowflake) or datetime.now(UTC)


def _mapping(value: Any) -> Json:
    return value if isinstance(value, Mapping) else {}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _id(value: Any) -> str:
    """An id: text by the documentation; a number from some servers."""
    if isinstance(value, bool) or not isinstance(value, (str, int)):
        return ""
    return str(value)[:64]
