"""``opencrust up --demo-channels``: a channel to try, against a simulator in its platform's place.

The simulators are the tests' own (``tests/simulators`` of the sources), so a checkout is needed. What is configured for
the demo is marked as such, and taken out again by the next `opencrust up` without it.
"""

from pathlib import Path

import opencrust_cli
from opencrust.config import ChannelSettings, Configuration
from opencrust_cli import vault
from opencrust_cli.errors import CommandError
from opencrust_cli.home import Home

PORTS = {"telegram": 8901}
"""Simulated channels, and where their simulators listen on 127.0.0.1."""
TOKENS = {"telegram": "987654321:simulated-token-of-no-real-bot-0123456"}
"""What they know as the bot's token. No secrets: they stand in the simulators' sources."""
MARK = "demo"


def simulators() -> Path:
    """The folder that holds the package ``simulators``.

    Raises:
        CommandError: this is no checkout of the sources.
    """
    folder = Path(opencrust_cli.__file__).parents[2] / "tests"
    if not (folder / "simulators" / "telegram.py").is_file():
        raise CommandError(
            "--demo-channels needs the simulators, which are not installed: run it from a checkout of the sources, "
            "with its tests/ folder"
        )
    return folder


def configure(home: Home) -> None:
    """Configure every simulated channel.

    Raises:
        CommandError: one is configured for its real platform.
    """
    configuration = Configuration.load(home.path)
    for name, port in PORTS.items():
        existing = configuration.channel(name)
        if existing is not None and not existing.options.get(MARK):
            raise CommandError(
                f"{name} is configured for its real platform: `opencrust channels remove {name}` first, or use another "
                "OPENCRUST_HOME for the demo"
            )
        credential = f"channel.{name}.demo_token"
        vault.store(home.path, credential, TOKENS[name].encode())
        settings = ChannelSettings(
            name=name,
            api_base=f"http://127.0.0.1:{port}",
            credentials={"token": f"vault:{credential}"},
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
    return "\n".join(
        f"{name.capitalize()} is simulated: play the people who write to your bot on http://127.0.0.1:{port}/"
        for name, port in PORTS.items()
    )
