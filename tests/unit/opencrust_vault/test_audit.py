import json
import os
import random
from pathlib import Path

import pytest

from opencrust_vault import audit
from opencrust_vault.audit import AuditFailed, AuditLog, Head
from opencrust_vault.errors import Unsafe

KEY = os.urandom(32)


@pytest.fixture
def log_path(directory: Path) -> Path:
    path = directory / "audit.log"
    log = AuditLog(path, KEY)
    for number in range(12):
        log.append("lease", service="agent", name=f"provider.p{number}.api_key", version=1)
    log.close()
    return path


def lines(path: Path) -> list[bytes]:
    return path.read_bytes().splitlines(keepends=True)


def problems(path: Path, head: Head | None = None) -> list[tuple[str, int]]:
    return [(finding.kind, finding.seq) for finding in audit.verify(path, KEY, head)]


def test_a_whole_log_verifies_and_continues(log_path: Path) -> None:
    assert problems(log_path) == []
    log = AuditLog(log_path, KEY)
    assert log.head.seq == 12
    head = log.append("set", sync=True, name="a", version=2, note=None)
    log.close()
    assert problems(log_path, head) == []
    last = list(audit.records(log_path))[-1]
    assert (last["seq"], last["event"], last["name"]) == (13, "set", "a")
    assert "note" not in last
    assert log_path.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("victim", range(1, 13))
def test_a_removed_record_is_named(log_path: Path, victim: int) -> None:
    head = Head(12, json.loads(lines(log_path)[-1])["mac"])
    kept = [line for line in lines(log_path) if json.loads(line)["seq"] != victim]
    log_path.write_bytes(b"".join(kept))
    assert problems(log_path, head) == [("cut" if victim == 12 else "removed", victim)]


@pytest.mark.parametrize("victim", range(1, 13))
def test_a_changed_record_is_named(log_path: Path, victim: int) -> None:
    changed = lines(log_path)
    changed[victim - 1] = changed[victim - 1].replace(b'"service":"agent"', b'"service":"agenz"')
    log_path.write_bytes(b"".join(changed))
    assert problems(log_path) == [("changed", victim)]


def test_a_record_with_a_forged_number_cannot_stall_the_check(log_path: Path) -> None:
    changed = lines(log_path)
    changed[4] = changed[4].replace(b'"seq":5', b'"seq":999999999999999')
    log_path.write_bytes(b"".join(changed))
    assert problems(log_path) == [("changed", 5)]


@pytest.mark.parametrize("at", range(11))
def test_swapped_records_are_named(log_path: Path, at: int) -> None:
    swapped = lines(log_path)
    swapped[at], swapped[at + 1] = swapped[at + 1], swapped[at]
    log_path.write_bytes(b"".join(swapped))
    assert problems(log_path) == [("reordered", at + 1)]


def test_a_repeated_record_is_named(log_path: Path) -> None:
    repeated = lines(log_path)
    log_path.write_bytes(b"".join([*repeated, repeated[3]]))
    assert problems(log_path) == [("reordered", 4)]


def test_a_cut_tail_is_found_only_with_the_head(log_path: Path) -> None:
    head = Head(12, json.loads(lines(log_path)[-1])["mac"])
    log_path.write_bytes(b"".join(lines(log_path)[:9]))
    assert problems(log_path) == []
    assert problems(log_path, head) == [("cut", 10)]
    log_path.write_bytes(b"")
    assert problems(log_path, head) == [("cut", 1)]


def test_a_rewritten_history_does_not_meet_the_head(log_path: Path) -> None:
    head = Head(12, json.loads(lines(log_path)[-1])["mac"])
    log_path.write_bytes(b"".join(lines(log_path)[:8]))
    log = AuditLog(log_path, KEY)
    for _ in range(6):
        log.append("lease", service="agent", name="other")
    log.close()
    assert problems(log_path) == []
    assert problems(log_path, head) == [("joined", 12)]


def test_joined_histories_are_found(log_path: Path, directory: Path) -> None:
    other = AuditLog(directory / "other.log", KEY, now=lambda: 5.0)
    for _ in range(12):
        other.append("lease", service="agent")
    other.close()
    log_path.write_bytes(b"".join(lines(log_path)[:6] + lines(directory / "other.log")[6:]))
    assert problems(log_path) == [("joined", 7)]


def test_without_the_key_every_record_is_changed(log_path: Path) -> None:
    assert len(audit.verify(log_path, os.urandom(32))) == 12


def test_garbage_is_named_and_never_crashes(log_path: Path) -> None:
    chance = random.Random(7)
    raw = log_path.read_bytes()
    for _ in range(300):
        at = chance.randrange(len(raw))
        log_path.write_bytes(raw[:at] + chance.randbytes(chance.randrange(1, 30)) + raw[at + chance.randrange(40) :])
        assert problems(log_path)


def test_half_a_record_is_repaired_and_recorded(log_path: Path) -> None:
    raw = log_path.read_bytes()
    log_path.write_bytes(raw + b'{"event":"lea')
    log = AuditLog(log_path, KEY)
    log.close()
    assert problems(log_path) == []
    assert [record["event"] for record in audit.records(log_path)][-1] == "audit-torn"


@pytest.mark.parametrize("break_it", ["write", "fsync"])
def test_a_record_that_cannot_be_written_is_an_error_and_leaves_no_trace(
    log_path: Path, monkeypatch: pytest.MonkeyPatch, break_it: str
) -> None:
    log = AuditLog(log_path, KEY)
    before = log_path.read_bytes()

    def full(*args: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, break_it, full)
    with pytest.raises(AuditFailed):
        log.append("set", sync=True, name="a")
    monkeypatch.undo()
    assert log_path.read_bytes() == before
    log.append("set", sync=True, name="a")
    log.close()
    assert problems(log_path) == []


def test_a_symlink_is_refused(log_path: Path, directory: Path) -> None:
    (directory / "link").symlink_to(log_path)
    with pytest.raises(Unsafe):
        AuditLog(directory / "link", KEY)
