"""The audit log: one JSON line for each lease, denial and change, chained so that nothing can vanish quietly.

    {"event":…,"prev":…,"seq":…,"time":…, …,"mac":…}
    mac  = HMAC-SHA256(audit key, canonical JSON of the record without mac)
    prev = the mac of the record before (64 zeros for the first), so the order is part of every mac

Whoever changes, removes or swaps records without the key is found by `verify`, record by record. Cutting the tail is
found by comparing with a *head* (number and mac of the newest record) kept elsewhere: the vault publishes it.

A record is written before the reply goes out; if it cannot be written there is no reply. Records of changes are
fsynced; those of leases and denials reach the disk within a second (a killed process loses none, a power cut may).
"""

import contextlib
import hmac
import json
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from opencrust_vault import envelope
from opencrust_vault.document import canonical
from opencrust_vault.errors import Unsafe, VaultError

GENESIS = "0" * 64
_TAIL = 64 * 1024


class AuditFailed(VaultError):
    """A record could not be written, so nothing may be handed out or changed."""


@dataclass(frozen=True, slots=True)
class Head:
    """The newest record: its number and its mac (hex). `seq` 0 means an empty log."""

    seq: int
    mac: str


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong with a log.

    Attributes:
        kind: "changed", "removed", "reordered", "cut", "joined" or "unreadable".
        seq: the record's number, the first one's for a range.
        text: the same for a person.
    """

    kind: str
    seq: int
    text: str


class AuditLog:
    """The log of one vault, open for appending. One process has it open: the one that holds the vault's lock."""

    def __init__(self, path: Path, key: envelope.Key, *, now: Callable[[], float] = time.time) -> None:
        """Open or create the log and continue its chain.

        Raises:
            Unsafe: the file is a symlink or cannot be opened.
        """
        self._key = bytes(key)
        self._now = now
        flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
        try:
            self._descriptor = os.open(path, flags, 0o600)
        except OSError as error:
            raise Unsafe(f"the audit log {path} cannot be opened: {error.strerror}") from None
        self.head, torn = self._resume()
        self._unsynced = False
        if torn:
            self.append("audit-torn", sync=True, note="a power cut or a full disk left half a record; it was removed")

    def append(self, event: str, *, sync: bool = False, **fields: str | int | None) -> Head:
        """Write a record and return the new head.

        Args:
            event: what happened, such as "lease", "denied", "set".
            sync: wait for the disk.
            fields: further facts. Names must have been checked; values never belong here. None is left out.

        Raises:
            AuditFailed: nothing was recorded.
        """
        record: dict[str, Any] = {
            **{name: value for name, value in fields.items() if value is not None},
            "event": event,
            "seq": self.head.seq + 1,
            "time": int(self._now() * 1000),
            "prev": self.head.mac,
        }
        content = canonical(record)
        mac = hmac.digest(self._key, content, "sha256").hex()
        line = content[:-1] + f',"mac":"{mac}"}}\n'.encode()
        size = os.fstat(self._descriptor).st_size
        try:
            if os.write(self._descriptor, line) != len(line):
                raise OSError("the disk took half a record")
            if sync:
                os.fsync(self._descriptor)
        except OSError as error:
            with contextlib.suppress(OSError):
                os.ftruncate(self._descriptor, size)
            raise AuditFailed(f"the audit log cannot be written: {error.strerror or error}") from None
        self._unsynced = not sync
        self.head = Head(self.head.seq + 1, mac)
        return self.head

    def sync(self) -> None:
        """Bring what was appended without `sync` to the disk. Raises OSError."""
        if self._unsynced:
            os.fsync(self._descriptor)
            self._unsynced = False

    def close(self) -> None:
        """Sync and close."""
        with contextlib.suppress(OSError):
            self.sync()
        os.close(self._descriptor)

    def _resume(self) -> tuple[Head, bool]:
        size = os.fstat(self._descriptor).st_size
        tail = os.pread(self._descriptor, _TAIL, max(0, size - _TAIL))
        complete, _, torn = tail.rpartition(b"\n")
        if torn:
            os.ftruncate(self._descriptor, size - len(torn))
        for line in reversed(complete.split(b"\n")):
            record = _read(line)
            if record is not None:
                return Head(record["seq"], record["mac"]), bool(torn)
        return Head(0, GENESIS), bool(torn)


def records(path: Path) -> Iterator[dict[str, Any]]:
    """The records of a log, oldest first; lines that are none are skipped. Nothing is verified."""
    with path.open("rb") as file:
        for line in file:
            record = _read(line)
            if record is not None:
                yield record


def verify(path: Path, key: envelope.Key, head: Head | None = None) -> list[Finding]:
    """Check a log; an empty list means that it is whole.

    Args:
        head: the newest record known from elsewhere, to find a cut tail.
    """
    findings: list[Finding] = []
    macs: dict[int, str] = {}
    previous: dict[int, str] = {}
    highest = 0
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            record = _read(line)
            if record is None:
                findings.append(Finding("unreadable", highest + 1, f"line {number} is not a record"))
                continue
            seq, mac = record["seq"], record.pop("mac")
            if not hmac.compare_digest(_mac(key, record).encode(), mac.encode()):
                # Its own number cannot be believed: it is the one that belongs here.
                findings.append(
                    Finding("changed", highest + 1, f"record {highest + 1} was changed: its mac does not fit")
                )
                highest += 1
                macs[highest] = previous[highest] = ""
                continue
            if seq in macs:
                findings.append(Finding("reordered", seq, f"record {seq} stands there twice"))
            elif seq < highest:
                findings.append(Finding("reordered", seq, f"record {seq} stands after record {highest}"))
            macs[seq], previous[seq] = mac, record["prev"]
            highest = max(highest, seq)
    findings += _gaps(macs, highest)
    findings += [
        Finding("joined", seq, f"record {seq} does not continue record {seq - 1}: two histories were joined")
        for seq, prev in sorted(previous.items())
        if prev and macs.get(seq - 1, prev if seq > 1 else GENESIS) not in ("", prev)
    ]
    if head is not None and head.seq > highest:
        findings.append(Finding("cut", highest + 1, f"records {highest + 1} to {head.seq} were cut off the end"))
    elif head is not None and head.seq and macs.get(head.seq, head.mac) != head.mac:
        findings.append(Finding("joined", head.seq, f"record {head.seq} is another one than the published head"))
    return findings


def _gaps(macs: dict[int, str], highest: int) -> list[Finding]:
    return [Finding("removed", seq, f"record {seq} was removed") for seq in range(1, highest + 1) if seq not in macs]


def _mac(key: envelope.Key, record: dict[str, Any]) -> str:
    return hmac.digest(key, canonical(record), "sha256").hex()


def _read(line: bytes) -> dict[str, Any] | None:
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(record, dict) or type(record.get("seq")) is not int or record["seq"] < 1:
        return None
    return record if isinstance(record.get("mac"), str) and isinstance(record.get("prev"), str) else None
