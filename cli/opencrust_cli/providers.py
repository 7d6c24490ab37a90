"""``opencrust providers``: who answers."""

import argparse
import asyncio
import getpass
import json
import signal
import sys
from typing import Any

from pydantic import ValidationError

from opencrust.bus import Bus
from opencrust.config import ConfigError, Configuration, Provider, ProviderKind
from opencrust.contracts.base import explain
from opencrust_cli import running, vault
from opencrust_cli.bus import with_bus
from opencrust_cli.errors import EXIT_OK, EXIT_USAGE, CommandError
from opencrust_cli.home import Home

PROVIDERS = """\
Providers are where the agent's model runs. They are tried in order: the first is asked, the next ones are the fallback.
Without any, a tiny offline demo model answers, and says so."""
ADD = """\
Add a provider, or replace the one of the same name. It is asked first from now on, also by a running OpenCrust. Its key
is read from stdin and goes into the vault; the configuration holds only its name there.

examples:
  opencrust providers add claude --kind anthropic --model claude-sonnet-4-5 --key-stdin
  opencrust providers add home --kind ollama --model llama3.2
  opencrust providers add lab --kind openai --base-url http://127.0.0.1:8000/v1 --model qwen3"""
IN_FORCE_SECONDS = 20.0
PAUSE = 0.1
_VENDORS = (ProviderKind.OPENAI, ProviderKind.ANTHROPIC)


def register(commands: Any) -> None:
    """Add the commands to the parser."""
    form = argparse.RawDescriptionHelpFormatter
    providers = commands.add_parser("providers", help="who answers", description=PROVIDERS, formatter_class=form)
    actions = providers.add_subparsers(title="actions", metavar="ACTION", required=True)
    add = actions.add_parser("add", help="add or replace one", description=ADD, formatter_class=form)
    add.add_argument("name", help="what you call it: a-z, 0-9, - and _")
    add.add_argument("--kind", required=True, choices=[kind.value for kind in ProviderKind], help="how to speak to it")
    add.add_argument("--model", help="the model's name there (not needed for demo)")
    add.add_argument("--base-url", help="where it is, if not at its vendor's address")
    add.add_argument("--max-tokens", type=int, help="longest answer, in tokens")
    add.add_argument(
        "--vision",
        action=argparse.BooleanOptionalAction,
        help="whether the model takes pictures (without this: as is usual at that kind of provider)",
    )
    key = add.add_mutually_exclusive_group()
    key.add_argument("--key-stdin", action="store_true", help="read its key from stdin (asked for, on a terminal)")
    key.add_argument("--credential", metavar="NAME", help="its key is in the vault already, under this name")
    add.add_argument("--last", action="store_true", help="ask it after the others instead of before")
    add.set_defaults(run=_add)
    listing = actions.add_parser("list", help="show them in their order")
    listing.add_argument("--json", action="store_true")
    listing.set_defaults(run=_list)
    remove = actions.add_parser("remove", help="forget one")
    remove.add_argument("name")
    remove.set_defaults(run=_remove)


def _add(options: argparse.Namespace) -> int:
    home: Home = options.home
    home.require_own()
    configuration = _load(home)
    provider = _provider(options)
    if provider.kind in _VENDORS and provider.base_url is None and provider.credential is None:
        raise CommandError(f"{provider.kind.value} needs a key: add --key-stdin", EXIT_USAGE)
    if provider.credential is not None and options.key_stdin:
        vault.store(home.path, provider.credential.removeprefix("vault:"), _read_key())
    configuration = configuration.with_provider(provider, first=not options.last)
    configuration.save(home.path)
    print(f"Provider {provider.name} is set: {_line(provider)}.")
    _tell(home, configuration)
    return EXIT_OK


def _provider(options: argparse.Namespace) -> Provider:
    kind = ProviderKind(options.kind)
    fields: dict[str, Any] = {
        "name": options.name,
        "kind": kind,
        "model": options.model or ("demo" if kind is ProviderKind.DEMO else None),
        "base_url": options.base_url,
        "credential": f"vault:{_credential(options)}" if options.key_stdin or options.credential else None,
        "max_tokens": options.max_tokens,
        "vision": options.vision,
    }
    if fields["model"] is None:
        raise CommandError("--model is needed: the name of the model at that provider", EXIT_USAGE)
    try:
        return Provider.model_validate({name: value for name, value in fields.items() if value is not None})
    except ValidationError as error:
        raise CommandError(explain(error), EXIT_USAGE) from None


def _credential(options: argparse.Namespace) -> str:
    """The name of its key in the vault. The agent's policy there covers `provider.…`."""
    return str(options.credential or f"provider.{options.name}.api_key")


def _read_key() -> bytes:
    text = getpass.getpass("Key: ") if sys.stdin.isatty() else sys.stdin.readline()
    key = text.strip()
    if not key or not key.isprintable() or not key.isascii():
        raise CommandError("no key came from stdin: it must be one line of printable characters", EXIT_USAGE)
    return key.encode()


def _list(options: argparse.Namespace) -> int:
    providers = _load(options.home).providers
    if options.json:
        print(json.dumps({"providers": [provider.model_dump(mode="json") for provider in providers]}))
    elif not providers:
        print(
            "No provider is set: the offline demo model answers, if it is installed (`./install.sh --demo`). "
            "Add one with `opencrust providers add`."
        )
    for number, provider in enumerate(() if options.json else providers, 1):
        print(f"{number}. {provider.name}: {_line(provider)}")
    return EXIT_OK


def _line(provider: Provider) -> str:
    parts = [provider.kind.value, provider.model, provider.base_url or "", "with a key" if provider.credential else ""]
    return ", ".join(part for part in parts if part)


def _remove(options: argparse.Namespace) -> int:
    home: Home = options.home
    configuration = _load(home)
    left = tuple(provider for provider in configuration.providers if provider.name != options.name)
    if len(left) == len(configuration.providers):
        known = ", ".join(provider.name for provider in configuration.providers) or "none"
        raise CommandError(f"there is no provider {options.name!r}; there are: {known}")
    configuration = configuration.model_copy(update={"providers": left})
    configuration.save(home.path)
    print(
        f"Provider {options.name} is forgotten. Its key, if it had one, is still in the vault: see `opencrust vault`."
    )
    _tell(home, configuration)
    return EXIT_OK


def _load(home: Home) -> Configuration:
    try:
        return Configuration.load(home.path)
    except ConfigError as error:
        raise CommandError(str(error)) from None


def _tell(home: Home, configuration: Configuration) -> None:
    """Have a running supervisor publish the new configuration, and return when it is in force.

    Raises:
        CommandError: it is not, after `IN_FORCE_SECONDS`; the file keeps it.
    """
    supervisor = running.find(home)
    if supervisor is None:
        return
    supervisor.send(signal.SIGHUP)
    wanted = configuration.for_services()["agent.providers"]

    async def in_force(bus: Bus) -> bool:
        keys = bus.kv("cfg")
        for _ in range(int(IN_FORCE_SECONDS / PAUSE)):
            entry = await keys.get("agent.providers")
            if entry is not None and entry.value == wanted:
                await asyncio.sleep(PAUSE)  # the agent hears of it at the same moment as we can read it
                return True
            await asyncio.sleep(PAUSE)
        return False

    if not with_bus(home, in_force):
        raise CommandError("it is saved, but not in force: `opencrust logs provisioner` says why")
