"""``opencrust vault``: what OpenCrust may know, and who may know it."""

import argparse
import json
import sys
from datetime import UTC, datetime
from getpass import getpass
from pathlib import Path
from typing import Any

from opencrust.credentials.references import find_plain_secrets, with_references
from opencrust_cli import vault_checks, vault_keys
from opencrust_cli.errors import EXIT_FAILED, EXIT_OK, EXIT_USAGE, CommandError
from opencrust_cli.vault_access import as_command_error, encoded, paths_of, perform
from opencrust_vault import backup, files, hygiene
from opencrust_vault.document import MAX_VALUE
from opencrust_vault.errors import VaultError

VAULT = """\
Credentials, encrypted at rest and handed to services sealed. Values go in and are never shown again; configuration
files hold only their names, as vault:<name>.

  opencrust vault set channel.telegram.token         asks for the value
  opencrust vault set mail.password --stdin < file   for scripts; a value never stands on the command line
  opencrust vault list                               names, versions, who may read them
  opencrust vault rotate channel.telegram.token      replace it; services take the new one within seconds
  opencrust vault doctor                             what is weaker than it could be"""
EPILOG = (
    "exit codes: 0 done · 1 refused or failed, the reason is on stderr · 2 wrong usage · 3 the vault does not answer"
)
_FORM = argparse.RawDescriptionHelpFormatter


def store(home: Path, name: str, value: bytes) -> None:
    """Put a credential into the vault, whether it runs or not; the vault is made if there is none.

    Args:
        home: OPENCRUST_HOME.
        name: such as `provider.openai.api_key`.
        value: 1–65,536 bytes.

    Raises:
        CommandError: it could not be stored; the text says why and never contains the value.
    """
    perform(home, "set", name=name, value=encoded(value))


def register(commands: Any) -> None:
    """Add the commands to the parser."""
    vault = commands.add_parser(
        "vault", help="credentials: set, rotate, grant", description=VAULT, epilog=EPILOG, formatter_class=_FORM
    )
    actions = vault.add_subparsers(title="actions", metavar="ACTION", required=True)
    _register_secrets(actions)
    _register_policy(actions)
    vault_keys.register(actions)
    vault_checks.register(actions)


def _register_secrets(actions: Any) -> None:
    for action, run, about in (
        ("set", _set, "store a value, or a new version of it"),
        ("rotate", _rotate, "replace a value that is there; its readers are told at once"),
    ):
        command = actions.add_parser(action, help=about, description=f"{about}. The value is asked for, or comes from:")
        command.add_argument("name", help="a–z, 0–9, '.', '-', '_'; such as channel.telegram.token")
        source = command.add_mutually_exclusive_group()
        source.add_argument("--stdin", action="store_true", help="standard input; a final newline is dropped")
        source.add_argument("--file", type=Path, help="a file, taken as it is")
        command.add_argument(
            "--expires", type=datetime.fromisoformat, help="hand it out only until then (ISO 8601, UTC)"
        )
        command.set_defaults(run=run)
    listing = actions.add_parser("list", help="names, versions and readers; never values")
    listing.add_argument("--json", action="store_true", help='{"secrets": [{"name", "version", "readers", …}]}')
    listing.set_defaults(run=_list)
    info = actions.add_parser("get-info", help="everything about one secret but its value")
    info.add_argument("name")
    info.add_argument("--json", action="store_true")
    info.set_defaults(run=_get_info)
    destroy = actions.add_parser("destroy", help="remove a secret, or one version of it")
    destroy.add_argument("name")
    destroy.add_argument("--version", type=int, help="only this one")
    destroy.set_defaults(run=_destroy)
    importing = actions.add_parser("import", help="move plain secrets out of the configuration into the vault")
    importing.add_argument("--file", type=Path, help="instead of config/config.json")
    importing.set_defaults(run=_import)
    export = actions.add_parser("export-backup", help="write an encrypted backup; also while the vault runs")
    export.add_argument("target", type=Path, help="a new file; keep it away from the key that unlocks it")
    export.set_defaults(run=_export)


def _register_policy(actions: Any) -> None:
    grant = actions.add_parser("grant", help="let a service read a secret, or show all grants")
    grant.add_argument("service", nargs="?", help="such as agent, or channel-*")
    grant.add_argument("secrets", nargs="?", help="a name, or a prefix and .*; {channel} is what the * stands for")
    grant.add_argument("--purpose", action="append", help="what it may be used for; may be repeated")
    grant.add_argument("--ttl", type=int, default=300, help="seconds until a service asks again (300)")
    grant.add_argument("--per-minute", type=int, default=30, help="how often it may ask (30)")
    grant.add_argument("--burst", type=int, default=10, help="how often at once (10)")
    grant.add_argument("--list", action="store_true", help="show all grants")
    grant.add_argument("--json", action="store_true")
    grant.set_defaults(run=_grant)
    revoke = actions.add_parser("revoke", help="take back a grant, a lease, or a certificate")
    revoke.add_argument("service", nargs="?", help="with SECRETS: the grant as `grant --list` shows it")
    revoke.add_argument("secrets", nargs="?")
    revoke.add_argument("--lease", help="its id; the service is told to drop its copy")
    revoke.add_argument("--certificate", help="SHA-256 of its DER form; the vault accepts it no longer")
    revoke.set_defaults(run=_revoke)
    why = actions.add_parser("why", help="would this service get this secret, and why")
    for argument in ("service", "name", "purpose"):
        why.add_argument(argument)
    why.set_defaults(run=_why)
    leases = actions.add_parser("leases", help="who holds a copy of what right now")
    leases.add_argument("--json", action="store_true")
    leases.set_defaults(run=_leases)


def _set(options: argparse.Namespace) -> int:
    return _put(options, must_exist=False)


def _rotate(options: argparse.Namespace) -> int:
    return _put(options, must_exist=True)


def _put(options: argparse.Namespace, *, must_exist: bool) -> int:
    value = _read_value(options)
    expires = (
        int(options.expires.replace(tzinfo=options.expires.tzinfo or UTC).timestamp()) if options.expires else None
    )
    done = perform(
        options.home.path, "set", name=options.name, value=encoded(value), must_exist=must_exist, expires=expires
    )
    print(f"{done['name']} is stored, version {done['version']}.")
    return EXIT_OK


def _read_value(options: argparse.Namespace) -> bytes:
    if options.file is not None:
        try:
            value = bytes(options.file.read_bytes())
        except OSError as error:
            raise CommandError(f"{options.file} cannot be read: {error.strerror}") from None
    elif options.stdin or not sys.stdin.isatty():
        value = sys.stdin.buffer.read(MAX_VALUE + 2)
        value = value.removesuffix(b"\n").removesuffix(b"\r")
    else:
        value = getpass("Value: ").encode()
        if getpass("Again: ").encode() != value:
            raise CommandError("the two values differ; nothing was stored", EXIT_USAGE)
    if not 1 <= len(value) <= MAX_VALUE:
        raise CommandError(f"a value has between 1 and {MAX_VALUE} bytes; nothing was stored", EXIT_USAGE)
    return value


def _list(options: argparse.Namespace) -> int:
    found = perform(options.home.path, "list")
    if options.json:
        print(json.dumps(found))
    elif not found["secrets"]:
        print("The vault is empty. Put something in with `opencrust vault set NAME`.")
    else:
        for secret in found["secrets"]:
            readers = ", ".join(secret["readers"]) or "nobody"
            print(f"{secret['name']}  version {secret['version']}, {_day(secret['created'])}, for {readers}")
    return EXIT_OK


def _get_info(options: argparse.Namespace) -> int:
    info = perform(options.home.path, "get-info", name=options.name)
    if options.json:
        print(json.dumps(info))
        return EXIT_OK
    for what, shown in (
        ("name", info["name"]),
        ("version", f"{info['version']} (kept: {', '.join(map(str, info['versions']))})"),
        ("written", _day(info["created"])),
        ("expires", _day(info["expires"]) if info["expires"] else "never"),
        ("may read it", ", ".join(info["readers"]) or "nobody"),
        ("hold a copy", ", ".join(info["holders"]) or "nobody"),
        ("fingerprint id", info["fingerprint_id"]),
    ):
        print(f"{what + ':':16}{shown}")
    return EXIT_OK


def _destroy(options: argparse.Namespace) -> int:
    perform(options.home.path, "destroy", name=options.name, version=options.version)
    print(f"{options.name} is removed from the vault. Old backups together with an unlock key still open it:")
    print("if it got into wrong hands, also revoke it where it was issued.")
    return EXIT_OK


def _import(options: argparse.Namespace) -> int:
    path = options.file or options.home.path / "config" / "config.json"
    try:
        text = path.read_text()
        found = find_plain_secrets(text)
    except (OSError, ValueError) as error:
        raise CommandError(f"{path}: {error.strerror if isinstance(error, OSError) else error}") from None
    if not found:
        print(f"There is no plain secret in {path}.")
        return EXIT_OK
    replaced, values = with_references(text, {item.path: item.suggestion for item in found})
    existing = {secret["name"] for secret in perform(options.home.path, "list")["secrets"]}
    if clash := sorted(existing & set(values)):
        raise CommandError(f"the vault has {', '.join(clash)} already; rename or remove it first. Nothing was changed")
    perform(options.home.path, "import", values={name: encoded(value) for name, value in values.items()})
    try:
        files.write_private(path, replaced.encode())
    except OSError as error:
        raise CommandError(f"the secrets are in the vault, but {path} could not be written: {error.strerror}") from None
    for item in found:
        print(f"{path}, line {item.line}: moved into the vault as {item.suggestion}")
    print("They were readable until now: consider rotating them where they were issued.")
    return EXIT_OK


def _export(options: argparse.Namespace) -> int:
    hygiene.harden_process()
    try:
        generation = backup.write(paths_of(options.home.path), options.target)
    except VaultError as error:
        raise as_command_error(error) from None
    except OSError as error:
        raise CommandError(f"{options.target} could not be written: {error.strerror}") from None
    print(f"{options.target} holds the vault (generation {generation}) and its audit log, encrypted.")
    print("It opens with the passphrase, the recovery key or the key file; none of them is in it.")
    return EXIT_OK


def _grant(options: argparse.Namespace) -> int:
    if options.list or options.service is None:
        rules = perform(options.home.path, "policy")
        if options.json:
            print(json.dumps(rules))
            return EXIT_OK
        for grant in rules["grants"]:
            purposes = ", ".join(grant["purposes"])
            print(f"{grant['service']} may read {grant['secrets']} for {purposes}, ttl {grant['ttl']} s")
        return EXIT_OK
    if options.secrets is None or not options.purpose:
        raise CommandError("a grant needs SERVICE, SECRETS and --purpose", EXIT_USAGE)
    grant = perform(
        options.home.path,
        "grant",
        service=options.service,
        secrets=options.secrets,
        purposes=options.purpose,
        ttl=options.ttl,
        per_minute=options.per_minute,
        burst=options.burst,
    )
    print(f"{grant['service']} may read {grant['secrets']} for {', '.join(grant['purposes'])}.")
    return EXIT_OK


def _revoke(options: argparse.Namespace) -> int:
    if options.lease:
        done = perform(options.home.path, "revoke-lease", lease=options.lease)
        print(f"{done['service']} is told to drop its copy of {done['name']}.")
        print("Who has read a value may have kept it: to be sure, rotate it where it was issued.")
    elif options.certificate:
        perform(options.home.path, "revoke-certificate", certificate=options.certificate)
        print("The vault accepts this certificate no longer.")
    elif options.service and options.secrets:
        done = perform(options.home.path, "revoke-grant", service=options.service, secrets=options.secrets)
        print(
            f"{options.service} may not read {options.secrets} any more; {done['dropped_leases']} leases are dropped."
        )
    else:
        raise CommandError("say what to revoke: SERVICE SECRETS, --lease or --certificate", EXIT_USAGE)
    return EXIT_OK


def _why(options: argparse.Namespace) -> int:
    answer = perform(options.home.path, "why", service=options.service, name=options.name, purpose=options.purpose)
    print(("yes: " if answer["granted"] else "no: ") + answer["reason"])
    return EXIT_OK if answer["granted"] else EXIT_FAILED


def _leases(options: argparse.Namespace) -> int:
    found = perform(options.home.path, "leases")
    if options.json:
        print(json.dumps(found))
    elif not found["leases"]:
        print("No service holds a copy, as far as the vault knows.")
    else:
        for lease in found["leases"]:
            until = datetime.fromtimestamp(lease["not_after"], UTC).strftime("%H:%M:%S UTC")
            print(
                f"{lease['lease']}  {lease['service']} holds {lease['name']} (version {lease['version']}) until {until}"
            )
    return EXIT_OK


def _day(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M UTC")
