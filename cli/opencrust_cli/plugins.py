"""``opencrust plugins``: tools that somebody else wrote, in a sandbox."""

import argparse
import getpass
import hashlib
import json
import sys
from pathlib import Path
from typing import Any

from opencrust.bus import Bus, subjects
from opencrust.bus.blobs import Blobs
from opencrust.bus.errors import NoResponders
from opencrust.contracts import PluginRecord, PluginRequest, PluginsReply, decode, encode
from opencrust.contracts.plugins import PluginInspection
from opencrust_cli import plugins_new, plugins_package, plugins_sign
from opencrust_cli.bus import with_bus
from opencrust_cli.errors import EXIT_FAILED, EXIT_OK, EXIT_USAGE, CommandError
from opencrust_cli.printable import printable

ABOUT = """\
A plugin gives the assistant new tools. It runs in a sandbox: no files, no network, no secrets, but what you agree to
when it is installed. Its answers are treated as text by strangers, and what it may do is decided by the same policy as
for every tool.

examples:
  opencrust plugins install ./units
  opencrust plugins call units '{"value": 5, "from": "km", "to": "mi"}'
  opencrust plugins new --language python weather"""

_COMPILE_SECONDS = 240.0
_CALL_SECONDS = 90.0
_SECONDS = 15.0


def register(commands: Any) -> None:
    """Add the commands to the parser."""
    form = argparse.RawDescriptionHelpFormatter
    family = commands.add_parser(
        "plugins", help="tools that somebody else wrote, in a sandbox", description=ABOUT, formatter_class=form
    )
    actions = family.add_subparsers(title="actions", metavar="ACTION", required=True)

    install = actions.add_parser("install", help="look at a plugin, and install it if you agree")
    install.add_argument("file", type=Path, metavar="FILE", help="a folder, a .zip or a .tar with a plugin.toml")
    install.add_argument("--yes", action="store_true", help="agree to what it asks for without being asked")
    install.add_argument(
        "--accept-new-signer", action="store_true", help="also if another key signed it than the installed version"
    )
    install.add_argument("--allow-downgrade", action="store_true", help="also if it is older than the installed one")
    install.add_argument("--json", action="store_true", help="for scripts; without --yes it only shows the question")
    install.set_defaults(run=_install)

    listing = actions.add_parser("list", help="show what is installed")
    listing.add_argument("--json", action="store_true", help="the lock: versions, hashes, permissions")
    listing.set_defaults(run=_list)

    call = actions.add_parser("call", help="call one of its tools yourself")
    call.add_argument("name", metavar="NAME", help="the plugin; NAME.TOOL if it has several tools")
    call.add_argument("arguments", metavar="JSON", nargs="?", default="{}", help="the tool's arguments")
    call.add_argument("--json", action="store_true", help="for scripts")
    call.set_defaults(run=_call)

    for name, text in (
        ("enable", "let it run (again)"),
        ("disable", "keep it, and do not run it"),
        ("rollback", "go back to the version before"),
        ("remove", "remove it, and what it kept"),
    ):
        action = actions.add_parser(name, help=text)
        action.add_argument("name", metavar="NAME")
        action.add_argument("--json", action="store_true", help="for scripts")
        action.set_defaults(run=_change, op=name)

    log = actions.add_parser("log", help="its newest lines, and how its calls ended")
    log.add_argument("name", metavar="NAME")
    log.add_argument("--json", action="store_true", help="for scripts")
    log.set_defaults(run=_log)

    new = actions.add_parser("new", help="begin a plugin of your own")
    new.add_argument("name", metavar="NAME", help="small letters, digits and single dashes; also the folder's name")
    new.add_argument("--language", choices=plugins_new.LANGUAGES, default="python")
    new.set_defaults(run=_new)

    sign = actions.add_parser("sign", help="sign a plugin of your own")
    sign.add_argument("folder", type=Path, metavar="FOLDER")
    sign.add_argument("--key", type=Path, required=True, metavar="FILE", help="your Ed25519 key (PEM); made if missing")
    sign.set_defaults(run=_sign)


def _install(options: argparse.Namespace) -> int:
    package = plugins_package.read(options.file)
    digest = hashlib.sha256(package.component).hexdigest()
    request = PluginRequest(
        manifest=package.manifest,
        signature=package.signature,
        wasm=digest,
        accept_new_signer=options.accept_new_signer,
        allow_downgrade=options.allow_downgrade,
        by=_me(),
    )

    async def look(bus: Bus) -> PluginInspection:
        await Blobs(bus, "PLUGINS", subjects.plugin).put(package.component)
        inspection = (await _ask(bus, "inspect", request, _COMPILE_SECONDS)).inspection
        assert inspection is not None
        return inspection

    if not options.json:
        print("Looking at it; a large one takes up to a minute …", file=sys.stderr)
    inspection = with_bus(options.home, look)
    if options.json and not options.yes:
        print(json.dumps({"installed": False, "inspection": inspection.model_dump(mode="json")}))
        return EXIT_OK
    if not options.json:
        print(question(inspection))
    if inspection.new_signer and not options.accept_new_signer:
        raise CommandError(
            f"{inspection.name} {inspection.version} is not signed by the key that signed the installed version, so it "
            "was not installed. Ask its author whether the key is another one now; if so, add --accept-new-signer"
        )
    if not options.yes and not _agreed():
        print("Nothing was installed.")
        return EXIT_FAILED
    agreed = request.model_copy(update={"consent": inspection.consent})
    reply = with_bus(options.home, lambda bus: _ask(bus, "install", agreed, _COMPILE_SECONDS))
    if options.json:
        print(json.dumps({"installed": True, "plugin": reply.plugins[0].model_dump(mode="json")}))
    else:
        print(f"{inspection.name} {inspection.version} is installed.")
    return EXIT_OK


def question(inspection: PluginInspection) -> str:
    """What a person is asked, for the terminal."""
    head = f"{inspection.name} {inspection.version}"
    if inspection.installed:
        head += f" (installed: {inspection.installed})"
    lines = [head, ""]
    if inspection.changes:
        lines += ["What changes:", *(f"  ! {printable(line)}" for line in inspection.changes), ""]
    return "\n".join([*lines, *(f"  - {printable(line)}" for line in inspection.sentences), ""])


def _agreed() -> bool:
    if not sys.stdin.isatty():
        raise CommandError("there is nobody to ask: add --yes if you agree to this", EXIT_USAGE)
    return input("Install it? [y/N] ").strip().lower() in ("y", "yes")


def _list(options: argparse.Namespace) -> int:
    reply = with_bus(options.home, lambda bus: _ask(bus, "list", PluginRequest()))
    if options.json:
        print(json.dumps({"plugins": [record.model_dump(mode="json") for record in reply.plugins]}))
    elif not reply.plugins:
        print("No plugin is installed.")
    else:
        print("\n".join(shown(record) for record in reply.plugins))
    return EXIT_OK


def shown(record: PluginRecord) -> str:
    """A plugin in a list."""
    state = "enabled" if record.enabled else f"disabled{': ' + record.reason if record.reason else ''}"
    signer = f"signed {record.current.signer}" if record.current.signer else "not signed"
    head = printable(f"{record.name} {record.current.version}  {state}  ({signer})")
    return "\n".join([head, *(f"    {t.name}: {printable(t.description)}" for t in record.current.tools)])


def _call(options: argparse.Namespace) -> int:
    name, _, tool = options.name.partition(".")
    try:
        arguments = json.loads(options.arguments)
    except (ValueError, RecursionError):
        arguments = None
    if not isinstance(arguments, dict):
        raise CommandError("the arguments must be a JSON object, as in '{\"value\": 5}'", EXIT_USAGE)
    request = PluginRequest(name=name, tool=tool, arguments=arguments, by=_me())
    reply = with_bus(options.home, lambda bus: _ask(bus, "call", request, _CALL_SECONDS))
    if options.json:
        print(json.dumps({"text": reply.text, "failed": reply.failed}))
    else:
        print("\n".join(printable(line) for line in reply.text.split("\n")))
    return EXIT_FAILED if reply.failed else EXIT_OK


def _change(options: argparse.Namespace) -> int:
    request = PluginRequest(name=options.name, by=_me())
    record = with_bus(options.home, lambda bus: _ask(bus, options.op, request)).plugins[0]
    if options.json:
        print(json.dumps(record.model_dump(mode="json")))
    elif options.op == "remove":
        print(f"{record.name} is removed.")
    elif options.op == "rollback":
        print(f"{record.name} is back at version {record.current.version}{'' if record.enabled else ' (disabled)'}.")
    else:
        print(f"{record.name} {record.current.version} is {'enabled' if record.enabled else 'disabled'}.")
    return EXIT_OK


def _log(options: argparse.Namespace) -> int:
    reply = with_bus(options.home, lambda bus: _ask(bus, "log", PluginRequest(name=options.name)))
    print(json.dumps({"log": reply.log}) if options.json else "\n".join(map(printable, reply.log)))
    return EXIT_OK


def _new(options: argparse.Namespace) -> int:
    folder = plugins_new.create(Path.cwd(), options.name, options.language)
    print(f"{folder}/ is there: {folder}/README.md says how to build, try and sign it.")
    return EXIT_OK


def _sign(options: argparse.Namespace) -> int:
    print(f"Signed. The key's fingerprint, for those who install it: {plugins_sign.sign(options.folder, options.key)}")
    return EXIT_OK


async def _ask(bus: Bus, op: str, request: PluginRequest, seconds: float = _SECONDS) -> PluginsReply:
    try:
        answer = await bus.request(subjects.ctl_plugins("cli", op), encode(request), timeout=seconds)
    except NoResponders:
        raise CommandError("the agent does not run, and plugins run there: see `opencrust status`") from None
    reply = decode(PluginsReply, answer.data)
    if reply.error:
        raise CommandError(printable(reply.error))
    return reply


def _me() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return ""
