"""The filter of system calls, run as the kernel would: by a small interpreter of classic BPF."""

import struct

import pytest

from opencrust_agent.plugins.seccomp import program

KILL, ALLOW, ENOTTY = 0x80000000, 0x7FFF0000, 0x00050000 | 25
X86, ARM = 0xC000003E, 0xC00000B7


def decide(column: int, architecture: int, number: int, third: int = 0, *, code: bool = False, seen: int = 0) -> int:
    """What the filter for `column` says to a call of a process that is of `seen` (default: the same) architecture."""
    words = {0: number, 4: seen or architecture, 32: third}
    steps = list(struct.iter_unpack("=HBBI", program(column, architecture, may_map_code=code)))
    at, held = 0, 0
    while True:
        operation, yes, no, operand = steps[at]
        at += 1
        if operation == 0x20:
            held = words[operand]
        elif operation == 0x06:
            return operand
        else:
            true = {0x15: held == operand, 0x35: held >= operand, 0x45: bool(held & operand)}[operation]
            at += yes if true else no


@pytest.mark.parametrize(
    ("column", "architecture", "number", "third", "says"),
    [
        (0, X86, 0, 0, ALLOW),  # read
        (0, X86, 257, 0, KILL),  # openat
        (0, X86, 41, 0, KILL),  # socket
        (0, X86, 59, 0, KILL),  # execve
        (0, X86, 56, 0, KILL),  # clone
        (0, X86, 435, 0, KILL),  # clone3
        (0, X86, 101, 0, KILL),  # ptrace
        (0, X86, 425, 0, KILL),  # io_uring_setup
        (0, X86, 16, 0, ENOTTY),  # ioctl
        (0, X86, 9, 3, ALLOW),  # mmap, read and write
        (0, X86, 9, 5, KILL),  # mmap, executable
        (0, X86, 10, 4, KILL),  # mprotect, executable
        (0, X86, 0x40000000, 0, KILL),  # the x32 read
        (1, ARM, 63, 0, ALLOW),  # read
        (1, ARM, 56, 0, KILL),  # openat
        (1, ARM, 198, 0, KILL),  # socket
        (1, ARM, 222, 7, KILL),  # mmap, executable
        (1, ARM, 226, 1, ALLOW),  # mprotect, read
    ],
)
def test_calls(column: int, architecture: int, number: int, third: int, says: int) -> None:
    assert decide(column, architecture, number, third) == says


def test_another_architecture_is_killed_and_a_compiler_may_map_code() -> None:
    assert decide(0, X86, 0, seen=0x40000003) == KILL
    assert decide(0, X86, 9, 5, code=True) == ALLOW
    assert decide(0, X86, 257, code=True) == KILL
