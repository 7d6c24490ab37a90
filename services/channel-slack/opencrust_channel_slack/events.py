"""Slack's JSON to events. Pure, and liberal: a field that is missing or odd costs no message that can be read.

Sources: Slack's documentation of the Events API ("message", "app_mention"), slash commands, block_actions payloads, and
"Formatting text for app surfaces".
"""

import html
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from opencrust.channel.adapter import InEvent, RemoteFile

APPROVE, DENY = "opencrust_approve", "opencrust_deny"
"""``action_id`` of the two buttons; the approval's id is their ``value``."""
COMMANDS: Final = frozenset({"new", "stop", "status", "help", "approve", "deny", "pair"})
_READ_SUBTYPES: Final = frozenset({None, "", "file_share", "thread_broadcast", "me_message"})
"""Others are Slack's own (joined, topic …), edits and deletions."""
_TOKEN: Final = re.compile(r"<([^<>]*)>")

Json = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Me:
    """Who we are on Slack."""

    account: str
    """The workspace's id."""
    user: str
    bot: str = ""


def event_of(kind: str, payload: Json, me: Me, number: str) -> InEvent | None:
    """What an envelope means; None for what no person wrote to be read.

    Args:
        kind: ``events_api``, ``slash_commands`` or ``interactive``.
        number: the same whenever this very envelope comes: an id for what carries none.
    """
    match kind:
        case "events_api":
            return message_event(_mapping(payload.get("event")), me)
        case "slash_commands":
            return command_event(payload, me, number)
        case "interactive":
            return press_event(payload, me, number)
    return None


def message_event(event: Json, me: Me) -> InEvent | None:
    """A message, or the second copy of one that names us."""
    kind, channel, stamp, user = (_text(event.get(name)) for name in ("type", "channel", "ts", "user"))
    if kind not in ("message", "app_mention") or not channel or not stamp or not user:
        return None
    if event.get("subtype") not in _READ_SUBTYPES or event.get("bot_id") or user in (me.user, "USLACKBOT"):
        return None
    is_group = event.get("channel_type") != "im" and not channel.startswith("D")
    given = str(event.get("text") or "")
    files = tuple(_files(event))
    text = "\n".join(filter(None, [readable(given, me), *_forwarded(event)]))
    if not text.strip() and not files:
        return None
    thread = _text(event.get("thread_ts"))
    named = kind == "app_mention" or f"<@{me.user}" in given
    return InEvent(
        id=f"{channel}:{stamp}",
        account=me.account,
        conversation=channel,
        thread=thread or (stamp if is_group else None),
        user=user,
        user_name=_name(event),
        text=text,
        at=moment(stamp),
        message=stamp,
        is_group=is_group,
        mentioned=named or (bool(thread) and event.get("parent_user_id") == me.user),
        mentions=tuple(re.findall(r"<@(\w+)", given)),
        quoted=thread if thread != stamp else None,
        files=files,
    )


def command_event(payload: Json, me: Me, number: str) -> InEvent | None:
    """A slash command. ``/opencrust status`` means ``/status``; ``/opencrust how are you`` is a message."""
    channel, user, trigger = (_text(payload.get(name)) for name in ("channel_id", "user_id", "trigger_id"))
    command = str(payload.get("command") or "").lstrip("/").lower()
    given = html.unescape(str(payload.get("text") or "")).strip()
    if not channel or not user or not command:
        return None
    if command in COMMANDS:
        text = f"/{command} {given}".strip()
    elif given.split(maxsplit=1)[:1] and given.split(maxsplit=1)[0].lstrip("/").lower() in COMMANDS:
        text = "/" + given.lstrip("/")
    else:
        text = given or "/help"
    return InEvent(
        id=f"command:{trigger or payload.get('response_url') or number}"[:200],
        account=me.account,
        conversation=channel,
        user=user,
        user_name=str(payload.get("user_name") or "")[:255],
        text=text,
        at=datetime.now(UTC),
        is_group=not channel.startswith("D"),
        mentioned=True,
    )


def press_event(payload: Json, me: Me, number: str) -> InEvent | None:
    """A pressed button of ours, as the text that it means, in the conversation where it stands."""
    container, message = _mapping(payload.get("container")), _mapping(payload.get("message"))
    person = _mapping(payload.get("user"))
    channel = _text(container.get("channel_id")) or _text(_mapping(payload.get("channel")).get("id"))
    user = _text(person.get("id"))
    actions = payload.get("actions")
    action = _mapping(actions[0]) if isinstance(actions, list) and actions else {}
    command = {APPROVE: "/approve", DENY: "/deny"}.get(str(action.get("action_id")))
    if not channel or not user or command is None:
        return None
    stamp = _text(container.get("message_ts")) or _text(message.get("ts"))
    thread = _text(container.get("thread_ts")) or _text(message.get("thread_ts"))
    return InEvent(
        id=f"press:{stamp}:{user}:{action.get('action_ts') or payload.get('trigger_id') or number}"[:200],
        account=me.account,
        conversation=channel,
        thread=thread,
        user=user,
        user_name=str(person.get("username") or person.get("name") or "")[:255],
        text=f"{command} {action.get('value')}",
        at=datetime.now(UTC),
        is_group=not channel.startswith("D"),
        mentioned=True,
    )


def readable(text: str, me: Me) -> str:
    """Text as a person reads it: ours left out at the start, names, channels and links in words."""
    text = re.sub(rf"^\s*(?:<@{re.escape(me.user)}(?:\|[^<>]*)?>[\s,:]*)+", "", text)
    return html.unescape(_TOKEN.sub(_token, text)).strip()


def moment(stamp: str) -> datetime:
    """A message's ``ts`` as a time."""
    try:
        return datetime.fromtimestamp(float(stamp), UTC)
    except (ValueError, OverflowError, OSError):
        return datetime.now(UTC)


def _token(found: re.Match[str]) -> str:
    target, _, label = found[1].partition("|")
    if target.startswith("@"):
        return f"@{label or target[1:]}"
    if target.startswith("#"):
        return f"#{label or target[1:]}"
    if target.startswith("!"):
        return label or f"@{target[1:].partition('^')[0]}"
    return f"{label} ({target})" if label and label not in target else target


def _files(event: Json) -> list[RemoteFile]:
    files = []
    given = event.get("files")
    for file in map(_mapping, given if isinstance(given, list) else []):
        url = file.get("url_private_download") or file.get("url_private")
        if not isinstance(url, str) or file.get("mode") in ("tombstone", "hidden_by_limit", "external"):
            continue
        media_type = str(file.get("mimetype") or "application/octet-stream")
        name = str(file.get("name") or file.get("title") or "file")
        if file.get("subtype") == "slack_audio":
            name = f"voice-note-{name}"
        size = file.get("size")
        files.append(RemoteFile(url, name, media_type, size if isinstance(size, int) else None))
    return files


def _forwarded(event: Json) -> list[str]:
    given = event.get("attachments")
    shared = [_mapping(a) for a in (given if isinstance(given, list) else [])]
    return [f"[forwarded] {a.get('text')}" for a in shared if a.get("is_share") and a.get("text")]


def _name(event: Json) -> str:
    profile = _mapping(event.get("user_profile"))
    return str(profile.get("display_name") or profile.get("real_name") or event.get("username") or "")[:255]


def _mapping(value: Any) -> Json:
    return value if isinstance(value, Mapping) else {}


def _text(value: Any) -> str | None:
    return value[:255] if isinstance(value, str) and value else None
