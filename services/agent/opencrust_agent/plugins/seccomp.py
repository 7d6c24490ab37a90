"""System calls that a plugin's process may still make: an allow-list in the kernel (seccomp-bpf); any other kills it.

What is left is memory, time, the locks of its two threads, and reading and writing what is open. There is no call to
open, connect, start a thread or process, or send anything to anybody. The worker may not even make memory executable
any more: whoever breaks out of WebAssembly cannot bring native code of his own.

Sources: seccomp(2), Documentation/userspace-api/seccomp_filter.rst, linux/audit.h, the system call tables of x86-64 and
of the generic ABI (arm64).
"""

import ctypes
import errno
import os
import struct
import sys

_ALLOWED = {
    # name: (x86-64, arm64)
    "read": (0, 63),
    "write": (1, 64),
    "pread64": (17, 67),
    "pwrite64": (18, 68),
    "close": (3, 57),
    "lseek": (8, 62),
    "fstat": (5, 80),
    "newfstatat": (262, 79),  # glibc's fstat
    "ftruncate": (77, 46),
    "memfd_create": (319, 279),  # copy-on-write images of a component's memories
    "poll": (7, None),
    "ppoll": (271, 73),
    "select": (23, None),
    "pselect6": (270, 72),
    "munmap": (11, 215),
    "mremap": (25, 216),
    "madvise": (28, 233),
    "brk": (12, 214),
    "rt_sigaction": (13, 134),
    "rt_sigprocmask": (14, 135),
    "rt_sigreturn": (15, 139),
    "sigaltstack": (131, 132),
    "futex": (202, 98),
    "set_robust_list": (273, 99),
    "rseq": (334, 293),
    "membarrier": (324, 283),
    "sched_yield": (24, 124),
    "sched_getaffinity": (204, 123),
    "clock_gettime": (228, 113),
    "clock_getres": (229, 114),
    "clock_nanosleep": (230, 115),
    "nanosleep": (35, 101),
    "gettimeofday": (96, 169),
    "getrusage": (98, 165),
    "getrandom": (318, 278),
    "getpid": (39, 172),
    "gettid": (186, 178),
    "restart_syscall": (219, 128),
    "exit": (60, 93),
    "exit_group": (231, 94),
}
_MAPPING = {"mmap": (9, 222), "mprotect": (10, 226)}
"""Allowed too, in the worker only without PROT_EXEC."""
_NO_TERMINAL = {"ioctl": (16, 29)}
"""Refused with ENOTTY: the runtime asks once whether standard error is a terminal."""
_ARCHITECTURES = {"x86_64": (0, 0xC000003E, 317), "aarch64": (1, 0xC00000B7, 277)}
"""Machine: column above, AUDIT_ARCH_…, the number of seccomp(2)."""
_X32 = 0x40000000

_KILL_PROCESS = 0x80000000
_ALLOW = 0x7FFF0000
_ERRNO = 0x00050000
_SET_MODE_FILTER = 1
_ALL_THREADS = 1  # SECCOMP_FILTER_FLAG_TSYNC
_PROT_EXEC = 4
_NUMBER, _ARCHITECTURE, _THIRD_ARGUMENT = 0, 4, 32  # offsets in struct seccomp_data
_LOAD, _JUMP_EQUAL, _JUMP_AT_LEAST, _JUMP_SET, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06


class Unavailable(Exception):
    """This system has no seccomp-bpf that we know how to use; the text says why."""


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_char_p))


def restrict(*, may_map_code: bool) -> None:
    """Restrict all threads of the calling process, for good. PR_SET_NO_NEW_PRIVS must be set.

    Args:
        may_map_code: allow PROT_EXEC, which only a compiler needs.

    Raises:
        Unavailable: nothing is restricted.
    """
    machine = os.uname().machine
    if not sys.platform.startswith("linux") or machine not in _ARCHITECTURES:
        raise Unavailable(f"no list of system calls for {sys.platform} on {machine}")
    column, architecture, seccomp = _ARCHITECTURES[machine]
    code = program(column, architecture, may_map_code=may_map_code)
    prepared = _Program(len(code) // 8, code)
    libc = ctypes.CDLL(None, use_errno=True)
    result = libc.syscall(
        ctypes.c_long(seccomp), ctypes.c_ulong(_SET_MODE_FILTER), ctypes.c_ulong(_ALL_THREADS), ctypes.byref(prepared)
    )
    if result != 0:
        raise Unavailable(f"the kernel refused the filter of system calls: {os.strerror(ctypes.get_errno())}")


def program(column: int, architecture: int, *, may_map_code: bool) -> bytes:
    """The filter in classic BPF, 8 bytes an instruction."""
    free: list[int | None] = [row[column] for row in _ALLOWED.values()]
    mapping: list[int | None] = [row[column] for row in _MAPPING.values()]
    if may_map_code:
        free, mapping = free + mapping, []
    code = [
        _instruction(_LOAD, _ARCHITECTURE),
        _instruction(_JUMP_EQUAL, architecture, 1, 0),
        _instruction(_RETURN, _KILL_PROCESS),
        _instruction(_LOAD, _NUMBER),
        _instruction(_JUMP_AT_LEAST, _X32, 0, 1),
        _instruction(_RETURN, _KILL_PROCESS),
    ]
    for number in free:
        if number is not None:
            code += [_instruction(_JUMP_EQUAL, number, 0, 1), _instruction(_RETURN, _ALLOW)]
    for row in _NO_TERMINAL.values():
        code += [_instruction(_JUMP_EQUAL, row[column], 0, 1), _instruction(_RETURN, _ERRNO | errno.ENOTTY)]
    for number in mapping:
        assert number is not None
        code += [
            _instruction(_JUMP_EQUAL, number, 0, 4),
            _instruction(_LOAD, _THIRD_ARGUMENT),
            _instruction(_JUMP_SET, _PROT_EXEC, 0, 1),
            _instruction(_RETURN, _KILL_PROCESS),
            _instruction(_RETURN, _ALLOW),
        ]
    return b"".join([*code, _instruction(_RETURN, _KILL_PROCESS)])


def _instruction(code: int, operand: int, if_true: int = 0, if_false: int = 0) -> bytes:
    return struct.pack("=HBBI", code, if_true, if_false, operand)
