"""kill -9 while writing: at every step of a write, and at random moments. An acknowledged write is never lost."""

import os
import random
import signal
import struct
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from opencrust_vault.slots import KeyFile
from opencrust_vault.store import FileStore

VAULT_STEPS = (
    "created",
    "half-written",
    "written",
    "synced",
    "backup-linked",
    "backup-kept",
    "renamed",
    "directory-synced",
)
ANCHOR_STEPS = ("created", "half-written", "written", "synced", "renamed", "directory-synced")
STEPS = [f"vault:{step}" for step in VAULT_STEPS] + [f"anchor:{step}" for step in ANCHOR_STEPS]


def in_child(work: Callable[[], None]) -> int:
    """Run `work` in a forked process; returns its id."""
    child = os.fork()
    if child == 0:
        try:
            work()
        finally:
            os._exit(1)
    return child


def kill_at(wanted: str) -> Callable[[str], None]:
    def step(name: str) -> None:
        if name == wanted:
            os.kill(os.getpid(), signal.SIGKILL)

    return step


def test_row_13_fourteen_steps_are_injected() -> None:
    assert len(STEPS) >= 14


@pytest.mark.parametrize("step", STEPS)
def test_row_13_killed_at_a_step_the_vault_has_the_old_or_the_new_value(
    step: str, path: Path, anchor_path: Path, key: KeyFile
) -> None:
    store = FileStore.create(path, anchor_path, {"k": key})
    store.put_many({f"other.{number}": b"untouched" for number in range(5)})
    store.put("a", b"old")
    store.close()

    def write() -> None:
        FileStore.open(path, anchor_path, key, on_step=kill_at(step)).put("a", b"new")

    _, status = os.waitpid(in_child(write), 0)
    assert os.WIFSIGNALED(status), f"the step {step} was never reached"
    again = FileStore.open(path, anchor_path, key)
    durable = step.startswith("anchor") or step in ("vault:renamed", "vault:directory-synced")
    assert again.get("a") == ((2, b"new") if durable else (1, b"old"))
    assert all(again.get(f"other.{number}") == (1, b"untouched") for number in range(5))
    assert again.put("a", b"after") == (3 if durable else 2)
    leftovers = {item.name for item in path.parent.iterdir()} - {"vault.db", "vault.db.bak", "vault.db.lock"}
    assert not leftovers
    again.close()


@pytest.mark.parametrize("step", STEPS)
def test_row_13_killed_while_being_created_it_is_absent_or_whole(
    step: str, path: Path, anchor_path: Path, key: KeyFile
) -> None:
    def create() -> None:
        FileStore.create(path, anchor_path, {"k": key}, on_step=kill_at(step))

    _, status = os.waitpid(in_child(create), 0)
    if not os.WIFSIGNALED(status):
        assert "backup" in step, "a first write has no backup to keep"
    again = FileStore.open if path.exists() else FileStore.create
    store = again(path, anchor_path, key if path.exists() else {"k": key})  # type: ignore[operator]
    assert store.put("a", b"1") == 1
    store.close()


def write_until_killed(path: Path, anchor_path: Path, key: KeyFile, pipe: int, start: int) -> None:
    store = FileStore.open(path, anchor_path, key)
    os.write(pipe, struct.pack("<Q", start))
    for number in range(start + 1, start + 10_000):
        store.put(f"s{number % 7}", b"value %d" % number)
        os.write(pipe, struct.pack("<Q", number))


def killed_at_random(path: Path, anchor_path: Path, key: KeyFile, *, kills: int, writes: int) -> tuple[int, int]:
    """Kill a writer again and again. Returns (kills, acknowledged writes); asserts that none was lost."""
    FileStore.create(path, anchor_path, {"k": key}).close()
    acknowledged = {name: 0 for name in (f"s{number}" for number in range(7))}
    last = done = 0
    chance = random.Random(20261122)
    while done < kills or last < writes:
        reading, writing = os.pipe()
        start = last
        child = in_child(lambda: write_until_killed(path, anchor_path, key, writing, start))  # noqa: B023
        os.close(writing)
        assert len(os.read(reading, 8)) == 8, "the writer could not open the vault after a kill"
        time.sleep(chance.uniform(0, 0.12))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        data = b""
        while piece := os.read(reading, 65536):
            data += piece
        os.close(reading)
        for (number,) in struct.iter_unpack("<Q", data):
            acknowledged[f"s{number % 7}"] = last = number
        done += 1
        store = FileStore.open(path, anchor_path, key)
        for name, number in acknowledged.items():
            if number == 0 and name not in store.names():
                continue
            value = int(bytes(store.get(name)[1]).split()[1])
            in_flight = last + 1
            assert value == number or (value == in_flight and f"s{in_flight % 7}" == name), (
                "an acknowledged write is lost"
            )
            if value == in_flight:
                acknowledged[name] = value
        last = max(acknowledged.values())
        store.close()
    return done, last


def test_row_13_killed_at_random_moments(path: Path, anchor_path: Path, key: KeyFile) -> None:
    killed_at_random(path, anchor_path, key, kills=15, writes=50)


@pytest.mark.long
@pytest.mark.timeout(600)
def test_row_13_killed_two_hundred_times_over_two_thousand_writes(path: Path, anchor_path: Path, key: KeyFile) -> None:
    kills, writes = killed_at_random(path, anchor_path, key, kills=200, writes=2000)
    print(f"{kills} kills, {writes} acknowledged writes, 0 lost")
    assert kills >= 200
    assert writes >= 2000
