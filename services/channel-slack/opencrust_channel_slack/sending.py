"""Parts as Slack's messages, and its answers as results. Pure."""

from collections.abc import Mapping
from typing import Any, Final

from opencrust.channel.adapter import LinkError, OutPart, Refused, Retry, SendResult, Unknown
from opencrust_channel_slack.api import WALL, NoAnswer, Refusal
from opencrust_channel_slack.events import APPROVE, DENY

METADATA: Final = "opencrust_part"
"""``event_type`` of our metadata."""
SECTION: Final = 3000
"""Most characters in one section block."""
TOKEN_PAUSE: Final = 5.0
SERVER_PAUSE: Final = 2.0
_TOKEN_ERRORS: Final = frozenset(
    {"invalid_auth", "not_authed", "token_revoked", "token_expired", "account_inactive", "no_permission"}
)
_SERVER_ERRORS: Final = frozenset(
    {"fatal_error", "internal_error", "service_unavailable", "team_added_to_org", "request_timeout", "not_json"}
)


def message(part: OutPart) -> dict[str, Any]:
    """The arguments of ``chat.postMessage``. Nothing in them is expanded, previewed or linked."""
    body: dict[str, Any] = {
        "channel": part.address.conversation,
        "text": part.text,
        "mrkdwn": True,
        "parse": "none",
        "link_names": False,
        "unfurl_links": False,
        "unfurl_media": False,
    }
    if part.address.thread:
        body["thread_ts"] = part.address.thread
    if part.key:
        body["metadata"] = {"event_type": METADATA, "event_payload": {"key": part.key}}
    if part.card is not None:
        body["blocks"] = question(part)
    return body


def edited(part: OutPart, stamp: str) -> dict[str, Any]:
    """The arguments of ``chat.update``."""
    body = message(part)
    names = ("channel", "text", "parse", "link_names", "metadata", "blocks")
    return {"ts": stamp} | {name: body[name] for name in names if name in body}


def decided(part: OutPart, stamp: str) -> dict[str, Any]:
    """The arguments of ``chat.update`` for a question with an answer: without a field ``blocks`` Slack keeps those that
    are there, an empty one takes them away."""
    return {**edited(part, stamp), "blocks": []}


def question(part: OutPart) -> list[dict[str, Any]]:
    """Block Kit: the text, and two buttons below it."""
    assert part.card is not None
    texts = [part.text[at : at + SECTION] for at in range(0, len(part.text), SECTION)]
    sections = [{"type": "section", "text": {"type": "mrkdwn", "text": text, "verbatim": True}} for text in texts]
    return [
        *sections,
        {
            "type": "actions",
            "elements": [
                _button("Approve", APPROVE, part.card.id, "primary"),
                _button("Deny", DENY, part.card.id, "danger"),
            ],
        },
    ]


def refused(error: Refusal) -> SendResult:
    """The result of a refusal. Slack warns that what fails with ``fatal_error`` or a 5xx may have been done."""
    if error.status == 429 or error.error in ("ratelimited", "rate_limited"):
        return Retry(max(error.after, 0.5), "Slack wants us slower")
    if error.error in _TOKEN_ERRORS or error.status == 401:
        return Retry(TOKEN_PAUSE, "Slack does not know the token", everywhere=True)
    if error.status >= 500 or error.error in _SERVER_ERRORS:
        return Unknown(f"Slack failed: {error.error or error.status}")
    return Refused(f"Slack refused it: {error.error or error.status}")


def unanswered(error: NoAnswer) -> SendResult:
    """The result of a call that was not answered."""
    return Unknown(str(error)) if error.sent else Retry(SERVER_PAUSE, str(error))


def link_error(error: Refusal | NoAnswer, what: str) -> LinkError:
    """What a failed call says about the link. ``what``: which token it was made with."""
    if isinstance(error, NoAnswer):
        return LinkError(str(error))
    if error.error in _TOKEN_ERRORS or error.status == 401:
        return LinkError(f"Slack does not know the {what}: copy it anew from your app's page", refused=True)
    if error.error == "missing_scope":
        return LinkError(f"the {what} lacks a scope: see docs/channels.md for the list", refused=True)
    if error.error == "not_json":
        return LinkError(WALL)
    return LinkError(f"Slack answered {error.error or error.status}", after=error.after)


def carries(posted: Any, key: str) -> bool:
    """Whether a message of Slack's carries a part's key."""
    metadata = posted.get("metadata") if isinstance(posted, Mapping) else None
    payload = metadata.get("event_payload") if isinstance(metadata, Mapping) else None
    return isinstance(payload, Mapping) and bool(key) and payload.get("key") == key


def _button(text: str, action: str, value: str, style: str) -> dict[str, Any]:
    label = {"type": "plain_text", "text": text}
    return {"type": "button", "text": label, "action_id": action, "value": value, "style": style}
