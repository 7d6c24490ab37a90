"""What `opencrust channels add` asks, checks (:mod:`.channel_who`) and says, by platform."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from opencrust.config import ChannelMode
from opencrust_cli import channel_who
from opencrust_cli.channel_who import Known


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
    check: Callable[[Mapping[str, str], str], Known]
    """Ask the platform, with the credentials and the base address, who the bot is. Raises CommandError."""
    after: str
    """What to do next; ``{who}`` and ``{place}`` are what `check` said."""

    def asked(self, mode: ChannelMode) -> tuple[Asked, ...]:
        """What is asked for where events come in this way."""
        return tuple(asked for asked in self.asks if asked.mode in (None, mode))


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
            check=channel_who.telegram,
            after=(
                "Now open {place} and write to it. It answers a stranger with a code. Let yourself in:\n"
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
            check=channel_who.discord,
            after=(
                "Now let it onto your server:\n"
                "  https://discord.com/oauth2/authorize?client_id={place}&scope=bot+applications.commands"
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
            check=channel_who.slack,
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
