"""``opencrust vault``: the ways to unlock. init, unlock, passphrase, rekey, restore."""

import argparse
import asyncio
import os
import sys
from getpass import getpass
from pathlib import Path
from typing import Any

from opencrust_cli.errors import EXIT_OK, EXIT_USAGE, CommandError
from opencrust_cli.vault_access import as_command_error, ask_to_unlock, encoded, paths_of, perform
from opencrust_vault import backup, files, hygiene, opening
from opencrust_vault.admin_socket import call
from opencrust_vault.errors import VaultError
from opencrust_vault.opening import KEY_SLOT
from opencrust_vault.slots import Passphrase, RecoveryKey, UnlockKey, check_passphrase
from opencrust_vault.unlock import read_key_file, write_new_key_file

INIT = """\
Make the vault: a key file that unlocks it at every start, and a recovery key that is shown once, on this terminal.
`opencrust up` makes a vault when there is none; `opencrust vault rekey --recovery` then gives it a recovery key."""
REKEY = """\
Take new keys. Without an option: a new key encryption key, under which every secret's own key is sealed again.

  --recovery   a new recovery key, shown once on this terminal; the old one opens nothing any more
  --root       everything new: root key, key file and recovery key; a passphrase has to be set again"""
RESTORE = """\
Put a backup in place, on this machine or a blank one. It asks for the passphrase or the recovery key, or takes the key
file of the old machine. The vault must not be running (`opencrust down`)."""
_RECOVERY_SLOT = "recovery"
_PASSPHRASE_SLOT = "passphrase"  # noqa: S105 - a slot's id
_FORM = argparse.RawDescriptionHelpFormatter


def register(actions: Any) -> None:
    """Add the commands to the parser."""
    init = actions.add_parser(
        "init", help="make the vault, with a recovery key", description=INIT, formatter_class=_FORM
    )
    init.add_argument("--passphrase", action="store_true", help="no key file: ask for the passphrase at every start")
    init.add_argument("--no-recovery", action="store_true", help="for scripts without a terminal; not recommended")
    init.set_defaults(run=_init)
    unlock = actions.add_parser("unlock", help="unlock a running vault that has no key file")
    unlock.set_defaults(run=_unlock)
    passphrase = actions.add_parser("passphrase", help="set, change or remove the passphrase")
    passphrase.add_argument("--remove", action="store_true")
    passphrase.add_argument("--stdin", action="store_true", help="read it from standard input")
    passphrase.set_defaults(run=_passphrase)
    rekey = actions.add_parser("rekey", help="take new keys", description=REKEY, formatter_class=_FORM)
    which = rekey.add_mutually_exclusive_group()
    which.add_argument("--recovery", action="store_true")
    which.add_argument("--root", action="store_true")
    rekey.set_defaults(run=_rekey)
    restore = actions.add_parser("restore", help="put a backup in place", description=RESTORE, formatter_class=_FORM)
    restore.add_argument("source", type=Path, help="what `export-backup` wrote")
    restore.add_argument("--key-file", type=Path, help="unlock the backup with this key file")
    restore.add_argument("--accept-rollback", action="store_true", help="replace the vault that is here by the backup")
    restore.set_defaults(run=_restore)


def _init(options: argparse.Namespace) -> int:
    if not options.no_recovery:
        _require_terminal()
    try:
        hygiene.harden_process()
        hygiene.refuse_keys_in_environment(os.environ)
        paths = paths_of(options.home.path)
        recovery = RecoveryKey.generate()
        ways: dict[str, UnlockKey] = {} if options.no_recovery else {_RECOVERY_SLOT: recovery}
        if paths.file.exists():
            raise CommandError(f"there is a vault at {paths.file} already; nothing was changed")
        paths.make_directories()
        if options.passphrase:
            ways[_PASSPHRASE_SLOT] = Passphrase(_new_passphrase())
        elif paths.key_file.exists():
            ways[KEY_SLOT] = read_key_file(paths.key_file)
        else:
            ways[KEY_SLOT] = write_new_key_file(paths.key_file)
        opening.create_vault(paths, ways).close()
    except VaultError as error:
        raise as_command_error(error) from None
    print(f"The vault is {paths.file}.")
    if not options.passphrase:
        print(f"{paths.key_file} unlocks it at every start. Leave that file out of backups of the vault.")
    if not options.no_recovery:
        _show_once(recovery)
    return EXIT_OK


def _unlock(options: argparse.Namespace) -> int:
    paths = paths_of(options.home.path)
    try:
        key = files.read_private(paths.admin_key, limit=32)
        if not call(paths.socket, key, "status", {})["locked"]:
            print("The vault is unlocked already.")
            return EXIT_OK
        unlock = ask_to_unlock()
        secret = unlock.text if isinstance(unlock, Passphrase) else RecoveryKey.display(unlock)  # type: ignore[arg-type]
        call(paths.socket, key, "unlock", {"kind": unlock.kind, "secret": secret})
    except VaultError as error:
        raise as_command_error(error) from None
    print("The vault is unlocked.")
    return EXIT_OK


def _passphrase(options: argparse.Namespace) -> int:
    if options.remove:
        perform(options.home.path, "remove-slot", slot=_PASSPHRASE_SLOT)
        print("The passphrase opens the vault no longer.")
        return EXIT_OK
    text = sys.stdin.readline().rstrip("\r\n") if options.stdin else _new_passphrase()
    perform(options.home.path, "add-slot", slot=_PASSPHRASE_SLOT, kind="passphrase", secret=text)
    print("The passphrase is set. Backups made before now still open with the one before.")
    return EXIT_OK


def _rekey(options: argparse.Namespace) -> int:
    if options.recovery:
        _require_terminal()
        recovery = RecoveryKey.generate()
        perform(options.home.path, "add-slot", slot=_RECOVERY_SLOT, kind="recovery", secret=recovery.display())
        _show_once(recovery)
        return EXIT_OK
    if not options.root:
        print(f"{perform(options.home.path, 'rekey')['resealed']} keys are sealed under a new key encryption key.")
        return EXIT_OK
    _require_terminal()
    paths, recovery = paths_of(options.home.path), RecoveryKey.generate()
    fresh = opening.new_key_file(paths.key_file)
    fresh.unlink(missing_ok=True)
    try:
        key = write_new_key_file(fresh)
    except VaultError as error:
        raise as_command_error(error) from None
    slots = {
        KEY_SLOT: {"kind": "key-file", "secret": encoded(key.secret)},
        _RECOVERY_SLOT: {"kind": "recovery", "secret": recovery.display()},
    }
    # The recovery key is shown first: whatever happens between the two files, it opens the vault.
    _show_once(recovery)
    perform(options.home.path, "rekey-root", slots=slots)
    opening.take_new_key_file(paths.key_file)
    print(f"All keys are new, {paths.key_file} with them. Set a passphrase again if you want one.")
    return EXIT_OK


def _restore(options: argparse.Namespace) -> int:
    hygiene.harden_process()
    paths = paths_of(options.home.path)
    try:
        unlock: UnlockKey = read_key_file(options.key_file) if options.key_file else ask_to_unlock()
        vault = backup.restore(paths, options.source, unlock, replace=options.accept_rollback)
        try:
            count, generation = len(asyncio.run(vault.backend.names())), vault.store.generation
        finally:
            vault.close()
    except VaultError as error:
        raise as_command_error(error) from None
    except OSError as error:
        raise CommandError(f"the backup could not be put in place: {error.strerror}") from None
    print(f"{count} secrets are restored (generation {generation}). {paths.key_file} unlocks the vault here.")
    print("Whatever was stored or rotated after the backup is not in it.")
    return EXIT_OK


def _new_passphrase() -> str:
    text = getpass("New passphrase (six random words or more): ")
    try:
        check_passphrase(text)
    except VaultError as error:
        raise CommandError(str(error), EXIT_USAGE) from None
    if getpass("Again: ") != text:
        raise CommandError("the two differ; nothing was changed", EXIT_USAGE)
    return text


def _require_terminal() -> None:
    if not sys.stdout.isatty():
        raise CommandError("a recovery key is shown on a terminal only: run this in one", EXIT_USAGE)


def _show_once(recovery: RecoveryKey) -> None:
    print("\nRecovery key. Write it down and keep it away from this machine; it is not shown again:\n")
    print(f"    {recovery.display()}\n")
