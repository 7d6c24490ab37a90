"""``opencrust up --demo-channels``: channels to try, each against a simulator in its platform's place.

The simulators are the package ``opencrust_sim``, which install.sh installs with the rest. What is configured for the
demo is marked as such, and taken out again by the next `opencrust up` without it.
"""

import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from opencrust.config import ChannelSettings, Configuration
from opencrust_cli import vault
from opencrust_cli.errors import CommandError
from opencrust_cli.home import Home


@dataclass(frozen=True, slots=True)
class Demo:
    """A simulated channel."""

    port: int
    """Where its simulator listens on 127.0.0.1."""
    path: str
    """Of its API there."""
    tokens: Mapping[str, str]
    """What it knows as the bot's credentials. No secrets: they stand in the simulators' sources."""


DEMOS: Final = {
    "telegram": Demo(8901, "", {"token": "987654321:simulated-token-of-no-real-bot-0123456"}),
    "discord": Demo(8911, "/api/v10", {"token": "simulated-token"}),
    "slack": Demo(8912, "/api/", {"bot_token": "xoxb-simulated", "app_token": "xapp-simulated"}),
}
MARK: Final = "demo"


def require() -> None:
    """See that the simulators are there.

    Raises:
        CommandError: they are not installed.
    """
    if importlib.util.find_spec("opencrust_sim") is None:
        raise CommandError("the simulators are not installed: run ./install.sh again")


def configure(home: Home) -> None:
    """Configure every simulated channel.

    Raises:
        CommandError: one is configured for its real platform.
    """
    configuration = Configuration.load(home.path)
    for name, demo in DEMOS.items():
        existing = configuration.channel(name)
        if existing is not None and not existing.options.get(MARK):
            raise CommandError(
                f"{name} is configured for its real platform: `opencrust channels remove {name}` first, or use another "
                "OPENCRUST_HOME for the demo"
            )
        names = {key: f"channel.{name}.demo_{key}" for key in demo.tokens}
        for key, token in demo.tokens.items():
            vault.store(home.path, names[key], token.encode())
        settings = ChannelSettings(
            name=name,
            api_base=f"http://127.0.0.1:{demo.port}{demo.path}",
            credentials={key: f"vault:{credential}" for key, credential in names.items()},
            options={MARK: True},
        )
        configuration = configuration.with_channel(settings)
    configuration.save(home.path)


def forget(home: Home) -> None:
    """Take out of the configuration what an earlier demo put there."""
    configuration = Configuration.load(home.path)
    demo = [channel.name for channel in configuration.channels if channel.options.get(MARK)]
    for name in demo:
        configuration = configuration.without_channel(name)
    if demo:
        configuration.save(home.path)


def told() -> str:
    """What to tell the person once it runs."""
    pages = "\n".join(f"  {name.capitalize()}: http://127.0.0.1:{demo.port}/" for name, demo in DEMOS.items())
    return f"These are simulated; play the people who write to your bot there:\n{pages}"
