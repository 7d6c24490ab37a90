"""HTTP mode: Slack's signed calls. Verified over the raw body before anything in it is read.

Source: Slack's documentation, "Verifying requests from Slack" (version v0).
"""

import hashlib
import hmac
import json
import time
from collections.abc import Callable, Mapping
from typing import Any, Final
from urllib.parse import parse_qs

from opencrust.channel.adapter import WebhookReply, WebhookRequest

LATEST: Final = 300.0
"""A signature older than five minutes is a replay."""
ANSWER_SECONDS: Final = 2.5
"""Slack waits three seconds for an answer."""
UNSIGNED: Final = WebhookReply(401, b"not signed")
LATER: Final = WebhookReply(503)
"""Not stored: Slack brings it again."""


def verified(request: WebhookRequest, secret: str, clock: Callable[[], float] = time.time) -> bool:
    """Whether Slack sent this, just now. Without a secret nothing is."""
    stamp = request.headers.get("x-slack-request-timestamp", "")
    given = request.headers.get("x-slack-signature", "")
    if not secret or not stamp.isascii() or not stamp.isdigit() or abs(clock() - int(stamp)) > LATEST:
        return False
    signed = b"v0:" + stamp.encode() + b":" + request.body
    expected = "v0=" + hmac.new(secret.encode(), signed, hashlib.sha256).hexdigest()
    return hmac.compare_digest(expected.encode(), given.encode("utf-8", "replace"))


def number(request: WebhookRequest) -> str:
    """What this very call has and no other: for what carries no id of its own."""
    stamp = request.headers.get("x-slack-request-timestamp", "")
    return hashlib.sha256(stamp.encode() + b":" + request.body).hexdigest()[:32]


def envelope(request: WebhookRequest) -> tuple[str, Mapping[str, Any]] | None:
    """Kind and payload as Socket Mode would bring them; None for what Slack does not send.

    ``url_verification`` comes back as a kind of its own.
    """
    try:
        if request.headers.get("content-type", "").startswith("application/x-www-form-urlencoded"):
            form = {
                name: values[-1] for name, values in parse_qs(request.body.decode(), keep_blank_values=True).items()
            }
            if "payload" in form:
                payload = json.loads(form["payload"])
                return ("interactive", payload) if isinstance(payload, dict) else None
            return ("slash_commands", form) if "command" in form else None
        body = json.loads(request.body)
    except ValueError:
        return None
    if not isinstance(body, dict):
        return None
    if body.get("type") == "url_verification":
        return "url_verification", body
    return ("events_api", body) if isinstance(body.get("event"), dict) else None
