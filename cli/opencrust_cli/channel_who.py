"""Asking a platform who a token is: whether it is good, what it may, and what to do where it may too little.

Only "this token is not known" is said where the platform said so: a platform that is slow, down or behind a wall says
nothing about a token.
"""

import http.client
import json
import ssl
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from opencrust_cli.errors import CommandError

ANSWER_SECONDS: Final = 15.0
MAX_ANSWER: Final = 1024 * 1024
SLACK_SCOPES: Final = (
    "app_mentions:read", "assistant:write", "channels:history", "chat:write", "commands", "files:read", "files:write",
    "groups:history", "im:history", "im:write", "mpim:history",
)  # fmt: skip
"""What the manifest in docs/channels.md asks for."""
MESSAGE_CONTENT: Final = (1 << 18) | (1 << 19)
"""Flags of an application that may read texts: approved, or of a bot on few servers (Discord's "Application Flags")."""
_AS_BOT: Final = {"User-Agent": "DiscordBot (https://opencrust.org, 1)"}
"""Discord's front refuses callers that do not say what they are."""
_UNKNOWN_TO_SLACK: Final = frozenset(
    {"invalid_auth", "not_authed", "account_inactive", "token_revoked", "token_expired"}
)


@dataclass(frozen=True, slots=True)
class Known:
    """Who we are on a platform."""

    who: str
    """For the person: the bot's name."""
    place: str = ""
    """Where to find it: an address, an application's id."""
    hints: tuple[str, ...] = ()
    """What works less well than it could, and what to do; a sentence each."""


@dataclass(frozen=True, slots=True)
class Answered:
    """A platform's answer. ``headers`` by lower-case name."""

    status: int
    content: Mapping[str, object]
    headers: Mapping[str, str]


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """urllib would take the token along to wherever a redirect points."""

    def redirect_request(self, *_: object) -> None:
        return None


def call(url: str, *, headers: Mapping[str, str] | None = None, data: bytes | None = None) -> Answered:
    """One HTTP call that answers with a JSON object, whatever its status.

    Raises:
        CommandError: no answer, none in JSON, or one that says only "not now" (429, 5xx). It names no address: a token
            may stand in it.
    """
    request = urllib.request.Request(url, data=data, headers=dict(headers or {}))  # noqa: S310 - the scheme is checked
    try:
        with urllib.request.build_opener(_NoRedirects).open(request, timeout=ANSWER_SECONDS) as answer:
            status, given, body = answer.status, answer.headers, answer.read(MAX_ANSWER)
    except urllib.error.HTTPError as error:
        status, given, body = error.code, error.headers, error.read(MAX_ANSWER)
        error.close()
    except (OSError, http.client.HTTPException, ValueError) as error:
        reason = getattr(error, "reason", error)
        why = "its certificate is not trusted" if isinstance(reason, ssl.SSLError) else type(reason).__name__
        raise CommandError(f"the platform gives no answer ({why}): is this machine online?") from None
    if status == 429:
        after = given.get("Retry-After", "")
        wait = f"{after} seconds" if after.isdigit() else "a few minutes"
        raise CommandError(f"the platform wants us slower (429): nothing was changed; try again in {wait}")
    if status >= 500:
        raise CommandError(f"the platform fails at the moment ({status}): nothing was changed; try again in a minute")
    try:
        content = json.loads(body)
    except ValueError:
        content = None
    if not isinstance(content, dict):
        raise CommandError("what answers there is not the platform's interface: is --api-base right?")
    return Answered(status, content, {name.lower(): value for name, value in given.items()})


def telegram(secrets: Mapping[str, str], base: str) -> Known:
    """getMe."""
    answer = call(f"{base.rstrip('/')}/bot{secrets['token']}/getMe")
    me = answer.content.get("result")
    if answer.content.get("ok") is not True or not isinstance(me, dict):
        if answer.status in (401, 404) or answer.content.get("error_code") in (401, 404):
            raise CommandError("Telegram does not know this token: copy it again from @BotFather")
        raise CommandError(_refused("Telegram", answer, answer.content.get("description")))
    hints: tuple[str, ...] = ()
    if me.get("can_read_all_group_messages") is False:
        hints = (
            "In groups it sees only commands, answers to it and what names it (privacy mode). That is enough for most; "
            "/setprivacy at @BotFather shows it all.",
        )
    if isinstance(username := me.get("username"), str) and username:
        return Known(f"@{username}", f"https://t.me/{username}", hints)
    return Known(str(me.get("first_name") or f"bot {me.get('id')}"), "your bot in Telegram", hints)


def discord(secrets: Mapping[str, str], base: str) -> Known:
    """GET /users/@me, and the application's flags."""
    base, headers = base.rstrip("/"), {"Authorization": f"Bot {secrets['token']}", **_AS_BOT}
    answer = call(f"{base}/users/@me", headers=headers)
    me = answer.content
    if answer.status == 401:
        raise CommandError("Discord does not know this token: reset it on your application's page 'Bot' and copy it")
    if answer.status >= 300 or not isinstance(me.get("id"), str):
        raise CommandError(_refused("Discord", answer, me.get("message")))
    number = str(me["id"])
    hints: tuple[str, ...] = ()
    try:
        application = call(f"{base}/applications/@me", headers=headers)
    except CommandError:  # the token is good; this only makes a hint
        application = Answered(0, {}, {})
    if isinstance(found := application.content.get("id"), str) and application.status < 300:
        number, flags = found, application.content.get("flags")
        if isinstance(flags, int) and not flags & MESSAGE_CONTENT:
            hints = (
                "Message Content Intent is off: on servers it can read only what names it. Switch it on at "
                f"https://discord.com/developers/applications/{number}/bot",
            )
    return Known(f"{me.get('username') or 'a bot without a name'}, application {number}", number, hints)


def slack(secrets: Mapping[str, str], base: str) -> Known:
    """auth.test with the bot token, apps.connections.open with the app token."""
    base = base if base.endswith("/") else f"{base}/"
    answer = _slack(f"{base}auth.test", secrets["bot_token"])
    if answer.content.get("ok") is not True:
        if answer.content.get("error") in _UNKNOWN_TO_SLACK:
            raise CommandError("Slack does not know the bot token: copy it again from the page 'OAuth & Permissions'")
        raise CommandError(_refused("Slack", answer, _slack_error(answer)))
    if "app_token" in secrets:
        opened = _slack(f"{base}apps.connections.open", secrets["app_token"])
        if opened.content.get("ok") is not True:
            raise CommandError(
                f"Slack does not take the app token ({_slack_error(opened)}): switch on 'Socket Mode', and make a "
                "token with the scope connections:write on the page 'Basic Information'"
            )
    me = answer.content
    hints: tuple[str, ...] = ()
    given = answer.headers.get("x-oauth-scopes")
    missing = [] if given is None else sorted(set(SLACK_SCOPES) - {scope.strip() for scope in given.split(",")})
    if missing:
        hints = (
            f"It lacks scopes: {', '.join(missing)}. Add them on the page 'OAuth & Permissions' and install the app "
            "again; without them it does not hear or send some of what it should.",
        )
    return Known(f"{me.get('user') or 'a bot'} in {me.get('team') or 'your workspace'}", "", hints)


def _slack(url: str, token: str) -> Answered:
    return call(url, headers={"Authorization": f"Bearer {token}"}, data=b"")


def _slack_error(answer: Answered) -> str:
    error, needed = answer.content.get("error"), answer.content.get("needed")
    return f"{error}: it needs {needed}" if isinstance(needed, str) and needed else str(error)


def _refused(platform: str, answer: Answered, what: object) -> str:
    """A refusal that says nothing about the token."""
    if not isinstance(what, str) or not what:
        return "what answers there is not the platform's interface: is --api-base right?"
    said = "".join(char for char in what if char.isprintable())[:200]
    return f"{platform} answered {answer.status} ({said}): nothing was changed"
