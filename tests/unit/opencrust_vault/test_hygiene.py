import ctypes
import itertools
import os
import subprocess
import sys
from pathlib import Path

import pytest

from opencrust_vault import hygiene
from opencrust_vault.errors import Unsafe, VaultError
from opencrust_vault.hygiene import KeyMemory


def test_keys_live_and_die_in_the_page() -> None:
    memory = KeyMemory()
    key = os.urandom(32)
    place = memory.hold(key)
    other = memory.hold(os.urandom(32))
    assert place == key
    assert place.obj is other.obj
    memory.drop(place)
    with pytest.raises(ValueError, match="released"):
        bytes(place)
    memory.wipe()
    assert bytes(other) == bytes(32)


def test_room_is_reused_and_bounded() -> None:
    memory = KeyMemory()
    places = [memory.hold(os.urandom(32)) for _ in range(4096 // 32)]
    with pytest.raises(VaultError):
        memory.hold(os.urandom(32))
    memory.drop(places[0])
    assert memory.hold(b"k" * 32) == b"k" * 32
    with pytest.raises(VaultError):
        memory.hold(b"short")


@pytest.mark.skipif(sys.platform != "linux", reason="memfd_secret is Linux")
def test_root_cannot_read_the_page_through_proc() -> None:
    memory = KeyMemory()
    if memory.kind != "memfd_secret":
        pytest.skip("this kernel grants no memfd_secret")
    memory.hold(os.urandom(32))
    start = ctypes.addressof(ctypes.c_char.from_buffer(memory._page))
    (mapping,) = [m for m in Path("/proc/self/maps").read_text().splitlines() if m.startswith(f"{start:x}-")]
    assert "secretmem" in mapping
    with open("/proc/self/mem", "rb") as file, pytest.raises(OSError, match="Input/output"):
        os.pread(file.fileno(), 32, start)


@pytest.mark.skipif(sys.platform != "linux", reason="smaps is Linux")
def test_row_37_the_page_does_not_go_to_swap() -> None:
    memory = KeyMemory()
    if memory.kind == "plain":
        pytest.skip("this kernel locks no memory for us")
    marker = os.urandom(32)
    memory.hold(marker)
    address = ctypes.addressof(ctypes.c_char.from_buffer(memory._page))
    smaps = Path("/proc/self/smaps").read_text().split("VmFlags:")
    (flags,) = [
        after.split("\n")[0].split()
        for before, after in itertools.pairwise(smaps)
        if any(line.startswith(f"{address:x}-") for line in before.splitlines())
    ]
    assert "lo" in flags, "locked into memory"
    assert "dd" in flags or memory.kind == "memfd_secret", "and not dumped"


@pytest.mark.skipif(sys.platform != "linux", reason="prctl is Linux")
def test_a_hardened_process_cannot_be_dumped() -> None:
    code = (
        "from opencrust_vault import hygiene; import resource\n"
        "assert hygiene.is_dumpable()\n"
        "hygiene.harden_process()\n"
        "assert not hygiene.is_dumpable() and resource.getrlimit(resource.RLIMIT_CORE) == (0, 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], env={"PYTHONPATH": os.pathsep.join(sys.path)}, check=False)
    assert done.returncode == 0


@pytest.mark.parametrize(
    "name",
    [
        "OPENCRUST_VAULT_KEY",
        "OPENCRUST_UNLOCK_KEY",
        "OPENCRUST_VAULT_PASSPHRASE",
        "OPENCRUST_VAULT_PASSWORD",
        "OPENCRUST_RECOVERY_KEY",
        "opencrust_vault_secret",
    ],
)
def test_an_unlock_key_in_the_environment_is_refused_without_repeating_it(name: str) -> None:
    with pytest.raises(Unsafe) as caught:
        hygiene.refuse_keys_in_environment({name: "swordfish"})
    assert name in str(caught.value)
    assert "swordfish" not in str(caught.value)


def test_paths_to_key_files_are_fine() -> None:
    hygiene.refuse_keys_in_environment({"OPENCRUST_VAULT_KEY_FILE": "/run/secrets/k", "HOME": "/", "PATH_KEY": "x"})
