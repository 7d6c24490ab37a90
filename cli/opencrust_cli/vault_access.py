"""Reaching the vault from the command line: over its socket while it runs, else by opening the file ourselves."""

import asyncio
import base64
import os
import sys
from getpass import getpass
from pathlib import Path
from typing import Any

from opencrust_cli.errors import EXIT_FAILED, EXIT_NOT_RUNNING, CommandError
from opencrust_vault import admin_socket, files, hygiene, opening
from opencrust_vault.administration import Administration
from opencrust_vault.errors import Locked, NotFound, Unavailable, VaultError
from opencrust_vault.opening import OpenVault
from opencrust_vault.paths import Paths
from opencrust_vault.slots import Passphrase, RecoveryKey, UnlockKey

JSON = dict[str, Any]


def paths_of(home: Path) -> Paths:
    """Where the vault of this installation is."""
    return Paths.of_home(home, os.environ)


def perform(home: Path, operation: str, **arguments: Any) -> JSON:
    """One operation of `opencrust_vault.administration`, wherever the vault is open.

    Raises:
        CommandError: saying what was wrong.
    """
    hygiene.harden_process()
    try:
        paths = paths_of(home)
        if paths.socket.exists():
            try:
                return admin_socket.call(
                    paths.socket, files.read_private(paths.admin_key, limit=32), operation, arguments
                )
            except (Unavailable, NotFound):
                if _is_running(paths):
                    raise
        vault = _open(paths)
        try:
            return asyncio.run(Administration(vault).perform(operation, arguments))
        finally:
            vault.close()
    except VaultError as error:
        raise as_command_error(error) from None


def as_command_error(error: VaultError) -> CommandError:
    """The same, for the person."""
    return CommandError(str(error), EXIT_NOT_RUNNING if isinstance(error, Unavailable) else EXIT_FAILED)


def ask_to_unlock() -> UnlockKey:
    """Ask for a passphrase or a recovery key on the terminal.

    Raises:
        CommandError: there is no terminal.
    """
    if not sys.stdin.isatty():
        raise CommandError("the vault has no key file here, and there is no terminal to ask for its passphrase on")
    text = getpass("Passphrase or recovery key: ")
    return RecoveryKey.parse(text) if text.upper().startswith("OCR1") else Passphrase(text)


def encoded(value: bytes) -> str:
    """A value as the operations take it."""
    return base64.b64encode(value).decode()


def _open(paths: Paths) -> OpenVault:
    try:
        return opening.open_unattended(paths, os.environ)
    except NotFound:
        return opening.open_vault(paths, ask_to_unlock())


def _is_running(paths: Paths) -> bool:
    try:
        files.FileLock(paths.file.with_name(paths.file.name + ".lock")).release()
    except Locked:
        return True
    return False
