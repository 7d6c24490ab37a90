"""What `opencrust channels add` asks, checks and says, by platform."""

import http.client
import json
import re
import ssl
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from opencrust.config import ChannelMode
from opencrust_cli.errors import CommandError

ANSWER_SECONDS = 15.0
MAX_ANSWER = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Asked:
    """One credential that is asked for."""

    key: str
    """The adapter's name for it; the vault's is ``channel.<platform>.<key>``."""
    question: str
    shape: str
    """What it looks like: a regular expression for all of it."""
    hint: str
    """What to say where it looks otherwise. Never repeats what was typed."""
    mode: ChannelMode | None = None
    """Asked for in this mode only."""


@dataclass(frozen=True, slots=True)
class Platform:
    """One platform."""

    name: str
    title: str
    api_base: str
    asks: tuple[Asked, ...]
    before: str
    """How to get what is asked for."""
    check: Callable[[Mapping[str, str], str], str]
    """Ask the platform, with the credentials and the base address, who the bot is. Raises CommandError."""
    after: str
    """What to do next; ``{who}`` is what `check` said, ``{bare}`` without an @, ``{number}`` its last word."""

    def asked(self, mode: ChannelMode) -> tuple[Asked, ...]:
        """What is asked for where events come in this way."""
        return tuple(asked for asked in self.asks if asked.mode in (None, mode))


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """urllib would take the token along to wherever a redirect points."""

    def redirect_request(self, *_: object) -> None:
        return None


def call(url: str, *, headers: Mapping[str, str] | None = None, data: bytes | None = None) -> dict[str, object]:
    """One HTTP call that answers with a JSON object.

    Raises:
        CommandError: no answer, or none in JSON. It names no address: a token may stand in it.
    """
    request = urllib.request.Request(url, data=data, headers=dict(headers or {}))  # noqa: S310 - the scheme is checked
    try:
        with urllib.request.build_opener(_NoRedirects).open(request, timeout=ANSWER_SECONDS) as answer:
            body = answer.read(MAX_ANSWER)
    except urllib.error.HTTPError as error:
        body = error.read(MAX_ANSWER)
        error.close()
    except (OSError, http.client.HTTPException, ValueError) as error:
        reason = getattr(error, "reason", error)
        why = "its certificate is not trusted" if isinstance(reason, ssl.SSLError) else type(reason).__name__
        raise CommandError(f"the platform gives no answer ({why}): is this machine online?") from None
    try:
        content = json.loads(body)
    except ValueError:
        content = None
    if not isinstance(content, dict):
        raise CommandError("what answers there is not the platform's interface: is --api-base right?")
    return content


def check_telegram(secrets: Mapping[str, str], base: str) -> str:
    """getMe: the bot's name."""
    answer = call(f"{base.rstrip('/')}/bot{secrets['token']}/getMe")
    me = answer.get("result")
    if answer.get("ok") is not True or not isinstance(me, dict):
        raise CommandError("Telegram does not know this token: copy it again from @BotFather")
    return f"@{me.get('username')}"


def check_discord(secrets: Mapping[str, str], base: str) -> str:
    """GET /users/@me: the bot's name and its application's id."""
    me = call(f"{base.rstrip('/')}/users/@me", headers={"Authorization": f"Bot {secrets['token']}", **_AS_BOT})
    if not isinstance(me.get("id"), str):
        raise CommandError("Discord does not know this token: reset it on your application's page 'Bot' and copy it")
    return f"{me.get('username')}, application {me['id']}"


def check_slack(secrets: Mapping[str, str], base: str) -> str:
    """auth.test with the bot token, apps.connections.open with the app token: the bot's name and its workspace's."""
    base = base if base.endswith("/") else f"{base}/"
    me = _slack(f"{base}auth.test", secrets["bot_token"])
    if me.get("ok") is not True:
        raise CommandError("Slack does not know the bot token: copy it again from the page 'OAuth & Permissions'")
    if "app_token" in secrets and _slack(f"{base}apps.connections.open", secrets["app_token"]).get("ok") is not True:
        raise CommandError(
            "Slack does not take the app token: switch on 'Socket Mode', and make a token with the scope "
            "connections:write on the page 'Basic Information'"
        )
    return f"{me.get('user')} in {me.get('team')}"


def _slack(url: str, token: str) -> dict[str, object]:
    return call(url, headers={"Authorization": f"Bearer {token}"}, data=b"")


_AS_BOT = {"User-Agent": "DiscordBot (https://opencrust.org, 1)"}
"""Discord's front refuses callers that do not say what they are."""

PLATFORMS = {
    platform.name: platform
    for platform in (
        Platform(
            name="telegram",
            title="Telegram",
            api_base="https://api.telegram.org",
            asks=(
                Asked(
                    "token",
                    "Bot token",
                    r"[0-9]{5,16}:[A-Za-z0-9_-]{25,}",
                    "a Telegram token looks like 123456789:AAExampleOfManyLetters, as @BotFather writes it",
                ),
            ),
            before="In Telegram, write /newbot to @BotFather, choose a name, and copy the token that it answers with.",
            check=check_telegram,
            after=(
                "Now open https://t.me/{bare} and write to it. It answers a stranger with a code. Let yourself in:\n"
                "  opencrust pair list\n"
                "  opencrust pair approve CODE --role operator\n"
                "For groups: add {who} to the group, and set the channel's policy with `opencrust pair policy`."
            ),
        ),
        Platform(
            name="discord",
            title="Discord",
            api_base="https://discord.com/api/v10",
            asks=(
                Asked(
                    "token",
                    "Bot token",
                    r"[A-Za-z0-9_-]{10,}(\.[A-Za-z0-9_-]+){0,2}",
                    "a Discord bot token is three words of letters with dots between, as the page 'Bot' shows it once",
                ),
            ),
            before=(
                "At https://discord.com/developers/applications make an application. On its page 'Bot' press 'Reset "
                "Token' and copy it; below, switch on 'Message Content Intent'."
            ),
            check=check_discord,
            after=(
                "Now let it onto your server:\n"
                "  https://discord.com/oauth2/authorize?client_id={number}&scope=bot+applications.commands"
                "&permissions=277025508416\n"
                "and write to it in private. It answers a stranger with a code. Let yourself in:\n"
                "  opencrust pair list\n"
                "  opencrust pair approve CODE --role operator"
            ),
        ),
        Platform(
            name="slack",
            title="Slack",
            api_base="https://slack.com/api/",
            asks=(
                Asked("bot_token", "Bot token", r"xoxb-[A-Za-z0-9-]{6,}", "a Slack bot token begins with xoxb-"),
                Asked(
                    "app_token",
                    "App token",
                    r"xapp-[A-Za-z0-9-]{6,}",
                    "a Slack app token begins with xapp-; make it on the page 'Basic Information'",
                    ChannelMode.POLL,
                ),
                Asked(
                    "signing_secret",
                    "Signing secret",
                    r"[A-Za-z0-9-]{8,}",
                    "the signing secret stands on the page 'Basic Information'",
                    ChannelMode.WEBHOOK,
                ),
            ),
            before=(
                "At https://api.slack.com/apps make an app from the manifest in docs/channels.md and install it. The "
                "bot token (xoxb-) is on its page 'OAuth & Permissions', the app token (xapp-, with connections:write) "
                "and the signing secret are on 'Basic Information'."
            ),
            check=check_slack,
            after=(
                "Now open it below 'Apps' in Slack and write to it. It answers a stranger with a code. Let "
                "yourself in:\n"
                "  opencrust pair list\n"
                "  opencrust pair approve CODE --role operator\n"
                "In channels: /invite it, and name it in a message; it answers in a thread."
            ),
        ),
    )
}
"""Platforms that can be added; their adapters are services of the same name."""


def fits(asked: Asked, value: str) -> bool:
    """Whether a credential looks as it should."""
    return re.fullmatch(asked.shape, value) is not None
