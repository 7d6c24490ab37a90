"""Keep keys out of other processes, core dumps and swap, as far as a CPython process can.

Root key and KEKs live in one page of `memfd_secret(2)` memory where the kernel has it: not readable through
/proc/PID/mem, not in core dumps, never swapped, not even for root. Elsewhere the page is mlock'd and
excluded from dumps. What passes through the interpreter (derived keys, values on their way out) is wiped
where it can be; that part is best effort and the documentation says so.
"""

import ctypes
import mmap
import os
import resource
import sys
from collections.abc import Mapping

from opencrust.environment import unlock_key_in
from opencrust_vault.envelope import KEY, wipe
from opencrust_vault.errors import Unsafe, VaultError

_MEMFD_SECRET = 447  # the same number on x86-64, arm64 and riscv64
_O_CLOEXEC = 0o2000000
_PR_GET_DUMPABLE = 3
_PR_SET_DUMPABLE = 4
_MADV_DONTDUMP = 16


def harden_process() -> None:
    """Make this process refuse to be read or dumped by others of the same user.

    `execve` resets the dumpable flag, so this belongs at the top of the service's own code.
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)


def is_dumpable() -> bool:
    """Whether the kernel would let a process of the same user read this one's memory."""
    return sys.platform != "linux" or bool(ctypes.CDLL(None).prctl(_PR_GET_DUMPABLE, 0, 0, 0, 0))


def refuse_keys_in_environment(environment: Mapping[str, str]) -> None:
    """Refuse to run when somebody put an unlock key into an environment variable.

    Raises:
        Unsafe: naming the variable, never its content.
    """
    name = unlock_key_in(environment)
    if name is not None:
        raise Unsafe(
            f"{name} is set: an unlock key in an environment variable can be read by others. "
            "Remove the variable and give the key as a file: vault/unlock.key, a compose secret or a systemd "
            "credential"
        )


class KeyMemory:
    """One page of protected memory for 32-byte keys.

    Attributes:
        kind: "memfd_secret", "mlock" or "plain", what the kernel granted.
    """

    def __init__(self) -> None:
        self.kind, self._page = _protected_page()
        self._free = list(range(0, mmap.PAGESIZE, KEY))
        self._places: dict[int, int] = {}

    def hold(self, key: bytes | bytearray | memoryview) -> memoryview:
        """Copy a 32-byte key into the page and return the place where it now lives."""
        if len(key) != KEY:
            raise VaultError("a key has 32 bytes")
        if not self._free:
            raise VaultError("no room for another key")
        start = self._free.pop()
        place = memoryview(self._page)[start : start + KEY]
        place[:] = key
        self._places[id(place)] = start
        return place

    def drop(self, place: memoryview) -> None:
        """Wipe a key that `hold` returned and make its room free; the view is unusable afterwards."""
        wipe(place)
        self._free.append(self._places.pop(id(place)))
        place.release()

    def wipe(self) -> None:
        """Wipe every key; nothing held here opens anything any more."""
        self._page[:] = bytes(mmap.PAGESIZE)
        self._free = []


def _protected_page() -> tuple[str, mmap.mmap]:
    if sys.platform == "linux":
        libc = ctypes.CDLL(None, use_errno=True)
        descriptor = libc.syscall(_MEMFD_SECRET, _O_CLOEXEC)
        if descriptor >= 0:
            try:
                os.ftruncate(descriptor, mmap.PAGESIZE)
                return "memfd_secret", mmap.mmap(descriptor, mmap.PAGESIZE)
            except OSError:  # memlock limit: fall through to the weaker page
                pass
            finally:
                os.close(descriptor)
        page = mmap.mmap(-1, mmap.PAGESIZE)
        page.madvise(_MADV_DONTDUMP)
        address = ctypes.addressof(ctypes.c_char.from_buffer(page))
        if libc.mlock(ctypes.c_void_p(address), ctypes.c_size_t(mmap.PAGESIZE)) == 0:
            return "mlock", page
        return "plain", page
    return "plain", mmap.mmap(-1, mmap.PAGESIZE)
