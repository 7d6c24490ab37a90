"""What `opencrust channels add` asks, checks and says, by platform."""

import http.client
import json
import re
import ssl
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass

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
    """What to do next; ``{who}`` is what `check` said."""


def call(url: str, *, headers: Mapping[str, str] | None = None, data: bytes | None = None) -> dict[str, object]:
    """One HTTP call that answers with a JSON object.

    Raises:
        CommandError: no answer, or none in JSON. It names no address: a token may stand in it.
    """
    request = urllib.request.Request(url, data=data, headers=dict(headers or {}))  # noqa: S310 - the scheme is checked
    try:
        with urllib.request.urlopen(request, timeout=ANSWER_SECONDS) as answer:  # noqa: S310
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
    )
}
"""Platforms that can be added; their adapters are services of the same name."""


def fits(asked: Asked, value: str) -> bool:
    """Whether a credential looks as it should."""
    return re.fullmatch(asked.shape, value) is not None
