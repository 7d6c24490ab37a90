"""``opencrust channels``: platforms that people write from."""

import argparse
import asyncio
import getpass
import importlib
import json
import signal
import sys
from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from opencrust.bus import Bus
from opencrust.bus.survey import Report, survey
from opencrust.config import ChannelMode, ChannelSettings, ConfigError, Configuration, Webhook
from opencrust.contracts.base import explain
from opencrust_cli import channel_policy, demo_channels, running, vault
from opencrust_cli.bus import with_bus
from opencrust_cli.channel_platforms import PLATFORMS, Platform, fits
from opencrust_cli.channel_who import Known
from opencrust_cli.errors import EXIT_FAILED, EXIT_OK, EXIT_USAGE, CommandError
from opencrust_cli.home import Home
from opencrust_cli.vault_access import perform

ABOUT = """\
Channels are where people write to your agent from, besides the web page and the terminal. Each is a service of its own
that runs only while it is configured. Who may speak on it is told by `opencrust pair` and `opencrust people`: at first
nobody is let in, and a stranger gets a code that you can approve."""
ADD = """\
Add a channel, or replace its settings. Its token is asked for, or read from stdin, one line for each; it is checked
with the platform and goes into the vault. The configuration holds only its name there. A running OpenCrust starts it at
once.

examples:
  opencrust channels add telegram
  opencrust channels add telegram --webhook https://home.example.org --listen 127.0.0.1:3890
  opencrust channels add telegram --credential token=channel.telegram.token    (it is in the vault already)"""
TEST = """\
Ask a channel's running service whether its link to the platform stands. Exit code 0 if it does, 1 with the reason if
not."""
SIMULATE = """\
Run a simulated platform on this machine until it is interrupted. It prints its address: open it in a browser to play
the people who write to your bot, and give it to `opencrust channels add NAME --api-base ADDRESS`, with the token that
it prints, to let your OpenCrust talk to it. `opencrust up --demo-channels` does all of that for all of them."""
IN_FORCE_SECONDS = 20.0
LINK_SECONDS = 15.0
PAUSE = 0.2


def register(commands: Any) -> None:
    """Add the commands to the parser."""
    form = argparse.RawDescriptionHelpFormatter
    channels = commands.add_parser("channels", help="Telegram and others", description=ABOUT, formatter_class=form)
    actions = channels.add_subparsers(title="actions", metavar="ACTION", required=True)
    add = actions.add_parser("add", help="add one, or replace its settings", description=ADD, formatter_class=form)
    add.add_argument("name", choices=sorted(PLATFORMS), help="the platform")
    add.add_argument(
        "--credential", action="append", default=[], metavar="KEY=NAME", help="it is in the vault under NAME already"
    )
    add.add_argument("--api-base", metavar="URL", help="instead of the platform's own address")
    add.add_argument("--webhook", metavar="URL", help="have the platform call this public address; else we ask it")
    add.add_argument("--listen", metavar="HOST:PORT", default="127.0.0.1:3890", help="where that address leads to")
    add.add_argument("--option", action="append", default=[], metavar="KEY=VALUE", help="for this platform only")
    add.add_argument("--no-check", action="store_true", help="do not ask the platform whether the token is good")
    add.set_defaults(run=_add)
    listing = actions.add_parser("list", help="what is configured")
    listing.add_argument("--json", action="store_true", help='{"channels": [{"name", "mode", "api_base", …}]}')
    listing.set_defaults(run=_list)
    remove = actions.add_parser("remove", help="stop one and forget its settings")
    remove.add_argument("name")
    remove.set_defaults(run=_remove)
    test = actions.add_parser("test", help="does its link stand", description=TEST, formatter_class=form)
    test.add_argument("name")
    test.add_argument("--json", action="store_true", help="the facts of the replica that listens")
    test.set_defaults(run=_test)
    status = actions.add_parser("status", help="how the running ones are, replica by replica")
    status.add_argument("--json", action="store_true", help='{"channels": [{"name", "replicas": [{"instance", …}]}]}')
    status.set_defaults(run=_status)
    simulate = actions.add_parser(
        "simulate", help="a simulated platform, to try one", description=SIMULATE, formatter_class=form
    )
    simulate.add_argument("name", choices=sorted(demo_channels.DEMOS), help="the platform")
    simulate.add_argument("--port", type=int, metavar="N", help="on 127.0.0.1")
    simulate.set_defaults(run=_simulate)
    policy = actions.add_parser(
        "policy", help=channel_policy.HELP, description=channel_policy.POLICY, formatter_class=form
    )
    policy.add_argument("--json", action="store_true", help='{"channels": [{"channel", "dm", "group", …}]}')
    channel_policy.arguments(policy)
    policy.set_defaults(run=channel_policy.run)


# -- add and remove


def _add(options: argparse.Namespace) -> int:
    home: Home = options.home
    home.require_own()
    platform = PLATFORMS[options.name]
    configuration = _load(home)
    references = dict(_pairs(options.credential, "--credential"))
    wanted = platform.asked(ChannelMode.WEBHOOK if options.webhook else ChannelMode.POLL)
    asked = [asks for asks in wanted if asks.key not in references]
    settings = _settings(options, platform, references)
    secrets = _read_secrets(platform, [asks.key for asks in asked])
    known: Known | None = None
    if asked and not options.no_check and len(asked) == len(wanted):
        known = platform.check(secrets, settings.api_base or platform.api_base)
        print("\n".join([f"{platform.title} knows it: {known.who}.", *known.hints]))
    for key, value in secrets.items():
        name = f"channel.{platform.name}.{key}"
        vault.store(home.path, name, value.encode())
        _require_grant(home, platform, name)
    configuration = configuration.with_channel(settings)
    configuration.save(home.path)
    print(f"Channel {platform.name} is set; its credentials are in the vault.")
    _tell(home, configuration, platform.name)
    if known is not None:
        print(platform.after.format(who=known.who, place=known.place))
    if running.find(home) is None:
        print("It starts with the next `opencrust up`.")
    return EXIT_OK


def _settings(options: argparse.Namespace, platform: Platform, references: Mapping[str, str]) -> ChannelSettings:
    wanted = platform.asked(ChannelMode.WEBHOOK if options.webhook else ChannelMode.POLL)
    names = {asks.key: references.get(asks.key, f"channel.{platform.name}.{asks.key}") for asks in wanted}
    fields: dict[str, Any] = {
        "name": platform.name,
        "api_base": options.api_base,
        "credentials": {key: f"vault:{name}" for key, name in names.items()},
        "options": {key: _value(value) for key, value in _pairs(options.option, "--option")},
    }
    try:
        if options.webhook:
            host, _, port = options.listen.rpartition(":")
            fields["webhook"] = Webhook.model_validate({"public_url": options.webhook, "host": host, "port": port})
            fields["mode"] = ChannelMode.WEBHOOK
        return ChannelSettings.model_validate(fields)
    except ValidationError as error:
        raise CommandError(explain(error), EXIT_USAGE) from None


def _read_secrets(platform: Platform, keys: list[str]) -> dict[str, str]:
    """Ask for them on a terminal, else take one line of stdin for each."""
    if keys and sys.stdin.isatty():
        print(platform.before)
    secrets = {}
    for asked in platform.asks:
        if asked.key not in keys:
            continue
        typed = getpass.getpass(f"{asked.question}: ") if sys.stdin.isatty() else sys.stdin.readline()
        value = typed.strip()
        if not fits(asked, value):
            raise CommandError(f"{asked.question}: {asked.hint}. Nothing was changed", EXIT_USAGE)
        secrets[asked.key] = value
    return secrets


def _require_grant(home: Home, platform: Platform, name: str) -> None:
    """The vault's own policy lets every channel read its own; where somebody took that away, give it for this one."""
    service = f"channel-{platform.name}"
    granted = perform(home.path, "why", service=service, name=name, purpose="connect")
    if not granted["granted"]:
        perform(
            home.path, "grant", service=service, secrets=name, purposes=["connect"], ttl=900, per_minute=30, burst=10
        )  # fmt: skip
        print(f"{service} may read {name} now.")


def _remove(options: argparse.Namespace) -> int:
    home: Home = options.home
    configuration = _load(home)
    _require_configured(configuration, options.name)
    configuration = configuration.without_channel(options.name)
    configuration.save(home.path)
    print(
        f"Channel {options.name} is forgotten. Its credentials are still in the vault: see `opencrust vault list`, and "
        f"`opencrust vault destroy`. Who was let in stays on the list, should you add it again."
    )
    _tell(home, configuration, options.name)
    return EXIT_OK


def _require_configured(configuration: Configuration, name: str) -> None:
    if configuration.channel(name) is None:
        known = ", ".join(channel.name for channel in configuration.channels) or "none"
        raise CommandError(f"channel {name} is not configured; there are: {known}")


def _tell(home: Home, configuration: Configuration, name: str) -> None:
    """Have a running supervisor publish the settings and start or stop the service; return when they are in force.

    Raises:
        CommandError: they are not, after `IN_FORCE_SECONDS`; the file keeps them.
    """
    supervisor = running.find(home)
    if supervisor is None:
        return
    supervisor.send(signal.SIGHUP)
    key = f"channel-{name}.settings"
    wanted = configuration.for_services()[key]

    async def in_force(bus: Bus) -> bool:
        keys = bus.kv("cfg")
        for _ in range(int(IN_FORCE_SECONDS / PAUSE)):
            entry = await keys.get(key)
            if entry is not None and entry.value == wanted:
                return True
            await asyncio.sleep(PAUSE)
        return False

    if not with_bus(home, in_force):
        raise CommandError("it is saved, but not in force: `opencrust logs provisioner` says why")


# -- looking


def _simulate(options: argparse.Namespace) -> int:
    demo_channels.require()
    arguments = [options.name, *(["--port", str(options.port)] if options.port is not None else [])]
    code: int = importlib.import_module("opencrust_sim.__main__").main(arguments)
    return code


def _list(options: argparse.Namespace) -> int:
    channels = _load(options.home).channels
    if options.json:
        print(json.dumps({"channels": [channel.model_dump(mode="json") for channel in channels]}))
    elif not channels:
        print("No channel is configured. Add one with `opencrust channels add telegram`.")
    for channel in () if options.json else channels:
        parts = [channel.mode.value, channel.api_base or "", "" if channel.enabled else "switched off"]
        print(f"{channel.name}: {', '.join(part for part in parts if part)}")
    return EXIT_OK


def _status(options: argparse.Namespace) -> int:
    names = [channel.name for channel in _load(options.home).channels]
    reports = _ask(options.home, names)
    if options.json:
        print(json.dumps({"channels": [{"name": name, "replicas": _replicas(reports, name)} for name in names]}))
        return EXIT_OK
    if not names:
        print("No channel is configured. Add one with `opencrust channels add telegram`.")
    for name in names:
        replicas = [report for report in reports if report.service == f"channel-{name}"]
        print(f"{name}: {'not running' if not replicas else ''}".rstrip())
        for report in replicas:
            print(f"  {line(report)}")
    return EXIT_OK


def _test(options: argparse.Namespace) -> int:
    home: Home = options.home
    _require_configured(_load(home), options.name)

    async def ask(bus: Bus) -> Report | None:
        """The replica that listens, once its link is decided."""
        listening: Report | None = None
        for _ in range(int(LINK_SECONDS / 0.5)):
            reports = await survey(bus, [f"channel-{options.name}"])
            found = [report for report in reports if report.facts.get("link") not in ("idle", "not configured")]
            listening = found[0] if found else listening
            if listening is not None and listening.facts.get("link") in ("connected", "refused"):
                break
        return listening

    report = with_bus(home, ask)
    if report is None:
        raise CommandError(f"no replica of channel-{options.name} listens: see `opencrust logs channel-{options.name}`")
    if options.json:
        print(json.dumps({"instance": report.instance, **report.facts}))
    else:
        print(f"{options.name}: {line(report)}")
    return EXIT_OK if report.facts.get("link") == "connected" else EXIT_FAILED


def line(report: Report) -> str:
    """One replica, for the person."""
    facts = report.facts
    link, reason = facts.get("link"), facts.get("link_reason")
    who = facts.get("bot") or facts.get("account")
    parts = [
        f"{report.instance}: {facts.get('role')}",
        f"link {link}" + (f" ({reason})" if reason else ""),
        f"as {who}" if who else "",
        f"{facts.get('in_stored', 0)} in",
        f"{facts.get('out_sent', 0)} out",
        f"{facts['unknown']} of unknown end" if facts.get("unknown") else "",
        f"slowed {facts['rate_limited']} times" if facts.get("rate_limited") else "",
    ]
    return ", ".join(part for part in parts if part)


def _ask(home: Home, names: list[str]) -> list[Report]:
    async def ask(bus: Bus) -> list[Report]:
        return await survey(bus, [f"channel-{name}" for name in names])

    return with_bus(home, ask)


def _replicas(reports: list[Report], name: str) -> list[dict[str, object]]:
    return [
        {"instance": report.instance, "ready": report.ready, **report.facts}
        for report in reports
        if report.service == f"channel-{name}"
    ]


def _load(home: Home) -> Configuration:
    try:
        return Configuration.load(home.path)
    except ConfigError as error:
        raise CommandError(str(error)) from None


def _pairs(texts: list[str], option: str) -> list[tuple[str, str]]:
    pairs = [text.partition("=") for text in texts]
    if any(not key or not value for key, _, value in pairs):
        raise CommandError(f"{option} wants KEY=VALUE", EXIT_USAGE)
    return [(key, value) for key, _, value in pairs]


def _value(text: str) -> bool | int | float | str:
    if text in ("true", "false"):
        return text == "true"
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text
