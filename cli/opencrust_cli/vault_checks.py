"""``opencrust vault``: looking. audit, doctor."""

import argparse
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from opencrust_cli.errors import EXIT_FAILED, EXIT_OK, CommandError
from opencrust_cli.findings import Finding, show
from opencrust_cli.vault_access import paths_of, perform
from opencrust_vault.errors import VaultError
from opencrust_vault.paths import Paths
from opencrust_vault.store import inspect

AUDIT = """\
Who got which credential, who was refused and why, and what was changed. The records are chained: `--verify` names
every record that was removed, changed, reordered or cut off.

exit codes: 0 whole · 1 something is wrong with the record"""
_MONTHS = 180 * 86400


def register(actions: Any) -> None:
    """Add the commands to the parser."""
    form = argparse.RawDescriptionHelpFormatter
    audit = actions.add_parser(
        "audit", help="the record, and whether it is whole", description=AUDIT, formatter_class=form
    )
    audit.add_argument("--verify", action="store_true", help="check the chain instead of showing records")
    audit.add_argument("--limit", type=int, default=30, help="the newest so many (30)")
    for name in ("service", "name", "event"):
        audit.add_argument(f"--{name}", help=f"only records of this {name}")
    audit.add_argument("--json", action="store_true")
    audit.set_defaults(run=run_audit)
    doctor = actions.add_parser("doctor", help="what is wrong or weaker than it could be")
    doctor.add_argument("--json", action="store_true", help='{"findings": [{"name", "ok", "detail", "advice"}]}')
    doctor.set_defaults(run=_doctor)


def run_audit(options: argparse.Namespace) -> int:
    """Handler of `vault audit`."""
    if options.verify:
        return verify(options)
    filters = {name: getattr(options, name) for name in ("service", "name", "event")}
    found = perform(options.home.path, "audit", limit=options.limit, **filters)
    if options.json:
        print(json.dumps(found))
        return EXIT_OK
    for record in found["records"]:
        when = datetime.fromtimestamp(record["time"] / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S")
        facts = [f"{key}={record[key]}" for key in record if key not in ("seq", "time", "event", "mac", "prev")]
        print(f"{record['seq']:6}  {when}  {record['event']:14} {' '.join(facts)}")
    return EXIT_OK


def verify(options: argparse.Namespace) -> int:
    """Handler of `vault audit --verify` and `audit verify`."""
    result = perform(options.home.path, "audit-verify")
    if options.json:
        print(json.dumps(result))
    elif not result["findings"]:
        print(f"The record is whole: {result['records']} records, head {result['head'][:16]}…")
    for finding in () if options.json else result["findings"]:
        print(finding["text"])
    return EXIT_FAILED if result["findings"] else EXIT_OK


def _doctor(options: argparse.Namespace) -> int:
    return show(examine(options.home.path), as_json=options.json)


def examine(home: Path, *, inside: bool = True) -> Iterator[Finding]:
    """Everything that is looked at; also for `opencrust doctor`.

    Args:
        inside: look at what is in it too; where the vault does not run, this opens it and may ask for the passphrase.
    """
    paths = paths_of(home)
    if not paths.file.exists():
        yield Finding("vault", None, "there is none yet", "`opencrust up` or `opencrust vault init` makes it")
        return
    try:
        kinds = {slot.kind for slot in inspect(paths.file).slots.values()}
    except VaultError as error:
        yield Finding("vault", False, str(error), "`opencrust vault restore` puts a backup in place")
        return
    yield from _slots(paths, kinds)
    yield from _modes(paths)
    yield _swap()
    if not inside:
        return
    try:
        yield from _inside(home)
    except CommandError as error:
        yield Finding("vault", False, str(error))


def _slots(paths: Paths, kinds: set[str]) -> Iterator[Finding]:
    yield Finding("vault", True, f"{paths.file}, unlocked by {', '.join(sorted(kinds))}")
    if "key-file" in kinds and not paths.key_file.exists():
        yield Finding("key file", None, f"{paths.key_file} is missing", "the vault waits for `opencrust vault unlock`")
    elif "key-file" in kinds and paths.key_file.parent == paths.directory:
        yield Finding(
            "key file",
            None,
            "it lies beside the vault: that protects copies of the vault file, not a stolen disk",
            "name another place in OPENCRUST_VAULT_KEY_FILE, or use a systemd credential or a compose secret",
        )
    if not kinds & {"recovery", "passphrase"}:
        yield Finding(
            "recovery", None, "if the key file is lost, everything is lost", "opencrust vault rekey --recovery"
        )


def _modes(paths: Paths) -> Iterator[Finding]:
    loose = [
        path
        for path in (paths.directory, paths.file, paths.key_file, paths.admin_key, paths.audit, paths.anchor)
        if path.exists() and path.stat().st_mode & 0o077
    ]
    listed = ", ".join(map(str, loose))
    yield (
        Finding("modes", False, f"others may read {listed}", f"chmod go= {listed.replace(',', '')}")
        if loose
        else Finding("modes", True, "vault, keys and records are yours alone")
    )


def _swap() -> Finding:
    try:
        devices = [line.split()[0] for line in Path("/proc/swaps").read_text().splitlines()[1:]]
    except OSError:
        return Finding("swap", None, "unknown on this system")
    clear = [device for device in devices if "zram" not in device and "/dm-" not in device]
    if not clear:
        return Finding("swap", True, "none that keeps memory on a disk in clear")
    return Finding(
        "swap",
        None,
        f"{', '.join(clear)} may keep pages with values on a disk (the vault's keys never go there)",
        "use an encrypted swap device, zram, or memory.swap.max=0 for the vault",
    )


def _inside(home: Path) -> Iterator[Finding]:
    status = perform(home, "status")
    if status.get("locked"):
        yield Finding("lock", None, "the vault waits to be unlocked", "opencrust vault unlock")
        return
    kind = status["key_memory"]
    yield Finding("key memory", True if kind == "memfd_secret" else None, kind)
    yield Finding("backend", status["health"] is None, status["health"] or "well")
    verified = perform(home, "audit-verify")
    texts = [finding["text"] for finding in verified["findings"]]
    yield Finding("audit", not texts, "; ".join(texts[:5]) or f"{verified['records']} records, whole")
    now = datetime.now(UTC).timestamp()
    for secret in perform(home, "list")["secrets"]:
        if secret["expires"] and secret["expires"] <= now:
            yield Finding(secret["name"], False, "it has expired", f"opencrust vault rotate {secret['name']}")
        elif now - secret["created"] > _MONTHS:
            yield Finding(
                secret["name"], None, "it is older than half a year", f"opencrust vault rotate {secret['name']}"
            )
        if not secret["readers"]:
            yield Finding(secret["name"], None, "no service may read it", "opencrust vault grant, or destroy it")
